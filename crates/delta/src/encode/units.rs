//! From images to a patch of one method.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::marker::PhantomData;

use super::crc;
use super::plan::{Costs, Segment, mask, plan, resolve, votes};
use crate::engine::{Engine, Place, View, Want};
use crate::header::{Header, Method};
use crate::range::encode::{Meter, RangeEncoder};
use crate::range::{Bits, Known};
use crate::thumb::{far_displacement, is_far};

struct Images<'a> {
    /// The old image from each of its bytes on.
    bytes: &'a [u8],
    unit: usize,
    old: &'a [u16],
    new: &'a [u16],
}

impl View for Images<'_> {
    type Error = Infallible;

    fn old_unit(&mut self, at: u32) -> Result<u16, Infallible> {
        let byte = |at: usize| u16::from(self.bytes.get(at).copied().unwrap_or(0));
        let at = at as usize;
        Ok(byte(at) | if self.unit == 2 { byte(at + 1) << 8 } else { 0 })
    }

    fn new_unit(&mut self, at: u32) -> Result<u16, Infallible> {
        Ok(self.new.get(at as usize).copied().unwrap_or(0))
    }
}

fn units(bytes: &[u8], method: Method) -> Vec<u16> {
    match method {
        Method::Thumb => bytes
            .chunks(2)
            .map(|pair| u16::from(pair[0]) | u16::from(*pair.get(1).unwrap_or(&0)) << 8)
            .collect(),
        _ => bytes.iter().map(|byte| u16::from(*byte)).collect(),
    }
}

fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn two(units: &[u16], at: u32) -> [u16; 2] {
    [units.get(at as usize).copied().unwrap_or(0), units.get(at as usize + 1).copied().unwrap_or(0)]
}

/// Calls per kilobyte that make an image look like code.
const CALLS: usize = 4;

/// Whether an image looks like Thumb code: enough calls, and most of them to places within.
pub(crate) fn looks_like_thumb(image: &[u8]) -> bool {
    let halves = units(image, Method::Thumb);
    let calls = targets(&halves).filter(|target| *target < halves.len() as u32).count();
    calls > 16 && calls > CALLS * image.len() / 1024
}

fn targets(halves: &[u16]) -> impl Iterator<Item = u32> {
    halves
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| is_far(pair[0], pair[1]))
        .map(|(at, pair)| (at as u32 + 2).wrapping_add(far_displacement(pair[0], pair[1]) as u32))
}

/// The address at which most pointers of the image point at what is called within it.
fn load_address(halves: &[u16]) -> u32 {
    let mut called: Vec<u32> = targets(halves).collect();
    called.sort_unstable();
    called.dedup();
    let words = halves.chunks_exact(2).map(|pair| u32::from(pair[1]) << 16 | u32::from(pair[0]));
    let mut votes: Vec<u32> = Vec::new();
    for word in words.filter(|word| word & 1 == 1 && word >> 28 == 0) {
        for target in &called {
            let base = (word & !1).wrapping_sub(target.wrapping_mul(2));
            if base & 0xff == 0 && base < 0x1000_0000 {
                votes.push(base);
            }
        }
    }
    votes.sort_unstable();
    let most = votes.chunk_by(|a, b| a == b).max_by_key(|same| same.len());
    most.map_or(0, |same| same[0])
}

/// The model after the map and the training.
fn prepared(
    header: &Header,
    old: &[u16],
    map: &[(u32, u32)],
    bits: &mut impl Bits<Error = Infallible>,
) -> Engine {
    let mut engine = Engine::new();
    engine.reset(header.method, header.old_len, header.base);
    for wanted in map {
        let (from, to) = sure(engine.map_entry(bits, *wanted));
        engine.add_entry(from, to);
    }
    let per_block = 64 / header.method.unit();
    engine.at = header.prime.0 * per_block;
    let end = ((header.prime.0 + header.prime.1) * per_block).min(old.len() as u32);
    while engine.at < end {
        let halves = two(old, engine.at);
        sure(engine.train(&mut Known(PhantomData), halves));
    }
    engine.begin();
    engine
}

/// Walks over the new image as the plan says.
fn walk(
    engine: &mut Engine,
    images: &mut Images,
    segments: &[Segment],
    mut unit: impl FnMut(&mut Engine, &mut Images, &Want),
) {
    let mut next = 0;
    while (engine.at as usize) < images.new.len() {
        while segments.get(next).is_some_and(|s| s.new + s.len <= engine.at) {
            next += 1;
        }
        let copy = segments.get(next).filter(|s| s.new <= engine.at).map(|s| {
            let by = engine.at - s.new;
            match s.from {
                Place::Old(at) => Place::Old(at + by * images.unit as u32),
                Place::New(at) => Place::New(at + by),
            }
        });
        let want = Want { halves: two(images.new, engine.at), copy };
        unit(engine, images, &want);
    }
}

/// What each unit costs as a literal, in 1/16 bit.
fn literal_costs(header: &Header, images: &mut Images) -> Vec<u32> {
    let mut costs = vec![0_u32; images.new.len()];
    let mut engine = prepared(header, images.old, &[], &mut Meter::default());
    walk(&mut engine, images, &[], |engine, images, want| {
        let at = engine.at as usize;
        let mut meter = Meter::default();
        let unit = sure(engine.unit(&mut meter, images, want));
        let len = usize::from(unit.len);
        let end = (at + len).min(costs.len());
        costs[at..end].fill((meter.cost / 256) as u32 / len as u32);
    });
    costs
}

/// Entries of the map: the segments of at least `least` units, and shorter ones that hold what is pointed at and would be
/// looked for in a wrong place without them.
fn block_map(segments: &[Segment], least: u32, pairs: &BTreeMap<u32, u32>) -> Vec<(u32, u32)> {
    let from_old = |s: &Segment| match s.from {
        Place::Old(at) => Some((at, s.new)),
        Place::New(_) => None,
    };
    let mut sure: Vec<(u32, u32)> = segments.iter().filter(|s| s.len >= least).filter_map(from_old).collect();
    let map = sure.clone();
    sure.sort_unstable();
    let found = |target: u32| {
        let at = sure.partition_point(|(old, _)| *old <= target);
        at.checked_sub(1).map(|at| target - sure[at].0 + sure[at].1 * 2)
    };
    let useful = |s: &&Segment| match s.from {
        Place::Old(at) if s.len < least => pairs
            .range(at..at + s.len * 2)
            .any(|(old, new)| *new == s.new * 2 + (old - at) && found(*old) != Some(*new)),
        _ => false,
    };
    let mut all: Vec<(u32, u32)> =
        map.into_iter().chain(segments.iter().filter(useful).filter_map(from_old)).collect();
    all.sort_by_key(|(_, new)| *new);
    all
}

/// The segments to copy, given what literals cost. Thumb code is aligned with its operands masked out first, then with them
/// moved as most copies move them.
fn segments(header: &Header, images: &Images, costs: &Costs) -> Vec<Segment> {
    let (old, new) = (images.old, images.new);
    if header.method != Method::Thumb {
        let plain = |units: &[u16]| -> Vec<u32> { units.iter().map(|unit| u32::from(*unit)).collect() };
        return plan(&plain(old), &plain(new), &[], None, costs);
    }
    let pair = |pair: &[u8]| u32::from(pair[0]) | u32::from(pair[1]) << 8;
    let odd: Vec<u32> = images.bytes.get(1..).unwrap_or(&[]).chunks_exact(2).map(pair).collect();
    let (from, to) = (mask(old, header.base), mask(new, header.base));
    let mut segments = plan(&from, &to, &odd, None, costs);
    for _ in 0..2 {
        let votes = votes(old, new, header.base, &segments);
        let long = segments.iter().filter(|s| s.len >= LONG);
        let mut blocks: Vec<(u32, u32)> = long
            .filter_map(|s| match s.from {
                Place::Old(at) => Some((at, s.new * 2)),
                Place::New(_) => None,
            })
            .collect();
        blocks.sort_unstable();
        let moved = |target: u32| {
            votes.get(&target).copied().unwrap_or_else(|| {
                let at = blocks.partition_point(|(old, _)| *old <= target);
                at.checked_sub(1).map_or(target, |at| target - blocks[at].0 + blocks[at].1)
            })
        };
        let exact = (resolve(old, header.base, moved), resolve(new, header.base, |target| target));
        segments = plan(&from, &to, &odd, Some((&exact.0, &exact.1)), costs);
    }
    segments
}

/// Segments of so many halfwords say where what lies around them has gone.
const LONG: u32 = 24;

/// The patch with this head, map and plan.
fn attempt(header: &mut Header, images: &mut Images, map: &[(u32, u32)], segments: &[Segment]) -> Vec<u8> {
    header.entries = map.len() as u32;
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    let mut bits = RangeEncoder::new();
    let mut engine = prepared(header, images.old, map, &mut bits);
    walk(&mut engine, images, segments, |engine, images, want| {
        sure(engine.unit(&mut bits, images, want));
    });
    bytes.extend(bits.finish());
    bytes
}

/// What plans are made from: no one choice is best for all images.
struct Variant {
    /// Part of the old image to train on, in eighths: start, length.
    prime: (u32, u32),
    /// Costs of a hit, a miss, an end, a copy nearby and one from afar, in 1/16 bit.
    costs: [u32; 5],
}

const VARIANTS: [Variant; 5] = [
    Variant { prime: (2, 2), costs: [3, 80, 96, 144, 384] },
    Variant { prime: (2, 2), costs: [4, 100, 96, 176, 352] },
    Variant { prime: (2, 2), costs: [2, 64, 80, 128, 320] },
    Variant { prime: (0, 6), costs: [3, 80, 96, 144, 384] },
    Variant { prime: (0, 6), costs: [4, 100, 96, 176, 352] },
];

/// The best so far.
struct Best {
    bytes: Vec<u8>,
    score: usize,
    map: Vec<(u32, u32)>,
    segments: Vec<Segment>,
}

impl Best {
    /// Training costs the device time: 4 KiB of it must save a byte.
    fn consider(
        &mut self,
        header: &mut Header,
        images: &mut Images,
        map: Vec<(u32, u32)>,
        segments: &[Segment],
    ) {
        if map.len() > Engine::MAX_ENTRIES as usize {
            return;
        }
        let bytes = attempt(header, images, &map, segments);
        let score = bytes.len() + header.prime.1 as usize / 64;
        if score < self.score {
            *self = Self { bytes, score, map, segments: segments.to_vec() };
        }
    }
}

/// The patch of `method`.
pub(crate) fn encode(old: &[u8], new: &[u8], method: Method) -> Vec<u8> {
    let mut header = Header {
        method,
        old_len: old.len() as u32,
        old_crc: crc(old),
        new_len: new.len() as u32,
        new_crc: crc(new),
        base: 0,
        entries: 0,
        prime: (0, 0),
    };
    if method == Method::Stored {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend(new);
        return bytes;
    }
    let bytes = old;
    let (old, new) = (units(old, method), units(new, method));
    let unit = method.unit() as usize;
    let mut images = Images { bytes, unit, old: &old, new: &new };
    let mut best = Best { bytes: Vec::new(), score: usize::MAX, map: Vec::new(), segments: Vec::new() };
    if !matches!(method, Method::Thumb | Method::Bytes) {
        best.consider(&mut header, &mut images, Vec::new(), &[]);
        return best.bytes;
    }
    if method == Method::Thumb {
        header.base = load_address(&old);
    }
    let blocks = header.old_len.div_ceil(64);
    let mut literal = Vec::new();
    // Bytes have no map that a better plan would serve.
    let variants = if method == Method::Thumb { VARIANTS.len() } else { 1 };
    for variant in &VARIANTS[..variants] {
        let prime = (blocks * variant.prime.0 / 8, blocks * variant.prime.1 / 8);
        if literal.is_empty() || prime != header.prime {
            header.prime = prime;
            literal = literal_costs(&header, &mut images);
        }
        let [hit, miss, end, near, far] = variant.costs;
        let segments = segments(&header, &images, &Costs { literal: &literal, hit, miss, end, near, far });
        best.consider(&mut header, &mut images, Vec::new(), &segments);
        if method == Method::Thumb {
            let pairs = votes(&old, &new, header.base, &segments);
            for least in [6, 12, 24, 48] {
                best.consider(&mut header, &mut images, block_map(&segments, least, &pairs), &segments);
            }
        }
    }
    let (map, segments) = (best.map.clone(), best.segments.clone());
    for (start, len) in [(0, 0), (3, 1), (0, 4), (0, 6), (0, 8)] {
        header.prime = (blocks * start / 8, blocks * len / 8);
        best.consider(&mut header, &mut images, map.clone(), &segments);
    }
    best.bytes
}
