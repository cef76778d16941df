//! The peers. All use the same timers, the same suppression, and pass news on in the same way; they differ in what is sent where two nodes are
//! found not to be equal. Peers compare 8-byte hashes as we do, and get what helps them: PinSketch is told how much differs,
//! the vector needs no hash beside it, negentropy's partner is one that does differ.

use compotastic_wire::{
    Frame, MAC_LEN, MAX_PAYLOAD, SyncForm, SyncItem, SyncItemWriter, SyncList, SyncRecords,
};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde::Serialize;

use super::{
    pinsketch,
    world::{World, number},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The state machine as it is.
    Compotastic,
    /// 4 bytes for the members, 1 for the version of each.
    FlatVector,
    /// 4 bytes for each of as many differences as there are.
    Pinsketch,
    /// Range-based reconciliation between two neighbours.
    Negentropy,
    /// All records.
    FullRecords,
}

impl Method {
    /// All methods, ours first.
    pub const ALL: [Self; 5] =
        [Self::Compotastic, Self::FlatVector, Self::Pinsketch, Self::Negentropy, Self::FullRecords];

    /// As in the rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compotastic => "compotastic",
            Self::FlatVector => "flat_vector",
            Self::Pinsketch => "pinsketch",
            Self::Negentropy => "negentropy",
            Self::FullRecords => "full_records",
        }
    }
}

/// Longest body of a packet.
const BODY: usize = MAX_PAYLOAD - 2 - MAC_LEN;

/// A node says something; where it is a list, the method says it in its own way.
pub fn say(world: &mut World, method: Method, node: usize, frame: &Frame<'_>) {
    match (method, frame) {
        // Who knows where it is behind asks for that.
        (Method::FlatVector | Method::Pinsketch | Method::FullRecords, Frame::SyncList(list))
            if list.form == SyncForm::Indexed =>
        {
            let airtime = world.count(4 + list.entries.len(), 0);
            world.deliver(node, airtime, frame);
        }
        (Method::FlatVector, Frame::SyncList(list)) => {
            let airtime = world.count(4 + list.entries.len(), 0);
            world.deliver(node, airtime, frame);
        }
        (Method::Pinsketch, Frame::SyncList(list)) => say_sketch(world, node, list),
        (Method::Negentropy, Frame::SyncList(_)) => say_ranges(world, node),
        (Method::FullRecords, Frame::SyncList(_)) => say_all(world, node),
        _ => world.send(node, frame),
    }
}

/// What a node knows, as numbers other than 0: a member's place, and its version.
fn elements(world: &World, node: usize) -> Vec<u32> {
    let members = world.nodes[node].members().enumerate();
    members.map(|(index, (_, version, _))| (index as u32 + 1) << 8 | u32::from(version)).collect()
}

fn say_sketch(world: &mut World, node: usize, list: &SyncList<'_>) {
    let ours = elements(world, node);
    // The largest difference to a neighbour, as if somebody had told.
    let others: Vec<Vec<u32>> = world.field.links[node].iter().map(|other| elements(world, *other)).collect();
    let differ = |theirs: &[u32]| 2 * ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
    let capacity = others.iter().map(|theirs| differ(theirs)).max().unwrap_or(0).max(1);
    let sent = pinsketch::sketch(ours.iter().copied(), capacity);
    let readable = others.iter().all(|theirs| {
        let candidates: Vec<u32> = theirs
            .iter()
            .flat_map(|element| {
                (0..=16u8).map(move |step| {
                    element & !255 | u32::from((*element as u8).wrapping_add(step).wrapping_sub(8))
                })
            })
            .collect();
        pinsketch::difference(&sent, &pinsketch::sketch(theirs.iter().copied(), capacity), &candidates)
            .is_some()
    });
    debug_assert!(readable, "a sketch of the right size is always read");
    let mut left = 4 * capacity;
    let mut airtime = compotastic_mesh::time::Duration::ZERO;
    while left > 0 {
        airtime = world.count(left.min(BODY), 0);
        left -= left.min(BODY);
    }
    // Who reads it knows the sender's versions: that is what the vector says.
    world.deliver(node, airtime, &Frame::SyncList(*list));
}

fn storage(world: &World, node: usize) -> Option<NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::new();
    for (member, version, _) in world.nodes[node].members() {
        let mut id = [0; 32];
        let mut state = u64::from(member) << 8 | u64::from(version);
        for chunk in id.chunks_exact_mut(8) {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            chunk.copy_from_slice(&(state ^ state >> 29).to_le_bytes());
        }
        storage.insert(u64::from(member), Id::from_byte_array(id)).ok()?;
    }
    storage.seal().ok()?;
    Some(storage)
}

/// A packet to one neighbour, until it has arrived.
fn unicast(world: &mut World, from: usize, to: usize, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        world.count(left.min(BODY), 0);
        // A neighbour that is cut off is not asked.
        if world.arrives(from, to) {
            left -= left.min(BODY);
        }
    }
}

fn say_ranges(world: &mut World, node: usize) {
    let differs = |world: &World, other: usize| {
        let cut = world.apart && world.field.west[node] != world.field.west[other];
        !cut && world.nodes[other].digest() != world.nodes[node].digest()
    };
    let Some(other) = world.field.links[node].iter().copied().find(|other| differs(world, *other)) else {
        return;
    };
    let (Some(ours), Some(theirs)) = (storage(world, node), storage(world, other)) else { return };
    let (Ok(mut here), Ok(mut there)) = (Negentropy::borrowed(&ours, 0), Negentropy::borrowed(&theirs, 0))
    else {
        return;
    };
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut message = here.initiate().ok();
    while let Some(query) = message.take() {
        unicast(world, node, other, query.len());
        let Ok(answer) = there.reconcile(&query) else { break };
        unicast(world, other, node, answer.len());
        message = here.reconcile_with_ids(&answer, &mut have, &mut need).ok().flatten();
    }
    // Both now know what each lacks: the one by the ids, the other by being asked, 4 bytes each.
    unicast(world, node, other, 4 * need.len());
    for (knows, of) in [(node, other), (other, node)] {
        let versions: Vec<u8> = world.nodes[of].members().map(|(_, version, _)| version).collect();
        hand_vector(world, knows, of, &versions);
    }
}

/// One node learns the versions of another by other means than a frame.
fn hand_vector(world: &mut World, to: usize, of: usize, versions: &[u8]) {
    let Some((digest, membership)) = world.nodes.get(of).map(|node| (node.digest(), node.membership()))
    else {
        return;
    };
    let list = SyncList {
        digest,
        membership,
        members: versions.len() as u8,
        form: SyncForm::Vector,
        entries: versions,
    };
    let now = world.now;
    world.nodes[to].handle(now, number(of), &Frame::SyncList(list));
}

fn say_all(world: &mut World, node: usize) {
    let digest = world.nodes[node].digest();
    let records: Vec<(u32, u8, Vec<u8>)> = world.nodes[node]
        .members()
        .filter_map(|(member, version, bytes)| Some((member, version, bytes?.to_vec())))
        .collect();
    let mut rest = &records[..];
    while !rest.is_empty() {
        let mut buffer = [0; MAX_PAYLOAD];
        let mut writer = SyncItemWriter::new(&mut buffer);
        let mut count = 0;
        for (node, version, bytes) in rest {
            if writer.push(&SyncItem { node: *node, version: *version, bytes }).is_err() {
                break;
            }
            count += 1;
        }
        rest = &rest[count..];
        world.send(node, &Frame::SyncRecords(SyncRecords::from_items(digest, writer.finish())));
    }
}
