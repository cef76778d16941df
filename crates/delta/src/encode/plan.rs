//! Which parts of the new image to copy from where: the cheapest way through, found with a beam of places to copy from.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::engine::Place;
use crate::thumb::{far_displacement, is_far};

/// A part of the new image, in units, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) new: u32,
    pub(crate) len: u32,
    pub(crate) from: Place,
}

/// Halfwords with the parts that move masked out, so that code that only moved looks the same.
pub(crate) fn mask(halves: &[u16], base: u32) -> Vec<u32> {
    let mut masked: Vec<u32> = halves.iter().map(|half| u32::from(*half)).collect();
    let mut i = 0;
    while i + 1 < halves.len() {
        if is_far(halves[i], halves[i + 1]) {
            masked[i] = 0x1_0000;
            masked[i + 1] = 0x1_0001 + u32::from(halves[i + 1] >> 14 & 1);
            i += 2;
            continue;
        }
        let word = u32::from(halves[i + 1]) << 16 | u32::from(halves[i]);
        if i & 1 == 0 && word.wrapping_sub(base) < 2 * halves.len() as u32 {
            masked[i] = 0x1_0003;
            masked[i + 1] = 0x1_0004;
            i += 2;
            continue;
        }
        if i & 1 == 0 && word.wrapping_sub(0x2000_0000) < 0x8_0000 {
            masked[i] = 0x1_0005;
        }
        i += 1;
    }
    masked
}

/// Like [`mask`], but what is masked out keeps where it points in the new image; `moved` says that for the old one.
pub(crate) fn resolve(halves: &[u16], base: u32, moved: impl Fn(u32) -> u32) -> Vec<u32> {
    let mut masked = mask(halves, base);
    let mut i = 0;
    while i + 1 < halves.len() {
        if masked[i] == 0x1_0000 {
            let target = (i as u32 + 2).wrapping_add(far_displacement(halves[i], halves[i + 1]) as u32);
            masked[i + 1] = 0x4000_0000 | (moved(target << 1) & 0x1ff_ffff) << 1 | masked[i + 1] & 1;
            i += 2;
        } else if masked[i] == 0x1_0003 {
            let word = u32::from(halves[i + 1]) << 16 | u32::from(halves[i]);
            let offset = word.wrapping_sub(base);
            masked[i + 1] = 0x8000_0000 | (moved(offset) & 0x1ff_ffff) << 1;
            i += 2;
        } else {
            i += 1;
        }
    }
    masked
}

/// Where what the old image points at is in the new one, after the segments of a first plan.
pub(crate) fn votes(old: &[u16], new: &[u16], base: u32, segments: &[Segment]) -> BTreeMap<u32, u32> {
    let mut all: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    let (from, to) = (resolve(old, base, |target| target), resolve(new, base, |target| target));
    for segment in segments {
        let Place::Old(start) = segment.from else { continue };
        if start & 1 == 1 {
            continue;
        }
        let weight = segment.len.min(64);
        for i in 0..segment.len as usize {
            let (Some(a), Some(b)) = (from.get(start as usize / 2 + i), to.get(segment.new as usize + i))
            else {
                break;
            };
            if a >> 30 != 0 && a >> 30 == b >> 30 {
                let place = all.entry((a >> 1) & 0x1ff_ffff).or_default();
                *place.entry((b >> 1) & 0x1ff_ffff).or_default() += weight;
            }
        }
    }
    all.into_iter()
        .filter_map(|(old, votes)| Some((old, votes.into_iter().max_by_key(|(_, count)| *count)?.0)))
        .collect()
}

/// What things cost, in 1/16 bit.
pub(crate) struct Costs<'a> {
    /// Of each halfword of the new image as a literal.
    pub(crate) literal: &'a [u32],
    pub(crate) hit: u32,
    pub(crate) miss: u32,
    pub(crate) end: u32,
    pub(crate) near: u32,
    pub(crate) far: u32,
}

#[derive(Clone, Copy)]
struct State {
    /// Place copied from at this position; `NONE` for a literal.
    from: u32,
    cost: u32,
    /// State at the position before.
    before: u32,
    /// The difference of the last copy from the old image.
    tail: u32,
}

const NONE: u32 = u32::MAX;
const BEAM: usize = 28;

/// The cheapest segments.
pub(crate) fn plan(
    old: &[u32],
    new: &[u32],
    odd: &[u32],
    exact: Option<(&[u32], &[u32])>,
    costs: &Costs,
) -> Vec<Segment> {
    let (exact_old, exact_new) = exact.unwrap_or((old, new));
    let exact_all: Vec<u32> = exact_old.iter().chain(exact_new).chain(odd).copied().collect();
    let all: Vec<u32> = old.iter().chain(new).chain(odd).copied().collect();
    let base = old.len();
    let gram =
        |at: usize| -> Option<[u32; 3]> { all.get(at..at + 3).map(|part| [part[0], part[1], part[2]]) };
    let mut index: BTreeMap<[u32; 3], Vec<u32>> = BTreeMap::new();
    for at in 0..base.saturating_sub(2) {
        if let Some(key) = gram(at) {
            index.entry(key).or_default().push(at as u32);
        }
    }
    let count = new.len();
    let odd_base = base + count;
    for at in odd_base..(odd_base + odd.len()).saturating_sub(2) {
        if let Some(key) = gram(at) {
            index.entry(key).or_default().push(at as u32);
        }
    }
    let mut levels: Vec<Vec<State>> = Vec::with_capacity(count + 1);
    levels.push(vec![State { from: NONE, cost: 0, before: 0, tail: 0 }]);
    for i in 0..count {
        let here = &levels[i];
        let mut best = 0;
        for (s, state) in here.iter().enumerate() {
            let end = if state.from == NONE { 0 } else { costs.end };
            let best_end = if here[best].from == NONE { 0 } else { costs.end };
            if state.cost + end < here[best].cost + best_end {
                best = s;
            }
        }
        let ended = here[best].cost + if here[best].from == NONE { 0 } else { costs.end };
        let tail = here[best].tail;
        let literal = costs.literal[i];
        let mut next: Vec<State> = Vec::with_capacity(BEAM * 2);
        next.push(State { from: NONE, cost: ended + literal, before: best as u32, tail });
        for (s, state) in here.iter().enumerate() {
            if state.from == NONE {
                continue;
            }
            let from = state.from as usize;
            let limit = if from < base {
                base
            } else if from < odd_base {
                base + i
            } else {
                all.len()
            };
            if from >= limit {
                continue;
            }
            let step = if exact_all[from] == exact_new[i] { costs.hit } else { costs.miss + literal * 7 / 8 };
            next.push(State {
                from: state.from + 1,
                cost: state.cost + step,
                before: s as u32,
                tail: state.tail,
            });
        }
        // New places: those whose next halfwords are the same.
        if let Some(found) = gram(base + i).filter(|_| i + 3 <= count).and_then(|key| index.get(&key)) {
            let mut fresh: Vec<(u32, u32)> = Vec::new();
            let expected = (i as u32).wrapping_sub(tail);
            let near = found.partition_point(|at| *at < expected);
            let scan = found[near.saturating_sub(24)..(near + 24).min(found.len())]
                .iter()
                .chain(found.iter().rev().take(48));
            for &at in scan {
                if here.iter().any(|state| state.from == at) || fresh.iter().any(|(_, known)| *known == at) {
                    continue;
                }
                let mut len = 3;
                while len < 200 && i + len < count && all.get(at as usize + len) == Some(&new[i + len]) {
                    len += 1;
                }
                let good = (0..len).filter(|n| exact_all[at as usize + n] == exact_new[i + n]).count();
                let distance = expected.abs_diff(at);
                let is_near = (at as usize) < base && distance < 256;
                fresh.push((good as u32 + if is_near { 2 } else { 0 }, at));
            }
            fresh.sort_by(|a, b| b.cmp(a));
            fresh.truncate(8);
            for (_, at) in fresh {
                let shift = (i as u32).wrapping_sub(at);
                let from_old = (at as usize) < base;
                let start = if from_old && (shift.wrapping_sub(tail) as i32).unsigned_abs() < 256 {
                    costs.near
                } else {
                    costs.far
                };
                let first = exact_all[at as usize] == exact_new[i];
                let cost = ended + start + if first { costs.hit } else { costs.miss + literal * 7 / 8 };
                next.push(State {
                    from: at + 1,
                    cost,
                    before: best as u32,
                    tail: if from_old { shift } else { tail },
                });
            }
        }
        let literal_state = next[0];
        next[1..].sort_by_key(|state| (state.from, state.cost));
        next.dedup_by_key(|state| state.from);
        next.sort_by_key(|state| state.cost);
        next.truncate(BEAM);
        let least = next[0].cost;
        next.retain(|state| state.cost < least + 16 * 60);
        if !next.iter().any(|state| state.from == NONE) {
            next.push(literal_state);
        }
        levels.push(next);
        if let Some(key) = (i >= 2).then(|| gram(base + i - 2)).flatten() {
            let places = index.entry(key).or_default();
            let at = places.partition_point(|at| (*at as usize) < base + i - 2);
            places.insert(at, (base + i - 2) as u32);
        }
    }
    let mut segments: Vec<(u32, u32, u32)> = Vec::new();
    let last = &levels[count];
    let mut s = (0..last.len()).min_by_key(|s| last[*s].cost).unwrap_or(0);
    for i in (0..count).rev() {
        let state = levels[i + 1][s];
        if state.from != NONE {
            let from = state.from - 1;
            match segments.last_mut() {
                Some(segment) if segment.0 == i as u32 + 1 && segment.2 == from + 1 => {
                    *segment = (i as u32, segment.1 + 1, from);
                }
                _ => segments.push((i as u32, 1, from)),
            }
        }
        s = state.before as usize;
    }
    segments.reverse();
    let unit = if odd.is_empty() { 1 } else { 2 };
    let place = |from: u32| match from as usize {
        at if at < base => Place::Old(from * unit),
        at if at < odd_base => Place::New((at - base) as u32),
        at => Place::Old((at - odd_base) as u32 * 2 + 1),
    };
    segments.into_iter().map(|(new, len, from)| Segment { new, len, from: place(from) }).collect()
}
