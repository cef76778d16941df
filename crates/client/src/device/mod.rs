//! The device side of Meshtastic's client API: what a radio says to its app.
//!
//! A [`Device`] is the talk with one client at a time. Its host owns what outlives a connection: the [`Settings`], the nodes that
//! are known (given as [`Nodes`]), and the mesh. The host
//!
//! 1. mutates: [`Device::handle_connect`], [`Device::handle_to_radio`] with what came from the client, [`Device::handle_packet`] with what
//!    came from the mesh, [`Device::handle_sent`] with what became of a packet;
//! 2. drains: [`Device::poll_packet`] (for the mesh), [`Device::poll_event`] (what the client changed or asked for),
//!    [`Device::poll_from_radio`] (for the client, as fast as that takes it).
//!
//! It has no timers of its own. What waits for a slow client is bounded: 16 packets, two queue states, two notifications, the oldest lost,
//! as in firmware 2.7 on small parts. Times are milliseconds of the host's clock, which never runs backwards.
//!
//! Behaviour follows what was measured on firmware 2.7.26, the limits included. What is ours: changed settings hold at once,
//! without a restart.

mod admin;
mod handshake;
mod limits;
mod packets;
mod settings;
#[cfg(test)]
mod tests;

use compotastic_messages::{
    DeviceMetadata, FromRadio, FromRadioPayload, HardwareModel, LogLevel, MeshPacket, Message as _, NodeInfo,
    PortNum, Position, Priority, QueueStatus, RoutingError, ToRadio, ToRadioPayload,
};
use heapless::{Deque, String, Vec};

pub use self::settings::{
    CHANNELS, CONFIGS, Fresh, MODULE_CONFIGS, Part, SETTINGS_MAX, Settings, SettingsFull,
};
use self::{handshake::Handshake, limits::Limits};

/// Longest message to a client.
pub const FROM_RADIO_MAX: usize = 512;
/// Places of the radio's transmit queue, as clients are told.
pub const TX_QUEUE: u32 = 16;
/// Packets that wait for the client.
const PACKETS: usize = 16;
/// Longest encoded `FromRadio` with a packet: payload and signature at their largest, and all other fields.
const PACKET_MAX: usize = 440;
/// Queue states and notifications that wait for the client, each.
const STATES: usize = 2;
/// Packets and events that wait for the host.
const TO_HOST: usize = 8;
/// Longest payload that a client may send.
pub const PAYLOAD_MAX: usize = 233;
/// Payloads of this length and more are ignored without a word, as the firmware does.
const PAYLOAD_IGNORED: usize = 237;
/// Destination of broadcasts.
const BROADCAST: u32 = 0xFFFF_FFFF;

/// What the device is. It does not change while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Node number.
    pub num: u32,
    /// Hardware.
    pub hw_model: HardwareModel,
    /// Firmware version, at most 17 bytes; apps look at the first three numbers.
    pub firmware_version: &'static str,
    /// Name of the build.
    pub build: &'static str,
    /// Unique id.
    pub device_id: [u8; 16],
    /// Starts so far.
    pub reboot_count: u32,
    /// It can be reached over Wi-Fi.
    pub has_wifi: bool,
    /// It can be reached over Bluetooth.
    pub has_bluetooth: bool,
    /// It can be switched off by its client.
    pub can_shutdown: bool,
}

/// The nodes that the host knows.
pub trait Nodes {
    /// What it knows of the node itself, beyond the owner: place, battery, air. Number and user are filled in by the device.
    fn own(&self) -> NodeInfo<'static>;
    /// Tells the other node at this place of a list without gaps, once.
    fn other(&self, index: usize, tell: &mut dyn FnMut(NodeInfo<'_>));
    /// How many others.
    fn count(&self) -> usize;
}

/// A packet of the client's for the mesh. The host encrypts and sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutPacket {
    /// Destination; may be the node itself.
    pub to: u32,
    /// Packet id.
    pub id: u32,
    /// Index of a channel that is in use.
    pub channel: u8,
    /// Port.
    pub port: PortNum,
    /// Payload.
    pub payload: Vec<u8, PAYLOAD_MAX>,
    /// An answer is wanted.
    pub want_response: bool,
    /// Packet that it answers; 0 = none.
    pub request_id: u32,
    /// Message that it replies to; 0 = none.
    pub reply_id: u32,
    /// 1 = the text is a reaction.
    pub emoji: u32,
    /// Bit 0: may go to MQTT; bit 1: an answer is wanted.
    pub bitfield: u8,
    /// Hop limit, 0..=7.
    pub hop_limit: u8,
    /// It is repeated until acknowledged.
    pub want_ack: bool,
    /// Priority in the queue.
    pub priority: Priority,
    /// The client insists on public keys.
    pub pki: bool,
    /// The receiver's key, where the client names it.
    pub public_key: Option<[u8; 32]>,
}

/// What the client changed or asked for, beyond packets.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "drained at once; a box would need an allocator")]
pub enum DeviceEvent {
    /// The settings have changed: save them, and go by them from now on.
    SettingsChanged,
    /// Broadcast the own NodeInfo; the host keeps 60 s between two.
    NodeInfoWanted,
    /// Restart in so many seconds. After it the host makes a new device, or calls [`Device::handle_rebooted`].
    Reboot {
        /// Seconds.
        in_s: u32,
    },
    /// Switch off in so many seconds.
    Shutdown {
        /// Seconds.
        in_s: u32,
    },
    /// A planned restart or shutdown is taken back.
    Stay,
    /// Forget all other nodes.
    ForgetNodes,
    /// Forget a node.
    ForgetNode(u32),
    /// A node is a favourite from now on, or no more.
    Favourite(u32, bool),
    /// A node is ignored from now on, or no more.
    Ignored(u32, bool),
    /// A node is muted, or no more: the other of what it was.
    ToggleMuted(u32),
    /// The client tells the time, seconds since 1970.
    Time(u32),
    /// The client tells where it is.
    Position(Position),
    /// A position set by hand, to be told until it is taken away (`None`); it is in the settings already.
    FixedPosition(Option<Position>),
    /// Everything as on the first day: settings and nodes; the keys too if `keys`.
    FactoryReset {
        /// New keys too.
        keys: bool,
    },
}

/// Something to tell the person at the client.
#[derive(Clone, Debug)]
struct Notification {
    reply_id: Option<u32>,
    level: LogLevel,
    message: String<120>,
}

/// The talk with a client.
pub struct Device {
    about: About,
    /// State of the generator of packet ids and session keys.
    random: u64,
    handshake: Handshake,
    rebooted: bool,
    packets: Deque<Vec<u8, PACKET_MAX>, PACKETS>,
    states: Deque<QueueStatus, STATES>,
    notifications: Deque<Notification, STATES>,
    limits: Limits,
    to_mesh: Deque<OutPacket, TO_HOST>,
    events: Deque<DeviceEvent, TO_HOST>,
    /// Places that are free in the radio's queue.
    free: u32,
    /// Seconds since 1970 at 0 ms; 0 = the time is not known.
    unix_s_at_start: u64,
    admin: admin::Admin,
}

impl Device {
    /// A device without a client. `seed` is for packet ids and session keys: another one at each start.
    pub fn new(about: About, seed: u64) -> Self {
        Self {
            about,
            random: seed,
            handshake: Handshake::default(),
            rebooted: false,
            packets: Deque::new(),
            states: Deque::new(),
            notifications: Deque::new(),
            limits: Limits::default(),
            to_mesh: Deque::new(),
            events: Deque::new(),
            free: TX_QUEUE,
            unix_s_at_start: 0,
            admin: admin::Admin::default(),
        }
    }

    /// What it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// A client is there, in place of the one before it, if any. Packets that wait are for it.
    pub fn handle_connect(&mut self) {
        self.handshake = Handshake::default();
        self.rebooted = false;
        self.states.clear();
        self.limits = Limits::default();
        self.admin.end_edit();
    }

    /// The client is gone. Packets that come now wait for the next one.
    pub fn handle_disconnect(&mut self) {
        self.handshake = Handshake::default();
    }

    /// The device has restarted while the connection stayed: the client is told, and begins anew.
    pub fn handle_rebooted(&mut self) {
        self.handle_connect();
        self.packets.clear();
        self.notifications.clear();
        self.about.reboot_count = self.about.reboot_count.saturating_add(1);
        self.rebooted = true;
    }

    /// The time, seconds since 1970, is known.
    pub fn set_time(&mut self, now_ms: u64, unix_s: u32) {
        self.unix_s_at_start = u64::from(unix_s).saturating_sub(now_ms / 1000);
    }

    /// The time, seconds since 1970; 0 if nobody has told it.
    pub fn unix_s(&self, now_ms: u64) -> u32 {
        if self.unix_s_at_start == 0 { 0 } else { (self.unix_s_at_start + now_ms / 1000) as u32 }
    }

    /// A `ToRadio` message came from the client. What is none is ignored, as the firmware does.
    pub fn handle_to_radio(&mut self, now_ms: u64, bytes: &[u8], settings: &mut Settings) {
        let Ok(message) = ToRadio::decode(bytes) else { return };
        match message.payload {
            Some(ToRadioPayload::Packet(packet)) => self.handle_client_packet(now_ms, &packet, settings),
            Some(ToRadioPayload::WantConfigId(nonce)) => self.handshake.begin(nonce),
            Some(ToRadioPayload::Heartbeat(heartbeat)) if heartbeat.nonce == 1 => {
                self.push_event(DeviceEvent::NodeInfoWanted);
            }
            Some(ToRadioPayload::Heartbeat(_)) => self.push_state(0, 0),
            Some(ToRadioPayload::Disconnect(true)) => self.handle_disconnect(),
            _ => {}
        }
    }

    /// A packet of the mesh that a client shall see: readable ones for this node or everybody, others as `encrypted`. When 16 wait, the oldest
    /// is lost.
    pub fn handle_packet(&mut self, packet: MeshPacket<'_>) {
        if let Ok(bytes) = FromRadio::from(FromRadioPayload::Packet(packet)).to_vec::<PACKET_MAX>() {
            if self.packets.is_full() {
                self.packets.pop_front();
            }
            let _ = self.packets.push_back(bytes);
        }
    }

    /// What became of a packet that [`Self::poll_packet`] gave: it was taken (`Ok`) or refused, and so many places of the queue are free
    /// now. The client is told.
    pub fn handle_sent(&mut self, now_ms: u64, id: u32, sent: Result<(), Refused>, free: u32) {
        self.free = free;
        match sent {
            Ok(()) => self.push_state(0, id),
            Err(refused) => {
                self.push_state(refused.code(), id);
                if let Refused::Error(error) = refused {
                    self.push_error(now_ms, id, error);
                }
            }
        }
    }

    /// So many places of the radio's queue are free now; the client is told when it was full.
    pub fn handle_free(&mut self, free: u32) {
        let was_full = self.free == 0;
        self.free = free;
        if was_full && free > 0 {
            self.push_state(0, 0);
        }
    }

    /// A packet of the client's, taken before, failed, or arrived (`NONE`).
    pub fn handle_outcome(&mut self, now_ms: u64, id: u32, error: RoutingError) {
        self.push_error(now_ms, id, error);
    }

    /// Tells the person at the client something; what is longer than 120 bytes is cut.
    pub fn notify(&mut self, level: LogLevel, reply_id: Option<u32>, message: &str) {
        let mut end = message.len().min(120);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = String::try_from(message.get(..end).unwrap_or_default()).unwrap_or_default();
        if self.notifications.is_full() {
            self.notifications.pop_front();
        }
        let _ = self.notifications.push_back(Notification { reply_id, level, message });
    }

    /// The next packet for the mesh.
    pub fn poll_packet(&mut self) -> Option<OutPacket> {
        self.to_mesh.pop_front()
    }

    /// The next thing that the client changed or asked for.
    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front()
    }

    fn push_event(&mut self, event: DeviceEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    fn push_state(&mut self, res: u32, id: u32) {
        if self.states.is_full() {
            self.states.pop_front();
        }
        let state = QueueStatus { res: res as i32, free: self.free, maxlen: TX_QUEUE, mesh_packet_id: id };
        let _ = self.states.push_back(state);
    }

    /// A number nobody can guess from those before: SplitMix64 (Steele and others, 2014) over the seed.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn draw_id(&mut self) -> u32 {
        (self.draw() as u32).max(1)
    }

    fn metadata(&self, settings: &Settings) -> DeviceMetadata<'static> {
        DeviceMetadata {
            firmware_version: self.about.firmware_version.into(),
            device_state_version: 24,
            can_shutdown: self.about.can_shutdown,
            has_wifi: self.about.has_wifi,
            has_bluetooth: self.about.has_bluetooth,
            role: settings.role(),
            hw_model: self.about.hw_model,
            has_pkc: !settings.public_key().is_empty(),
            ..DeviceMetadata::default()
        }
    }
}

/// Why the radio did not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places of its queue are taken (32).
    QueueFull,
    /// There is no radio (33).
    NoRadio,
    /// It may not send, or no region is set (34).
    RadioOff,
    /// Anything that Meshtastic has a name for.
    Error(RoutingError),
}

impl Refused {
    const fn code(self) -> u32 {
        match self {
            Self::QueueFull => 32,
            Self::NoRadio => 33,
            Self::RadioOff => 34,
            Self::Error(error) => error.0,
        }
    }
}
