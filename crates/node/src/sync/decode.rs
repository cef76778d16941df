//! What a digest alone tells of a difference.
//!
//! The digest is a sum, so the difference of two is the sum of what differs. A node knows what its latest changes added. So it tries what
//! is likely: that the other lacks a run of them, the very latest or some before; or these members at all; or any of the last dozen changes. About 2^14 sums are compared with
//! 64 bits, so a wrong finding comes once in 2^50, and does no more than send a record that nobody needs.

use heapless::Vec;

use super::table::{MEMBERS, Table};

/// Of so many latest changes any selection is tried: 4,096 additions.
const SELECT: usize = 12;

/// The changes among `order` (indices, latest first) that explain `delta`, another's digest less ours, if it lacks them. `None` where
/// nothing likely does.
pub(crate) fn explain(table: &Table, order: &[u8], delta: u64) -> Option<Vec<u8, MEMBERS>> {
    let revert = |index: u8| table.members()[usize::from(index)].revert();
    if delta == 0 {
        return Some(Vec::new());
    }
    let absent = |index: u8| table.members()[usize::from(index)].term.wrapping_neg();
    if let Some(run) = find_run(order, delta, revert).or_else(|| find_run(order, delta, absent)) {
        return Some(run.iter().copied().collect());
    }
    // Any of the latest, in Gray code order: each differs from the one before by one change.
    let latest = &order[..order.len().min(SELECT)];
    let mut sum = 0u64;
    for count in 1u32..1 << latest.len() {
        let flipped = count.trailing_zeros() as usize;
        let gray = count ^ count >> 1;
        let change = revert(latest[flipped]);
        sum = if gray >> flipped & 1 == 1 { sum.wrapping_add(change) } else { sum.wrapping_sub(change) };
        if sum == delta {
            let chosen = latest.iter().enumerate().filter(|(bit, _)| gray >> bit & 1 == 1);
            return Some(chosen.map(|(_, index)| *index).collect());
        }
    }
    None
}

/// Consecutive members that explain `delta` if each has such a change, the latest first.
fn find_run(order: &[u8], delta: u64, change: impl Fn(u8) -> u64) -> Option<&[u8]> {
    let mut sums: Vec<u64, { MEMBERS + 1 }> = Vec::new();
    let mut sum = 0u64;
    let _ = sums.push(sum);
    for index in order {
        sum = sum.wrapping_add(change(*index));
        let _ = sums.push(sum);
    }
    (0..sums.len()).find_map(|start| {
        let wanted = sums[start].wrapping_add(delta);
        let length = sums[start + 1..].iter().position(|sum| *sum == wanted)?;
        Some(&order[start..=start + length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for node in 0..100u32 {
            table.store(1000 + node * 3, 7, &[1; 8]);
        }
        table
    }

    fn found(ours: &Table, theirs: &Table) -> Option<Vec<u8, MEMBERS>> {
        let delta = theirs.digest().wrapping_sub(ours.digest());
        let mut lacks = explain(ours, &ours.by_recency(), delta)?;
        lacks.sort_unstable();
        Some(lacks)
    }

    #[test]
    fn a_run_of_changes_of_any_length_is_found() {
        for changes in [1u32, 5, 20, 50, 100] {
            let old = table();
            let mut new = table();
            for node in 0..changes {
                new.store(1000 + node * 3, 8, &[]);
            }
            assert_eq!(found(&new, &old).unwrap().len(), changes as usize);
            assert_eq!(found(&old, &new), None, "of what others changed nothing is known");
            // Not the very latest.
            for node in 0..3 {
                new.store(1000 + (99 - node) * 3, 9, &[1]);
            }
            let mut other = old.clone();
            for node in 0..3 {
                other.store(1000 + (99 - node) * 3, 9, &[1]);
            }
            if changes < 100 {
                assert_eq!(found(&new, &other).unwrap().len(), changes as usize);
            }
        }
    }

    #[test]
    fn any_of_the_latest_are_found() {
        let (mut ours, mut theirs) = (table(), table());
        for node in 0..10u32 {
            ours.store(1000 + node * 3, 8, &[]);
            if node % 3 == 0 {
                theirs.store(1000 + node * 3, 8, &[]);
            }
        }
        assert_eq!(found(&ours, &theirs).unwrap().as_slice(), [1, 2, 4, 5, 7, 8]);
        theirs.store(1090, 8, &[]);
        assert_eq!(found(&ours, &theirs), None);
    }

    #[test]
    fn nothing_is_made_up() {
        let ours = table();
        for seed in 0..50u64 {
            let order = ours.by_recency();
            assert_eq!(explain(&ours, &order, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), None);
        }
    }
}
