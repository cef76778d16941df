//! Our own method: the swarm as devices run it. Node 0 publishes a signed bundle, the others take it by themselves.
//!
//! The seam to the dissemination is here: [`Ours::publish`] hands the object to the source, [`Holder::look`] tells whether a
//! node holds it.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use compotastic_bundle::{Geometry, PieceSource, Slots};
use compotastic_mesh::{
    packet::NodeNum,
    router::{Relaying, Role},
    time::Instant,
};
use compotastic_model::BaseEncoder;
use compotastic_node::AgentEvent;
use compotastic_sim::{
    hosted::{HostedNode, RadioHabits},
    swarm::{Bundle, Flash, Kit, Node, NodeFlash, Post},
};
use sha2::{Digest, Sha256};

use super::{
    harness::{self, Outcome, Spec, WARM_UP},
    peer::number,
    topology::{PRESET, REGION},
};

/// The base encoder that the field nodes hold.
static BASE: &[u8] = include_bytes!("../../../edge/assets/encoders/base-v1.bin");
/// Version of the object that is published; nodes begin with none.
const VERSION: u16 = 1;

/// Keys of a swarm, and the object that its source publishes.
pub struct Ours {
    kit: Kit,
    bundle: Bundle,
    digest: [u8; 32],
}

/// What is known of one node: its flash, and whether all of the object was in it, its hash verified, when the node said so.
pub struct Holder {
    flash: NodeFlash,
    complete: bool,
}

fn base() -> Result<BaseEncoder<'static>> {
    static PARSED: OnceLock<Option<BaseEncoder<'static>>> = OnceLock::new();
    PARSED.get_or_init(|| BaseEncoder::parse(BASE).ok()).context("the base encoder cannot be read")
}

impl Ours {
    /// A swarm with an object of so many bytes.
    pub fn new(bytes: usize, seed: u64) -> Result<Self> {
        let kit = Kit::new(PRESET, REGION, Some(base()?), seed);
        let bundle = kit.bundles().context("a kit with a base encoder makes bundles")?.bundle(VERSION);
        let length = bundle.content.len();
        ensure!(length == bytes, "compotastic spreads objects of {length} bytes so far: --bytes {length}");
        let digest = bundle.digest();
        Ok(Self { kit, bundle, digest })
    }

    /// A node on blank flash that is switched on at the start; node 0 is the source.
    pub fn boot(&self, node: usize, num: NodeNum, hosted: bool) -> Result<(Node, Holder)> {
        let post =
            Post { num, role: Role::Client, relaying: Relaying::default(), edge: node == 0, base: true };
        let flash = NodeFlash::default();
        let host = if hosted {
            let habits = RadioHabits::default();
            let station = self.kit.boot_host(&post, &flash, Instant::ZERO, 0, habits);
            let radio = self.kit.radio(&post, habits, Instant::ZERO);
            station.map(|station| Node::Hosted(Box::new(HostedNode::new(radio, station))))
        } else {
            self.kit.boot(&post, &flash, Instant::ZERO, 0)
        };
        Ok((host.context("blank flash does not boot")?, Holder { flash, complete: false }))
    }

    /// Hands the object to the source.
    pub fn publish(&self, host: &mut Node, now: Instant) -> Result<()> {
        let Bundle { delegation, manifest, content, .. } = &self.bundle;
        let published = host.agent().publish(now, delegation, manifest, content);
        host.settle(now);
        published.map(drop).map_err(|refusal| anyhow!("the source refuses its own object: {refusal:?}"))
    }
}

impl Holder {
    /// Reads what a node has to tell; whether it holds the object.
    pub fn look(&mut self, host: &mut Node, ours: &Ours) -> bool {
        let mut told = false;
        while let Some(event) = host.agent().poll_event() {
            told |= matches!(event, AgentEvent::ModelActivated { .. });
        }
        if told {
            self.complete = flash_digest(&self.flash) == Some(ours.digest);
        }
        self.complete
    }
}

/// SHA-256 over what is installed in a copy of a node's flash.
fn flash_digest(flash: &NodeFlash) -> Option<[u8; 32]> {
    let copy = NodeFlash::default();
    let bytes = flash.slots.to_vec();
    copy.slots.damage(|blank| blank.copy_from_slice(&bytes));
    let geometry = Geometry::packed::<Flash>(0, 4096, 176, 2)?;
    let mut slots = Slots::open(copy.slots, geometry).ok()?;
    let size = slots.active()?.manifest.size;
    let mut content = vec![0; size as usize];
    slots.source()?.read(0, &mut content).ok()?;
    Some(Sha256::digest(&content).into())
}

/// Runs it, natively or each node behind a stock radio.
pub fn run(spec: &Spec<'_>, hosted: bool) -> Result<Outcome> {
    let ours = Ours::new(spec.bytes, spec.seed)?;
    let mut world = harness::world(spec);
    let mut holders = Vec::new();
    for (node, position) in spec.topology.positions.iter().enumerate() {
        let (host, holder) = ours.boot(node, number(node), hosted)?;
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
        let kit = Kit::new(PRESET, REGION, Some(base().unwrap()), 1);
        let bytes = kit.bundles().unwrap().bundle(VERSION).content.len();
        let reference = harness::reference(bytes, cds::exact(&topology.graph).unwrap(), 0.1);
        let spec = Spec { topology: &topology, loss: 0.1, bytes, reference, seed: 3 };
        for hosted in [false, true] {
            let outcome = run(&spec, hosted).unwrap();
            assert_eq!(outcome.completed_nodes, 10, "{outcome:?}");
            assert!(outcome.transmissions as f64 > reference / 2.0);
        }
    }
}
