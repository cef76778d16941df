//! One agent, and mates that are only what they send: frames sealed with the swarm's key.

#![allow(dead_code, reason = "each test uses a part")]

pub mod code;

use compotastic_bundle::{Geometry, Slots, TrustStore, ramflash::RamFlash};
use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::NodeNum,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, AgentConfig, AgentEvent,
    agent::{InFrame, LinkState, OutFrame},
    policy::MissionProfile,
    state::StateLog,
};
use compotastic_wire::{
    self as wire, Beacon, Frame, JobResult, KeyRing, MAX_PAYLOAD, ResultStatus, SwarmKey,
};

pub type Flash = RamFlash<32768>;
/// On the heap: a device has one of them, a test several.
pub type Node = Box<Agent<'static, Flash>>;

pub const POST: NodeNum = NodeNum(0x0e00_0001);
const AIRTIME: Duration = Duration::from_millis(600);

/// A client on LongFast with the swarm's channel as its second.
pub fn router_config(num: NodeNum) -> RouterConfig {
    RouterConfig {
        num,
        role: Role::Client,
        preset: Preset::LongFast,
        region: Region::Eu868,
        hop_limit: 3,
        channels: [Channel::new("LongFast", &[1]).unwrap(), Channel::new("swarm", &[7; 32]).unwrap()]
            .into_iter()
            .collect(),
        own_port: 448,
        relaying: Relaying::default(),
    }
}

pub fn keys() -> KeyRing {
    KeyRing::new(1, SwarmKey([3; 16]))
}

/// A field node without a model; its reports go to [`POST`].
pub fn agent(num: NodeNum) -> Node {
    agent_with_hops(num, 7)
}

/// The same with another hop limit.
pub fn agent_with_hops(num: NodeNum, hop_limit: u8) -> Node {
    started_with(num, Flash::default(), Flash::default(), Instant::ZERO, hop_limit)
}

/// The same node after its power was off: what is not in flash is gone.
pub fn restarted(agent: Node, now: Instant) -> Node {
    let num = agent.num();
    let (mut components, state) = agent.into_flash();
    let slots = components.pop().expect("a node has the model's slots");
    started(num, slots, state, now)
}

fn started(num: NodeNum, slots: Flash, state: Flash, now: Instant) -> Node {
    started_with(num, slots, state, now, 7)
}

fn started_with(num: NodeNum, slots: Flash, state: Flash, now: Instant, hop_limit: u8) -> Node {
    // Any point of the curve does: nothing is signed here.
    let mut root = [0x66; 32];
    root[0] = 0x58;
    let config = AgentConfig {
        num,
        device_class: 1,
        record_hash: 0,
        keys: keys(),
        trust: TrustStore::new(&[root]).unwrap(),
        base: None,
        task: 1,
        profile: MissionProfile::default(),
        command_post: Some(POST),
        foundation_model: false,
        foundation_version: 0,
        mains_power: false,
        job_lifetime: Duration::from_secs(4 * 3600),
        hop_limit,
    };
    let slots = Slots::open(slots, Geometry::packed::<Flash>(0, 4096, 176, 2).unwrap()).unwrap();
    Box::new(Agent::new(config, slots, StateLog::open(state).unwrap(), u64::from(num.0), now).unwrap())
}

pub fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// All that the agent wants to send now.
pub fn sent(agent: &mut Node, now: Instant) -> Vec<OutFrame> {
    let link = LinkState {
        utilization_permille: 50,
        queued: 0,
        bulk_queued: false,
        flood_time: Duration::from_secs(3),
        bulk_airtime: Duration::from_millis(1600),
    };
    agent.handle_timeout(now);
    while agent.poll_reminder().is_some() {}
    let mut frames = Vec::new();
    while let Some(frame) = agent.poll_transmit(now, &link) {
        frames.push(frame);
    }
    frames
}

/// Steps in time until the agent sends a frame that `wanted` picks.
pub fn wait_for<T>(
    agent: &mut Node,
    now: &mut Instant,
    wanted: impl Fn(&OutFrame, &Frame<'_>) -> Option<T>,
) -> T {
    let until = *now + Duration::from_secs(4 * 3600);
    while *now < until {
        for out in sent(agent, *now) {
            let address = wire::Address { from: agent.num().0, to: out.to.0, id: out.id };
            let (frame, _) = wire::open(&out.payload, &keys(), &address).unwrap();
            if let Some(found) = wanted(&out, &frame) {
                return found;
            }
        }
        *now = *now + Duration::from_secs(5);
    }
    panic!("the agent never sent it");
}

/// The next request: to whom, and the name of its job.
pub fn next_request(agent: &mut Node, now: &mut Instant) -> (NodeNum, u16) {
    wait_for(agent, now, |out, frame| match frame {
        Frame::Request(request) => {
            Some((out.to, out.id.wrapping_sub(u32::from(request.back.unwrap_or(0))) as u16))
        }
        _ => None,
    })
}

/// Hands a frame of another agent over.
pub fn give(agent: &mut Node, now: Instant, from: NodeNum, out: &OutFrame) {
    agent.handle_frame(
        now,
        &InFrame {
            from,
            to: out.to,
            id: out.id,
            hops_away: Some(0),
            airtime: AIRTIME,
            payload: &out.payload,
        },
    );
}

pub fn events(agent: &mut Node) -> Vec<AgentEvent> {
    std::iter::from_fn(|| agent.poll_event()).collect()
}

/// A member of the swarm.
pub struct Mate {
    pub num: NodeNum,
    next_id: u32,
}

impl Mate {
    pub fn new(num: u32) -> Self {
        Self { num: NodeNum(num), next_id: 1 }
    }

    pub fn says(&mut self, agent: &mut Node, now: Instant, to: NodeNum, frame: &Frame<'_>) {
        self.says_under(agent, now, to, to, frame);
    }

    /// The same with another destination in the packet header than the one that the frame is sealed for.
    pub fn says_under(
        &mut self,
        agent: &mut Node,
        now: Instant,
        header_to: NodeNum,
        to: NodeNum,
        frame: &Frame<'_>,
    ) {
        self.tells(header_to, to, frame, |incoming| {
            agent.handle_frame(now, incoming);
        });
    }

    /// The same for whoever takes frames.
    pub fn tells(
        &mut self,
        header_to: NodeNum,
        to: NodeNum,
        frame: &Frame<'_>,
        take: impl FnOnce(&InFrame<'_>),
    ) {
        let id = self.next_id;
        self.next_id += 1;
        let mut payload = [0; MAX_PAYLOAD];
        let address = wire::Address { from: self.num.0, to: to.0, id };
        let length = wire::seal(frame, &keys(), &address, &mut payload).unwrap();
        let payload = &payload[..length];
        take(&InFrame { from: self.num, to: header_to, id, hops_away: Some(0), airtime: AIRTIME, payload });
    }

    /// Tells that it runs a foundation model.
    pub fn beacons(&mut self, agent: &mut Node, now: Instant) {
        let flags = Beacon::EXECUTES | Beacon::FOUNDATION_MODEL | Beacon::MAINS_POWER;
        let beacon = Beacon { flags, task: 1, battery: 15, ..Beacon::default() };
        self.says(agent, now, NodeNum::BROADCAST, &Frame::Beacon(beacon));
    }

    /// Answers (or refuses) the job of this name with class 4.
    pub fn answers(&mut self, agent: &mut Node, now: Instant, job: u16, status: ResultStatus) {
        let to = agent.num();
        let result = JobResult {
            requester: None,
            job,
            status,
            confidence: 14,
            class: 4,
            model_version: 1,
            text: None,
        };
        self.says(agent, now, to, &Frame::Result(result));
    }
}
