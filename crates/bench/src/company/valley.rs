//! One valley, once with the update and once without: the same nodes, the same luck, the same messages.
//!
//! 24 nodes of ours stand along a valley ([`compotastic_sim::valley`]) with the source at its mouth. Beside every second
//! one, where a place with good links is found, stands a stock node with a person. The radio is the simulator's usual one, with
//! shadows and fading. All nodes, ours too, send the NodeInfo, positions and telemetry of stock modules.

use anyhow::{Context as _, Result, ensure};
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_sim::{
    NodeId, World, WorldConfig,
    ledger::Ledger,
    messenger::{Messenger, Note, Planned},
    radio::Radio,
    scenario::Body,
    valley::{self, Valley, Wanted},
};

use crate::spread::{
    ours::{Holder, Ours},
    peer::{channels, number},
    topology::{PRESET, REGION},
};

/// Nodes of ours, the source included.
pub const NODES: usize = 24;
/// Stock nodes, at least.
const STOCK_MIN: usize = 8;
/// Worlds that are tried for a seed: under some no valley fits.
const WORLDS: u64 = 100;
/// Before the object is published and the first message is sent.
const WARM_UP: Duration = Duration::from_secs(1800);
/// After the last message, for those on their way.
const GRACE: Duration = Duration::from_secs(1800);
/// An update that takes longer has failed.
const UPDATE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Telemetry of a stock node: bytes and hops.
const TELEMETRY_BYTES: usize = 27;
const TELEMETRY_HOPS: u8 = 3;
/// Hops of chat.
const CHAT_HOPS: u8 = 7;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Seed of the valley, the messages and all luck.
    pub seed: u64,
    /// Messages of stock nodes.
    pub messages: usize,
    /// Time over which they are spread.
    pub window: Duration,
    /// Bytes of the object.
    pub bytes: usize,
    /// Loss per transmission and receiver on top of the radio model, millionths.
    pub loss_ppm: u32,
    /// Our nodes are behind stock radios.
    pub hosted: bool,
}

/// What became of the messages, and of the update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Per message: the share of those for whom it was that got it.
    pub delivered: Vec<f64>,
    /// Per delivery: seconds from when the person wanted to send.
    pub delays_s: Vec<f64>,
    /// Stock nodes.
    pub stock_nodes: usize,
    /// From publication until the last node of ours held the object, hours.
    pub complete_hours: Option<f64>,
    /// Messages that were sent meanwhile.
    pub during_update: usize,
}

/// A message, and for whom it is.
struct Sent {
    at: Instant,
    from: usize,
    to: Option<usize>,
    received: Vec<usize>,
}

fn draw_valley(seed: u64, radio: &Radio) -> Result<(u64, Valley, usize)> {
    let worlds = Rng::from_seed(seed).child(0x776f_726c);
    for world in 0..WORLDS {
        let seed = if world == 0 { seed } else { worlds.child(world).next_u64() };
        let Ok(mut valley) = valley::draw(seed, NODES - 1, radio, Wanted::for_nodes(NODES - 1)) else {
            continue;
        };
        let stock =
            (0..NODES).step_by(2).filter(|node| valley.add_beside(*node, seed, radio).is_ok()).count();
        if stock >= STOCK_MIN {
            return Ok((seed, valley, stock));
        }
    }
    anyhow::bail!("no valley for {NODES} nodes under seed {seed}: try another seed")
}

/// One in three is a direct message that is repeated until acknowledged, one a text to all, one telemetry.
fn plan(spec: &Spec, stock: usize) -> (Vec<Vec<Planned>>, Vec<Sent>) {
    let mut rng = Rng::from_seed(spec.seed).child(0x6368_6174);
    let window_ms = (spec.window.as_micros() / 1000).max(1) as u32;
    let (mut plans, mut sent) = (vec![Vec::new(); stock], Vec::new());
    for message in 0..spec.messages {
        let at = Instant::ZERO + WARM_UP + Duration::from_millis(u64::from(rng.below(window_ms)));
        let from = rng.below(stock as u32) as usize;
        let other = (from + 1 + rng.below(stock as u32 - 1) as usize) % stock;
        let text = 20 + rng.below(100) as usize;
        let direct = message % 3 == 0;
        let telemetry = message % 3 == 2;
        plans[from].push(Planned {
            at,
            message: message as u32,
            to: if direct { number(NODES + other) } else { NodeNum::BROADCAST },
            length: if telemetry { TELEMETRY_BYTES } else { text },
            want_ack: direct,
            hop_limit: if telemetry { TELEMETRY_HOPS } else { CHAT_HOPS },
        });
        sent.push(Sent { at, from, to: direct.then_some(other), received: Vec::new() });
    }
    (plans, sent)
}

/// Runs a valley with the update or without.
pub fn run(spec: &Spec, update: bool) -> Result<Traffic> {
    let radio = Radio::new(PRESET.modem(REGION.wide()), REGION);
    let (world_seed, valley, stock) = draw_valley(spec.seed, &radio)?;
    let ours = Ours::new(spec.bytes, spec.seed)?;
    let nodes = NODES + stock;
    ensure!(valley.positions.len() == nodes, "a valley has all its nodes");
    let numbers = (0..nodes).map(number).collect();
    let ledger = Ledger::new(channels(), numbers, Duration::from_secs(86_400));
    let config = WorldConfig { preset: PRESET, region: REGION, loss_ppm: spec.loss_ppm, seed: world_seed };
    let mut world = World::new(config, radio, ledger);
    let mut holders = Vec::new();
    for node in 0..NODES {
        let (host, holder) = ours.boot(number(node), spec.hosted)?;
        world.add(Body::Ours(Box::new(host)), valley.positions[node]);
        holders.push(holder);
    }
    let (plans, mut sent) = plan(spec, stock);
    let seeds = Rng::from_seed(spec.seed).child(0x7374_6f63);
    for (index, plan) in plans.into_iter().enumerate() {
        let node = NODES + index;
        let config = RouterConfig {
            num: number(node),
            role: Role::Client,
            preset: PRESET,
            region: REGION,
            hop_limit: 3,
            channels: channels().into_iter().take(1).collect(),
            own_port: 0,
            relaying: Relaying::default(),
        };
        let seed = seeds.child(node as u64).next_u64();
        world.add(Body::Stock(Box::new(Messenger::new(config, plan, seed))), valley.positions[node]);
    }
    let mut watch = Watch { read: vec![0; nodes], delays_s: Vec::new(), complete: vec![false; NODES] };
    let begin = Instant::ZERO + WARM_UP;
    world.run_until(begin, |world, node| watch.look(world, node, &mut holders, &ours, &mut sent));
    if update {
        world.with_host(0, |body, now| {
            let host = body.ours().context("node 0 is ours")?;
            ours.publish(host, now)
        })?;
    }
    let chat_until = begin + spec.window + GRACE;
    let mut done_at = None;
    loop {
        let waits = update && done_at.is_none();
        let until = if waits { begin + UPDATE_MAX } else { chat_until };
        let Some(touched) = world.step(until) else { break };
        for node in touched {
            watch.look(&mut world, node, &mut holders, &ours, &mut sent);
        }
        if waits && !watch.complete.contains(&false) {
            done_at = Some(world.now());
        }
    }
    let receivers = |message: &Sent| if message.to.is_some() { 1.0 } else { (stock - 1) as f64 };
    Ok(Traffic {
        delivered: sent.iter().map(|message| message.received.len() as f64 / receivers(message)).collect(),
        delays_s: watch.delays_s,
        stock_nodes: stock,
        complete_hours: done_at.map(|at| at.saturating_duration_since(begin).as_micros() as f64 / 3.6e9),
        during_update: sent.iter().filter(|message| done_at.is_some_and(|at| message.at < at)).count(),
    })
}

/// Reads what nodes have to tell.
struct Watch {
    /// Notes read per node.
    read: Vec<usize>,
    delays_s: Vec<f64>,
    complete: Vec<bool>,
}

impl Watch {
    fn look(
        &mut self,
        world: &mut World<Body>,
        node: NodeId,
        holders: &mut [Holder],
        ours: &Ours,
        sent: &mut [Sent],
    ) {
        if let Some(holder) = holders.get_mut(node) {
            let complete =
                world.with_host(node, |body, _| body.ours().is_some_and(|host| holder.look(host, ours)));
            self.complete[node] = complete;
            return;
        }
        let (now, receiver) = (world.now(), node - NODES);
        let notes = world.host(node).notes();
        for note in &notes[self.read[node]..] {
            let Note::Received { message, .. } = note else { continue };
            let Some(message) = sent.get_mut(*message as usize) else { continue };
            let for_it = message.to.is_none_or(|to| to == receiver) && message.from != receiver;
            if for_it && !message.received.contains(&receiver) {
                message.received.push(receiver);
                self.delays_s.push(now.saturating_duration_since(message.at).as_micros() as f64 / 1e6);
            }
        }
        self.read[node] = notes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of a task part for the base encoder.
    const PART: usize = 2_000;

    fn spec(seed: u64) -> Spec {
        let window = Duration::from_secs(3600);
        Spec { seed, messages: 30, window, bytes: PART, loss_ppm: 0, hosted: false }
    }

    #[test]
    fn messages_are_the_same_in_both_runs_and_most_arrive() {
        let (without, with) = (run(&spec(2), false).unwrap(), run(&spec(2), true).unwrap());
        assert_eq!(without, run(&spec(2), false).unwrap(), "a seed names a run");
        assert_eq!((without.complete_hours, without.during_update), (None, 0));
        assert!(with.complete_hours.is_some_and(|hours| hours > 0.0), "{with:?}");
        for traffic in [&without, &with] {
            assert_eq!(traffic.delivered.len(), 30);
            assert!(traffic.stock_nodes >= STOCK_MIN);
            let mean = traffic.delivered.iter().sum::<f64>() / 30.0;
            assert!((0.5..=1.0).contains(&mean), "{mean}");
            assert!(traffic.delays_s.iter().all(|delay| *delay > 0.2 && *delay < 3600.0));
        }
    }

    #[test]
    fn a_third_of_the_messages_are_direct_and_none_goes_to_its_sender() {
        let (plans, sent) = plan(&Spec { messages: 300, ..spec(5) }, 9);
        assert_eq!(plans.iter().map(Vec::len).sum::<usize>(), 300);
        assert_eq!(sent.iter().filter(|message| message.to.is_some()).count(), 100);
        assert!(sent.iter().all(|message| message.to != Some(message.from)));
        for (from, plan) in plans.iter().enumerate() {
            for planned in plan {
                assert_eq!(sent[planned.message as usize].from, from);
                assert_eq!(planned.want_ack, planned.to != NodeNum::BROADCAST);
            }
        }
    }
}
