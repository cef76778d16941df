//! Our own method: the swarm as devices run it. Node 0 publishes a signed bundle, the others take it by themselves.
//!
//! The seam to the dissemination is here: [`Ours::publish`] hands the object to the source, [`Holder::look`] tells whether a
//! node holds it.

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::ComponentKind;
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role},
    time::{Duration, Instant},
};
use compotastic_node::AgentEvent;
use compotastic_sim::{
    hosted::{HostedNode, RadioHabits},
    swarm::{Kit, Large, Node, NodeFlash, Post},
};
use sha2::{Digest, Sha256};

use super::{
    harness::{self, Outcome, Spec},
    peer::number,
    topology::{PRESET, REGION},
};

/// Version of the object that is published; nodes begin with none.
const VERSION: u32 = 1;
/// A swarm that has been on the air for a while: beacons tell who hears whom, and come seldom.
pub const WARM_UP: Duration = Duration::from_secs(6 * 3600);

/// Keys of a swarm, and the object that its source publishes.
pub struct Ours {
    kit: Kit,
    object: Large,
    bytes: usize,
}

/// What is known of one node: whether all of the object was in its flash, its hash verified, when the node said so.
pub struct Holder {
    complete: bool,
}

impl Ours {
    /// A swarm with an object of so many bytes, drawn from the seed: nothing shortens it.
    pub fn new(bytes: usize, seed: u64) -> Result<Self> {
        let kit = Kit::new(PRESET, REGION, None, seed);
        let mut rng = Rng::from_seed(seed).child(0x6f62_6a65);
        let content: Vec<u8> = (0..bytes).map(|_| rng.next_u32() as u8).collect();
        let object = kit.large(&content, VERSION);
        let object = object
            .with_context(|| format!("an object of {bytes} bytes does not fit a node's store: 1 to 65536"))?;
        Ok(Self { kit, object, bytes })
    }

    /// A node on blank flash that is switched on at the start.
    pub fn boot(&self, num: NodeNum, hosted: bool) -> Result<(Node, Holder)> {
        let post = Post { num, role: Role::Client, relaying: Relaying::default(), edge: false, base: false };
        let flash = NodeFlash::with_store();
        let host = if hosted {
            let habits = RadioHabits::default();
            let station = self.kit.boot_host(&post, &flash, Instant::ZERO, 0, habits);
            let radio = self.kit.radio(&post, habits, Instant::ZERO);
            station.map(|station| Node::Hosted(Box::new(HostedNode::new(radio, station))))
        } else {
            self.kit.boot(&post, &flash, Instant::ZERO, 0)
        };
        Ok((host.context("blank flash does not boot")?, Holder { complete: false }))
    }

    /// Hands the object to the source.
    pub fn publish(&self, host: &mut Node, now: Instant) -> Result<()> {
        let published = host.agent().publish_stream(now, &[], &self.object.manifest, &self.object.stream);
        host.settle(now);
        published.map(drop).map_err(|refusal| anyhow!("the source refuses its own object: {refusal:?}"))
    }
}

impl Holder {
    /// Reads what a node has to tell; whether it holds the object.
    pub fn look(&mut self, host: &mut Node, ours: &Ours) -> bool {
        let mut told = false;
        while let Some(event) = host.agent().poll_event() {
            told |= matches!(event, AgentEvent::ObjectComplete { .. });
        }
        if !self.complete {
            // The source holds it without a word.
            told |= host.agent().object_progress(ComponentKind::Firmware, 0) == Some(255);
        }
        if told && !self.complete {
            // Over what its flash holds now.
            let mut content = vec![0; ours.bytes];
            let length = host.agent().content(ComponentKind::Firmware, 0, 0, &mut content);
            let digest: [u8; 32] = Sha256::digest(&content).into();
            self.complete = length == Some(ours.bytes as u32) && digest == ours.object.digest;
        }
        self.complete
    }
}

/// Runs it, natively or each node behind a stock radio.
pub fn run(spec: &Spec<'_>, hosted: bool) -> Result<Outcome> {
    let ours = Ours::new(spec.bytes, spec.seed)?;
    let mut world = harness::world(spec);
    let mut holders = Vec::new();
    for (node, position) in spec.topology.positions.iter().enumerate() {
        let (host, holder) = ours.boot(number(node), hosted)?;
        world.add(host, *position);
        holders.push(holder);
    }
    world.run_until(Instant::ZERO + WARM_UP, |world, node| {
        world.with_host(node, |host, _| holders[node].look(host, &ours));
    });
    world.with_host(0, |host, now| ours.publish(host, now))?;
    Ok(harness::finish(spec, &mut world, false, |world, node| {
        world.with_host(node, |host, _| holders[node].look(host, &ours))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::{
        cds,
        topology::{Class, Topology},
    };

    #[test]
    fn a_small_swarm_completes_natively_and_hosted() {
        let topology = Topology::draw(Class::Grid, 10, 0).unwrap();
        let bytes = 2_000;
        let reference = harness::reference(bytes, cds::exact(&topology.graph).unwrap(), 0.1);
        let spec = Spec { topology: &topology, loss: 0.1, bytes, reference, seed: 3 };
        for hosted in [false, true] {
            let outcome = run(&spec, hosted).unwrap();
            assert_eq!(outcome.completed_nodes, 10, "{outcome:?}");
            assert!(outcome.transmissions as f64 > reference / 2.0);
        }
    }

    #[test]
    fn an_object_that_no_node_has_room_for_is_an_error() {
        assert!(Ours::new(70_000, 1).is_err() && Ours::new(0, 1).is_err());
    }
}
