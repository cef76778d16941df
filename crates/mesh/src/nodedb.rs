//! What a node knows of others: who they are, where, how they are, when they were heard.
//!
//! The table is bounded. A full one forgets who was heard longest ago, first among those who have not said who they are; favourites,
//! members of the swarm and nodes whose key a person has verified stay. Whoever makes up node numbers can push out strangers, and no
//! others. A public key is taken when it is first seen and not changed by anything from the air.

use compotastic_messages::{
    DeviceMetrics, HardwareModel, Position as PositionMessage, Role as RoleNumber, Text, User as UserMessage,
};
use heapless::{String, Vec};

use crate::{packet::NodeNum, pkc::KEY, time::Instant};

/// Nodes that are remembered.
pub const NODES: usize = 120;
/// Longest name, bytes.
pub const LONG_NAME: usize = 39;
/// Longest short name, bytes.
pub const SHORT_NAME: usize = 4;

/// Who a node says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub long_name: String<LONG_NAME, u8>,
    /// Up to four characters.
    pub short_name: String<SHORT_NAME, u8>,
    /// `HardwareModel` of Meshtastic's schema.
    pub hw_model: u32,
    /// `Role` of Meshtastic's schema.
    pub role: u32,
    /// Licensed amateur: no encryption.
    pub licensed: bool,
    /// Nobody reads messages there; not everybody tells.
    pub unmessagable: Option<bool>,
    /// Public key.
    pub public_key: Option<[u8; KEY]>,
}

/// As many characters as fit; what is not UTF-8 becomes U+FFFD.
fn fitting<const N: usize>(text: Text<'_>) -> String<N, u8> {
    let mut fitting = String::new();
    for chunk in text.0.utf8_chunks() {
        let replacement = if chunk.invalid().is_empty() { "" } else { "\u{FFFD}" };
        for character in chunk.valid().chars().chain(replacement.chars()) {
            if fitting.push(character).is_err() {
                return fitting;
            }
        }
    }
    fitting
}

impl User {
    /// From names; too long ones are cut at a character.
    pub fn named(long_name: &str, short_name: &str) -> Self {
        Self {
            long_name: fitting(long_name.into()),
            short_name: fitting(short_name.into()),
            ..Self::default()
        }
    }

    /// From the message; a key of another length than [`KEY`] is none.
    pub fn from_message(message: &UserMessage<'_>) -> Self {
        Self {
            long_name: fitting(message.long_name),
            short_name: fitting(message.short_name),
            hw_model: message.hw_model.0,
            role: message.role.0,
            licensed: message.is_licensed,
            unmessagable: message.is_unmessagable,
            public_key: message.public_key.try_into().ok(),
        }
    }

    /// As a message; `id` is `!` and the number in hexadecimal digits.
    pub fn to_message<'a>(&'a self, id: &'a str) -> UserMessage<'a> {
        UserMessage {
            id: id.into(),
            long_name: self.long_name.as_str().into(),
            short_name: self.short_name.as_str().into(),
            hw_model: HardwareModel(self.hw_model),
            is_licensed: self.licensed,
            role: RoleNumber(self.role),
            public_key: self.public_key.as_ref().map_or(&[], |key| key),
            is_unmessagable: self.unmessagable,
            ..UserMessage::default()
        }
    }
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// 1e-7 degrees, north positive.
    pub latitude_i: i32,
    /// 1e-7 degrees, east positive.
    pub longitude_i: i32,
    /// Metres above sea.
    pub altitude_m: Option<i32>,
    /// Seconds since 1970 of the sender; 0 where it does not know.
    pub time_s: u32,
    /// Bits of latitude and longitude that are true; 32: all.
    pub precision_bits: u8,
}

impl Position {
    /// From a message that has both coordinates.
    pub fn from_message(message: &PositionMessage) -> Option<Self> {
        Some(Self {
            latitude_i: message.latitude_i?,
            longitude_i: message.longitude_i?,
            altitude_m: message.altitude,
            time_s: message.time,
            precision_bits: message.precision_bits.min(32) as u8,
        })
    }

    /// As a message, with no more than so many bits of the coordinates: the middle of the square in which it lies. `None` for 0 bits.
    pub fn to_message(&self, precision_bits: u8) -> Option<PositionMessage> {
        let bits = precision_bits.min(32);
        if bits == 0 {
            return None;
        }
        let cut = |value: i32| match 32 - u32::from(bits) {
            0 => value,
            unknown => (value as u32 & (u32::MAX << unknown)).wrapping_add(1 << (unknown - 1)) as i32,
        };
        Some(PositionMessage {
            latitude_i: Some(cut(self.latitude_i)),
            longitude_i: Some(cut(self.longitude_i)),
            altitude: self.altitude_m,
            time: self.time_s,
            precision_bits: u32::from(bits),
            ..PositionMessage::default()
        })
    }
}

/// A device's battery and air, as far as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Percent; 101: powered from outside.
    pub battery_percent: Option<u8>,
    /// Millivolts.
    pub voltage_mv: Option<u16>,
    /// All air time of the last minute, permille.
    pub channel_utilization_permille: Option<u16>,
    /// Own air time of the last hour, permille.
    pub air_util_tx_permille: Option<u16>,
    /// Seconds since the start.
    pub uptime_s: Option<u32>,
}

impl Metrics {
    /// From a message. Figures that are none (NaN) count as 0.
    pub fn from_message(message: &DeviceMetrics) -> Self {
        let scaled = |value: Option<f32>, by: f32| value.map(|value| (value * by) as u16);
        Self {
            battery_percent: message.battery_level.map(|level| level.min(101) as u8),
            voltage_mv: scaled(message.voltage, 1000.0),
            channel_utilization_permille: scaled(message.channel_utilization, 10.0),
            air_util_tx_permille: scaled(message.air_util_tx, 10.0),
            uptime_s: message.uptime_seconds,
        }
    }

    /// As a message.
    pub fn to_message(&self) -> DeviceMetrics {
        let scaled = |value: Option<u16>, by: f32| value.map(|value| f32::from(value) / by);
        DeviceMetrics {
            battery_level: self.battery_percent.map(u32::from),
            voltage: scaled(self.voltage_mv, 1000.0),
            channel_utilization: scaled(self.channel_utilization_permille, 10.0),
            air_util_tx: scaled(self.air_util_tx_permille, 10.0),
            uptime_seconds: self.uptime_s,
        }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Number.
    pub num: NodeNum,
    /// Who it is, where it told.
    pub user: Option<User>,
    /// Where it is, where it told.
    pub position: Option<Position>,
    /// How it is, where it told.
    pub metrics: Option<Metrics>,
    /// When it was last heard.
    pub heard_at: Instant,
    /// SNR of its last packet that came directly, quarter decibels.
    pub snr_qdb: i16,
    /// Hops of its last packet, where it tells them.
    pub hops_away: Option<u8>,
    /// Index of the channel on which it was last heard.
    pub channel: u8,
    /// Its last packet had passed MQTT.
    pub via_mqtt: bool,
    /// Stays in the table, by its owner's will.
    pub favourite: bool,
    /// Stays in the table, as a member of the swarm.
    pub member: bool,
    /// What it sends is not looked at.
    pub ignored: bool,
    /// A person has compared its key.
    pub key_verified: bool,
    /// Its broadcasts were seen to be signed.
    pub signs: bool,
}

impl Node {
    fn new(num: NodeNum) -> Self {
        Self {
            num,
            user: None,
            position: None,
            metrics: None,
            heard_at: Instant::ZERO,
            snr_qdb: 0,
            hops_away: None,
            channel: 0,
            via_mqtt: false,
            favourite: false,
            member: false,
            ignored: false,
            key_verified: false,
            signs: false,
        }
    }

    /// Its public key, where it is known.
    pub fn public_key(&self) -> Option<&[u8; KEY]> {
        self.user.as_ref()?.public_key.as_ref()
    }

    const fn stays(&self) -> bool {
        self.favourite || self.member || self.key_verified
    }
}

/// Why a NodeInfo was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The node is known by another public key than it tells now. Somebody else uses its number, or it was set up anew; a person has to
    /// decide ([`NodeDb::forget`]).
    OtherKey,
    /// It does not tell the public key that it is known by.
    NoKey,
    /// All places are taken by nodes that stay.
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct NodeDb {
    nodes: Vec<Node, NODES>,
}

impl NodeDb {
    /// A node that is known.
    pub fn get(&self, num: NodeNum) -> Option<&Node> {
        self.nodes.iter().find(|node| node.num == num)
    }

    /// The same, to change what its owner decides.
    pub fn get_mut(&mut self, num: NodeNum) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.num == num)
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if none is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Nodes heard of since then.
    pub fn heard_since(&self, then: Instant) -> usize {
        self.nodes.iter().filter(|node| node.heard_at >= then).count()
    }

    /// The node's entry, new if need be. `None` when all places are taken by nodes that stay, and for numbers that are none.
    pub fn entry(&mut self, num: NodeNum) -> Option<&mut Node> {
        if num.is_reserved() {
            return None;
        }
        if let Some(index) = self.nodes.iter().position(|node| node.num == num) {
            return self.nodes.get_mut(index);
        }
        if self.nodes.is_full() {
            let order = |node: &Node| (node.user.is_some(), node.heard_at);
            let leaves = self.nodes.iter().enumerate().filter(|(_, node)| !node.stays());
            let (index, _) = leaves.min_by_key(|(_, node)| order(node))?;
            self.nodes.swap_remove(index);
        }
        let _ = self.nodes.push(Node::new(num));
        self.nodes.last_mut()
    }

    /// Takes what a node says of itself. True if something is new.
    ///
    /// # Errors
    /// Nothing is taken where the key does not fit ([`NotTaken`]).
    pub fn learn_user(&mut self, num: NodeNum, user: User) -> Result<bool, NotTaken> {
        let node = self.entry(num).ok_or(NotTaken::Full)?;
        if let Some(known) = node.public_key() {
            match &user.public_key {
                Some(told) if told == known => {}
                Some(_) => return Err(NotTaken::OtherKey),
                None => return Err(NotTaken::NoKey),
            }
        }
        let new = node.user.as_ref() != Some(&user);
        node.user = Some(user);
        Ok(new)
    }

    /// Puts back what a host had stored.
    pub fn restore(&mut self, node: Node) -> bool {
        let Some(entry) = self.entry(node.num) else { return false };
        *entry = node;
        true
    }

    /// Forgets a node, and with it its key.
    pub fn forget(&mut self, num: NodeNum) {
        self.nodes.retain(|node| node.num != num);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn keyed(name: &str, key: u8) -> User {
        User { public_key: Some([key; 32]), ..User::named(name, "x") }
    }

    fn heard(db: &mut NodeDb, num: u32, at_s: u64) -> bool {
        let Some(node) = db.entry(NodeNum(num)) else { return false };
        node.heard_at = Instant::ZERO + Duration::from_secs(at_s);
        true
    }

    #[test]
    fn a_changed_key_is_not_taken() {
        let mut db = NodeDb::default();
        let num = NodeNum(77);
        assert_eq!(db.learn_user(num, User::named("before it had a key", "x")), Ok(true));
        assert_eq!(db.learn_user(num, keyed("first", 1)), Ok(true));
        assert_eq!(db.learn_user(num, keyed("first", 1)), Ok(false));
        assert_eq!(db.learn_user(num, keyed("renamed", 1)), Ok(true));
        assert_eq!(db.learn_user(num, keyed("somebody else", 2)), Err(NotTaken::OtherKey));
        assert_eq!(db.learn_user(num, User::named("without", "x")), Err(NotTaken::NoKey));
        assert_eq!(db.get(num).unwrap().user, Some(keyed("renamed", 1)));
        db.forget(num);
        assert_eq!(db.learn_user(num, keyed("somebody else", 2)), Ok(true));
    }

    #[test]
    fn the_longest_unheard_makes_room_and_some_stay() {
        let mut db = NodeDb::default();
        for num in 0..NODES as u32 {
            assert!(heard(&mut db, 100 + num, u64::from(num)));
            let _ = db.learn_user(NodeNum(100 + num), User::named("n", "n"));
        }
        db.get_mut(NodeNum(100)).unwrap().favourite = true;
        db.get_mut(NodeNum(101)).unwrap().member = true;
        db.get_mut(NodeNum(102)).unwrap().key_verified = true;
        assert!(heard(&mut db, 5000, 999));
        let has = |db: &NodeDb, num| db.get(NodeNum(num)).is_some();
        assert!(has(&db, 100) && has(&db, 101) && has(&db, 102) && !has(&db, 103) && has(&db, 104));
        // 5000 has not said who it is, so the next stranger takes its place although it was heard last.
        assert!(heard(&mut db, 5001, 1000));
        assert!(!has(&db, 5000) && has(&db, 104) && has(&db, 5001));
        assert_eq!(db.len(), NODES);
        for node in &mut db.nodes {
            node.member = true;
        }
        assert!(!heard(&mut db, 6000, 2000));
        assert_eq!(db.learn_user(NodeNum(6000), User::default()), Err(NotTaken::Full));
        assert!(!heard(&mut db, 3, 1) && !heard(&mut db, u32::MAX, 1), "reserved numbers");
    }

    #[test]
    fn names_are_cut_at_characters_and_need_not_be_utf8() {
        let user = User::named(&"\u{20ac}".repeat(20), "abcde");
        assert_eq!((user.long_name.len(), user.short_name.as_str()), (39, "abcd"));
        let bad = UserMessage { long_name: Text(&[b'a', 0xff, b'b']), ..UserMessage::default() };
        assert_eq!(User::from_message(&bad).long_name.as_str(), "a\u{FFFD}b");
    }

    #[test]
    fn positions_are_cut_to_the_middle_of_their_square() {
        let position = Position {
            latitude_i: 500_000_000,
            longitude_i: 80_000_000,
            altitude_m: None,
            time_s: 0,
            precision_bits: 32,
        };
        // Measured at a running node.
        let cut = position.to_message(13).unwrap();
        assert_eq!((cut.latitude_i, cut.longitude_i), (Some(0x1dcc_0000), Some(0x04c4_0000)));
        assert_eq!(position.to_message(32).unwrap().latitude_i, Some(500_000_000));
        assert_eq!(position.to_message(0), None);
        let south = Position { latitude_i: -1, ..position };
        assert_eq!(south.to_message(1).unwrap().latitude_i, Some(i32::MIN / 2));
    }

    #[test]
    fn metrics_that_are_no_numbers_do_no_harm() {
        let message = DeviceMetrics {
            battery_level: Some(u32::MAX),
            voltage: Some(f32::NAN),
            channel_utilization: Some(-5.0),
            air_util_tx: Some(f32::INFINITY),
            uptime_seconds: None,
        };
        let metrics = Metrics::from_message(&message);
        assert_eq!(metrics.battery_percent, Some(101));
        assert_eq!((metrics.voltage_mv, metrics.channel_utilization_permille), (Some(0), Some(0)));
        assert_eq!(metrics.air_util_tx_permille, Some(u16::MAX));
    }
}
