//! A lost radio is shut out over the air: all others go on, and it can neither read nor speak.

mod common;

use common::{Node, agent, keys, restarted, sent};
use compotastic_mesh::{
    packet::NodeNum,
    pkc::KeyPair,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent,
    agent::InFrame,
    keys::{EpochKeys, Identity, PREVIOUS_FOR, Rollout, Say},
};
use compotastic_wire::{
    self as wire, Beacon, Frame, KeyRing, RecordType, SwarmKey,
    records::rotation::{MAX_ROTATION, NewKeys, Rotation, RotationHead},
};
use ed25519_dalek::{Signer as _, SigningKey};

const OPERATOR: usize = 0;
const LOST: usize = 4;
const NODES: usize = 5;
const NUMBER: u32 = 1_790_000_000;
const DEADLINE_S: u32 = 6 * 3600;

fn num(index: usize) -> NodeNum {
    NodeNum(0x0a00_0001 + index as u32)
}

fn pair(index: usize) -> KeyPair {
    KeyPair::from_private([index as u8 + 1; 32])
}

fn operator() -> SigningKey {
    SigningKey::from_bytes(&[0x11; 32])
}

fn identity(index: usize, last_number: u32) -> Identity {
    Identity {
        swarm_id: [1; 8],
        secret: [index as u8 + 1; 32],
        public: *pair(index).public(),
        operators: heapless::Vec::from_slice(&[operator().verifying_key().to_bytes()]).unwrap(),
        last_number,
    }
}

fn new_keys(byte: u8) -> NewKeys {
    NewKeys { swarm_key: SwarmKey([byte; 16]), channel_key: [byte; 32] }
}

fn record(index: usize, public: &[u8; 32], epoch: u8, number: u32, keys: &NewKeys) -> Vec<u8> {
    let head = RotationHead { swarm_id: [1; 8], epoch, number, member: num(index).0, deadline_s: DEADLINE_S };
    let rotation = Rotation::seal(head, public, [0x40 + index as u8; 32], keys).unwrap();
    let mut bytes = [0; MAX_ROTATION];
    let length = rotation.encode(&mut bytes, |signed| operator().sign(signed).to_bytes()).unwrap();
    bytes[..length].to_vec()
}

struct OnAir {
    at: Instant,
    from: usize,
    to: NodeNum,
    id: u32,
    payload: Vec<u8>,
    channel_key: [u8; 32],
}

/// Agents whose frames are lost, doubled and overtake each other; the host of each keeps what it is told to keep.
struct World {
    agents: Vec<Option<Node>>,
    /// What each radio's channel has.
    channel_keys: [[u8; 32]; NODES],
    publics: Vec<(NodeNum, [u8; 32])>,
    receipts: Vec<(NodeNum, u32)>,
    switched: [Option<Instant>; NODES],
    kept: Vec<Option<EpochKeys>>,
    air: Vec<OnAir>,
    rng: Rng,
    loss_percent: u32,
    now: Instant,
    key_frames: u32,
    longest: usize,
    first_id: u32,
}

impl World {
    fn new(loss_percent: u32) -> Self {
        let agents = (0..NODES).map(|index| {
            let mut agent = agent(num(index));
            agent.set_identity(identity(index, 0), None);
            Some(agent)
        });
        Self {
            agents: agents.collect(),
            channel_keys: [[7; 32]; NODES],
            publics: Vec::new(),
            receipts: Vec::new(),
            switched: [None; NODES],
            kept: vec![None; NODES],
            air: Vec::new(),
            rng: Rng::from_seed(5),
            loss_percent,
            now: Instant::ZERO,
            key_frames: 0,
            longest: 0,
            first_id: 1 << 30,
        }
    }

    fn agent(&mut self, index: usize) -> &mut Node {
        self.agents[index].as_mut().unwrap()
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_secs(5);
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.air).into_iter().partition(|f| f.at <= self.now);
        self.air = rest;
        for frame in due {
            for index in (0..NODES).filter(|index| *index != frame.from) {
                if self.channel_keys[index] != frame.channel_key || self.rng.below(100) < self.loss_percent {
                    continue;
                }
                let incoming = InFrame {
                    from: num(frame.from),
                    to: frame.to,
                    id: frame.id,
                    hops_away: Some(1),
                    airtime: Duration::from_millis(900),
                    payload: &frame.payload,
                };
                let now = self.now;
                self.agent(index).handle_frame(now, &incoming);
            }
        }
        for index in 0..NODES {
            let now = self.now;
            for out in sent(self.agents[index].as_mut().unwrap(), now) {
                let class = out.payload[0] & 31;
                if [7, 8].contains(&class) && (5..=8).contains(&out.payload[2]) {
                    self.key_frames += 1;
                    self.longest = self.longest.max(out.payload.len());
                }
                for _ in 0..1 + u32::from(self.rng.below(10) == 0) {
                    let at = now + Duration::from_secs(1 + u64::from(self.rng.below(20)));
                    let (to, id, payload) = (out.to, out.id, out.payload.to_vec());
                    let channel_key = self.channel_keys[index];
                    self.air.push(OnAir { at, from: index, to, id, payload, channel_key });
                }
            }
            while let Some(event) = self.agent(index).poll_event() {
                match event {
                    AgentEvent::NodeKey { from, public } if index == OPERATOR => {
                        self.publics.push((from, public))
                    }
                    AgentEvent::KeyReceipt { from, number, .. } if index == OPERATOR => {
                        self.receipts.push((from, number));
                    }
                    AgentEvent::KeysPending { .. } => {
                        self.kept[index] = self.agent(index).pending_keys().cloned()
                    }
                    AgentEvent::KeysSwitched { channel_key, .. } => {
                        self.channel_keys[index] = channel_key;
                        self.switched[index] = Some(now);
                        self.kept[index] = None;
                    }
                    _ => {}
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.step();
        }
    }

    fn epoch(&self, index: usize) -> u8 {
        self.agents[index].as_ref().unwrap().epoch_keys().0
    }

    /// The operator asks for keys until it has those of all, then leaves the lost one out.
    fn rotate(&mut self, restart: bool) {
        for _ in 0..20 {
            self.agent(OPERATOR).ask_node_keys();
            self.run(360);
            if (1..NODES).all(|index| self.publics.iter().any(|(from, _)| *from == num(index))) {
                break;
            }
        }
        let deadline = self.now + Duration::from_secs(DEADLINE_S.into());
        let mut rollout = Rollout::<64>::new(NUMBER, self.now, deadline);
        for index in (1..NODES).filter(|index| *index != LOST) {
            let (_, public) =
                *self.publics.iter().find(|(from, _)| *from == num(index)).expect("its key came");
            assert_eq!(public, *pair(index).public());
            assert!(rollout.add(self.now, num(index), &record(index, &public, 2, NUMBER, &new_keys(9))));
        }
        let own = EpochKeys { epoch: 2, number: NUMBER, keys: new_keys(9), switch_at: deadline };
        self.agent(OPERATOR).adopt_keys(own);
        let mut restarted_yet = !restart;
        while (0..NODES).any(|index| index != LOST && self.switched[index].is_none()) {
            assert!(self.now < deadline + Duration::from_secs(60), "{:?}", self.switched);
            for (from, number) in std::mem::take(&mut self.receipts) {
                rollout.handle_receipt(from, number);
            }
            let now = self.now;
            match rollout.poll(now) {
                Some(Say::Record(to, record)) => {
                    let record = record.to_vec();
                    self.agent(OPERATOR).send_rotation(to, &record);
                }
                Some(Say::Switch { in_s }) => {
                    self.agent(OPERATOR).send_switch(2, NUMBER, in_s);
                    let at = now + Duration::from_secs(in_s.into());
                    let keys = EpochKeys { epoch: 2, number: NUMBER, keys: new_keys(9), switch_at: at };
                    self.agent(OPERATOR).adopt_keys(keys);
                }
                None => {}
            }
            self.step();
            if !restarted_yet && let Some(pending) = self.kept[2].clone() {
                restarted_yet = true;
                let old = self.agents[2].take().unwrap();
                let mut node = restarted(old, self.now);
                node.set_identity(identity(2, NUMBER), Some(pending));
                self.agents[2] = Some(node);
            }
        }
        assert!(restarted_yet);
    }

    /// A frame that somebody seals with these keys, as a member hears it.
    fn say(&mut self, index: usize, from: NodeNum, ring: &KeyRing, frame: &Frame<'_>) {
        self.first_id += 1;
        let id = self.first_id;
        let mut payload = [0; 222];
        let address = wire::Address { from: from.0, to: u32::MAX, id };
        let length = wire::seal(frame, ring, &address, &mut payload).unwrap();
        let incoming = InFrame {
            from,
            to: NodeNum::BROADCAST,
            id,
            hops_away: Some(0),
            airtime: Duration::from_millis(900),
            payload: &payload[..length],
        };
        let now = self.now;
        self.agent(index).handle_frame(now, &incoming);
    }

    fn refuses(&mut self, index: usize, ring: &KeyRing) -> bool {
        let before = self.agent(index).refused_frames();
        self.say(index, num(LOST), ring, &Frame::Beacon(Beacon::default()));
        self.agent(index).refused_frames() > before
    }
}

#[test]
fn all_others_go_on_and_the_lost_one_can_neither_read_nor_speak() {
    for (loss_percent, restart) in [(0, false), (30, true)] {
        let mut world = World::new(loss_percent);
        world.rotate(restart);
        let asked = world.key_frames;
        println!(
            "loss {loss_percent} %: {} frames about keys for {} members, the longest of {} bytes",
            asked,
            NODES - 2,
            world.longest
        );
        // One question, four keys, and a record and its receipt for each of three, three notices; more where frames are lost.
        assert!(asked <= if loss_percent == 0 { 5 + 2 * 3 + 3 } else { 80 }, "{asked}");
        for index in 0..NODES {
            assert_eq!(world.epoch(index), if index == LOST { 1 } else { 2 }, "{index}");
        }
        assert_eq!(world.channel_keys[LOST], [7; 32], "it reads nothing on the new channel");
        let first = world.switched.iter().flatten().min().unwrap();
        let last = world.switched.iter().flatten().max().unwrap();
        if loss_percent == 0 {
            assert!(last.saturating_duration_since(*first) <= Duration::from_secs(30));
        }
        // What it says in the old epoch is taken while stragglers may be there, and refused after.
        assert!(!world.refuses(1, &keys()));
        let hour = PREVIOUS_FOR.as_secs() + 60;
        world.run(hour);
        for index in [0, 1, 2, 3] {
            assert!(world.refuses(index, &keys()), "{index}");
        }
        let mut new = keys();
        new.rotate(SwarmKey([9; 16]));
        assert!(!world.refuses(1, &new), "the swarm goes on in the new epoch");
    }
}

#[test]
fn a_member_that_misses_the_notice_changes_when_it_hears_the_new_epoch() {
    let mut world = World::new(0);
    let keys_2 = EpochKeys {
        epoch: 2,
        number: NUMBER,
        keys: new_keys(9),
        switch_at: world.now + Duration::from_secs(9000),
    };
    world.agent(1).adopt_keys(keys_2);
    let mut new = keys();
    new.rotate(SwarmKey([9; 16]));
    world.say(1, num(2), &new, &Frame::Beacon(Beacon::default()));
    assert_eq!(world.epoch(1), 2);
    // A frame of another key in that epoch changes nothing.
    let mut world = World::new(0);
    let keys_2 = EpochKeys {
        epoch: 2,
        number: NUMBER,
        keys: new_keys(9),
        switch_at: Instant::ZERO + Duration::from_secs(9000),
    };
    world.agent(1).adopt_keys(keys_2);
    let mut other = keys();
    other.rotate(SwarmKey([8; 16]));
    world.say(1, num(2), &other, &Frame::Beacon(Beacon::default()));
    assert_eq!(world.epoch(1), 1);
}

#[test]
fn an_old_a_forged_or_a_foreign_rotation_is_refused() {
    let mut world = World::new(0);
    let ring = keys();
    let deliver = |world: &mut World, bytes: &[u8]| {
        let record = wire::Record { record_type: RecordType::KeyRotation, part: 0, parts: 1, tag: 1, bytes };
        world.say(1, num(0), &ring, &Frame::Record(record));
        world.agent(1).pending_keys().map(|pending| pending.number)
    };
    let public = *pair(1).public();
    let mut forged = record(1, &public, 2, NUMBER, &new_keys(9));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(deliver(&mut world, &forged), None);
    assert_eq!(deliver(&mut world, &record(2, pair(2).public(), 2, NUMBER, &new_keys(9))), None, "another's");
    assert_eq!(deliver(&mut world, &record(1, &public, 4, NUMBER, &new_keys(9))), None, "not the next epoch");
    assert_eq!(deliver(&mut world, &record(1, &public, 2, NUMBER, &new_keys(9))), Some(NUMBER));
    assert_eq!(
        deliver(&mut world, &record(1, &public, 2, NUMBER - 1, &new_keys(8))),
        Some(NUMBER),
        "an older one"
    );
    assert_eq!(
        deliver(&mut world, &record(1, &public, 2, NUMBER + 1, &new_keys(8))),
        Some(NUMBER + 1),
        "a newer one"
    );
    // After the change, none of them brings the old keys back.
    world.run(u64::from(DEADLINE_S) + 60);
    assert_eq!(world.epoch(1), 2);
    let mut new = keys();
    new.rotate(SwarmKey([8; 16]));
    for number in [NUMBER, NUMBER + 1] {
        let bytes = record(1, &public, 2, number, &new_keys(9));
        let old =
            wire::Record { record_type: RecordType::KeyRotation, part: 0, parts: 1, tag: 1, bytes: &bytes };
        world.say(1, num(0), &new, &Frame::Record(old));
        assert!(world.agent(1).pending_keys().is_none(), "{number}");
    }
}
