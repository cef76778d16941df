//! Thumb images.

use alloc::vec::Vec;
use alloc::vec;
use core::convert::Infallible;
use core::marker::PhantomData;

use super::plan::{Costs, Segment, mask, plan};
use crate::engine::{Engine, Place, View, Want};
use crate::range::encode::{Meter, RangeEncoder};
use crate::range::{Bits, Known};

struct Images<'a> {
    old: &'a [u16],
    new: &'a [u16],
}

impl View for Images<'_> {
    type Error = Infallible;
    fn old(&mut self, half: u32) -> Result<u16, Infallible> {
        Ok(self.old.get(half as usize).copied().unwrap_or(0))
    }
    fn new(&mut self, half: u32) -> Result<u16, Infallible> {
        Ok(self.new.get(half as usize).copied().unwrap_or(0))
    }
}

fn halves(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks(2).map(|pair| u16::from(pair[0]) | u16::from(*pair.get(1).unwrap_or(&0)) << 8).collect()
}

fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn two(images: &[u16], at: u32) -> [u16; 2] {
    [images.get(at as usize).copied().unwrap_or(0), images.get(at as usize + 1).copied().unwrap_or(0)]
}

/// The model after the map and the training.
fn prepared(old: &[u16], base: u32, map: &[(u32, u32)], prime: (u32, u32), bits: &mut impl Bits<Error = Infallible>) -> Engine {
    let mut engine = Engine::new();
    engine.old_halves = old.len() as u32;
    engine.base = base;
    for entry in map {
        let entry = sure(engine.map_entry(bits, *entry));
        assert!(engine.add_entry(entry.0, entry.1));
    }
    engine.at = prime.0;
    let mut known = Known(PhantomData);
    while engine.at < prime.1 {
        sure(engine.train(&mut known, two(old, engine.at)));
    }
    engine.begin();
    engine
}

fn code(
    engine: &mut Engine,
    old: &[u16],
    new: &[u16],
    segments: &[Segment],
    mut bits: impl FnMut(&mut Engine, &mut Images, &Want, u32),
) {
    let mut images = Images { old, new };
    let mut next = 0;
    while (engine.at as usize) < new.len() {
        while next < segments.len() && segments[next].new + segments[next].len <= engine.at {
            next += 1;
        }
        let copy = segments.get(next).filter(|s| s.new <= engine.at && s.new + s.len >= engine.at + 1).map(|s| {
            let from = s.from + (engine.at - s.new);
            if (s.from as usize) < old.len() { Place::Old(from) } else { Place::New(from - old.len() as u32) }
        });
        let at = engine.at;
        bits(engine, &mut images, &Want { halves: two(new, at), copy }, at);
    }
}

/// For measurements while this is built.
pub fn research(old: &[u8], new: &[u8], base: u32) {
    extern crate std;
    use std::println;
    let time = std::time::Instant::now();
    let (old, new) = (halves(old), halves(new));
    let prime = (0, old.len() as u32);
    // Cost of literals.
    let mut literal = vec![0_u32; new.len()];
    let mut engine = prepared(&old, base, &[], prime, &mut Meter::default());
    code(&mut engine, &old, &new, &[], |engine, images, want, at| {
        let mut meter = Meter::default();
        let unit = sure(engine.unit(&mut meter, images, want));
        let cost = (meter.cost / 256) as u32 / u32::from(unit.len);
        for i in 0..u32::from(unit.len) {
            if let Some(place) = literal.get_mut((at + i) as usize) {
                *place = cost;
            }
        }
    });
    println!("all literal: {} bytes  {:?}", literal.iter().map(|c| u64::from(*c)).sum::<u64>() / 128, time.elapsed());
    let costs = Costs { literal: &literal, hit: 3, miss: 16 * 5, end: 16 * 6, near: 16 * 9, far: 16 * 24 };
    let segments = plan(&mask(&old, base), &mask(&new, base), &costs);
    let copied: u32 = segments.iter().map(|s| s.len).sum();
    println!("{} segments, {} of {} halves {:?}", segments.len(), copied, new.len(), time.elapsed());
    for min in [12, 24, 48, 100000] {
        let map: Vec<(u32, u32)> = segments
            .iter()
            .filter(|s| s.len >= min && (s.from as usize) < old.len())
            .map(|s| (s.from, s.new))
            .take(800)
            .collect();
        let mut bits = RangeEncoder::new();
        let mut engine = prepared(&old, base, &map, prime, &mut bits);
        let head = bits.bytes.len();
        code(&mut engine, &old, &new, &segments, |engine, images, want, _| {
            sure(engine.unit(&mut bits, images, want));
        });
        println!("  map>={min}: {} entries {} bytes, total {}  {:?}", map.len(), head, bits.finish().len(), time.elapsed());
    }
}
