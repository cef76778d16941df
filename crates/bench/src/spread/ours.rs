//! Our own method: the swarm as devices run it. Node 0 publishes a signed bundle, the others take it by themselves.
//!
//! The seam to the dissemination is here: [`publish`] hands the object to the source, [`is_complete`] tells whether a node
//! holds it.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use compotastic_bundle::{Geometry, PieceSource, Slots};
use compotastic_mesh::{
    router::{Relaying, Role},
    time::Instant,
};
use compotastic_model::BaseEncoder;
use compotastic_node::AgentEvent;
use compotastic_sim::{
    NodeId, World,
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

/// A swarm in the world of a run.
struct Swarm {
    world: World<Node>,
    flash: Vec<NodeFlash>,
    /// Which nodes told that they are complete, and whether the hash over their flash was right then.
    complete: Vec<bool>,
    bundle: Bundle,
}

/// Runs it, natively or each node behind a stock radio.
pub fn run(spec: &Spec<'_>, hosted: bool) -> Result<Outcome> {
    let mut swarm = commission(spec, hosted)?;
    let begin_at = Instant::ZERO + WARM_UP;
    swarm.world.run_until(begin_at, |world, node| drain(world, node, &mut |_| {}));
    publish(&mut swarm)?;
    let Swarm { world, flash, complete, bundle } = &mut swarm;
    let digest = bundle.digest();
    Ok(harness::finish(spec, world, false, |world, node| {
        is_complete(world, node, &flash[node], &mut complete[node], &digest)
    }))
}

fn base() -> Result<BaseEncoder<'static>> {
    static PARSED: OnceLock<Option<BaseEncoder<'static>>> = OnceLock::new();
    PARSED.get_or_init(|| BaseEncoder::parse(BASE).ok()).context("the base encoder cannot be read")
}

fn commission(spec: &Spec<'_>, hosted: bool) -> Result<Swarm> {
    let kit = Kit::new(PRESET, REGION, Some(base()?), spec.seed);
    let bundle = kit.bundles().context("a kit with a base encoder makes bundles")?.bundle(VERSION);
    ensure!(
        bundle.content.len() == spec.bytes,
        "compotastic spreads objects of {} bytes so far: --bytes {}",
        bundle.content.len(),
        bundle.content.len()
    );
    let mut world = harness::world(spec);
    let mut flash = Vec::new();
    for (node, position) in spec.topology.positions.iter().enumerate() {
        let post = Post {
            num: number(node),
            role: Role::Client,
            relaying: Relaying::default(),
            edge: node == 0,
            base: true,
        };
        let own = NodeFlash::default();
        let host = if hosted {
            let habits = RadioHabits::default();
            let station = kit.boot_host(&post, &own, Instant::ZERO, 0, habits);
            let radio = kit.radio(&post, habits, Instant::ZERO);
            station.map(|station| Node::Hosted(Box::new(HostedNode::new(radio, station))))
        } else {
            kit.boot(&post, &own, Instant::ZERO, 0)
        };
        world.add(host.context("blank flash does not boot")?, *position);
        flash.push(own);
    }
    Ok(Swarm { world, flash, complete: vec![false; spec.topology.len()], bundle })
}

/// Hands the object to the source.
fn publish(swarm: &mut Swarm) -> Result<()> {
    let bundle = &swarm.bundle;
    let published = swarm.world.with_host(0, |host, now| {
        let published = host.agent().publish(now, &bundle.delegation, &bundle.manifest, &bundle.content);
        host.settle(now);
        published
    });
    published.map(drop).map_err(|refusal| anyhow!("the source refuses its own object: {refusal:?}"))
}

/// Reads what a node has to tell.
fn drain(world: &mut World<Node>, node: NodeId, tell: &mut impl FnMut(&AgentEvent)) {
    world.with_host(node, |host, _| {
        while let Some(event) = host.agent().poll_event() {
            tell(&event);
        }
    });
}

/// Whether a node holds the object: it has told so, and the hash over its flash is right.
fn is_complete(
    world: &mut World<Node>,
    node: NodeId,
    flash: &NodeFlash,
    complete: &mut bool,
    digest: &[u8; 32],
) -> bool {
    let mut told = false;
    drain(world, node, &mut |event| told |= matches!(event, AgentEvent::ModelActivated { .. }));
    if told {
        *complete = flash_digest(flash).as_ref() == Some(digest);
    }
    *complete
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
