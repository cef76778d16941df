//! What a digest alone tells of a difference.
//!
//! The digest is a sum, so the difference of two is the sum of what differs. A node knows what it changed last, and what each member's
//! next version would add. So it tries what is likely: the other lacks a run of the latest changes; or any of the last dozen; or is
//! one version ahead at one member, alone or beside a run that it lacks. About 2^14 sums are compared with 64 bits, so a wrong finding comes
//! once in 2^50, and does no more than send a record that nobody needs.

use heapless::Vec;

use super::table::{MEMBERS, Table, term};

/// Of so many latest changes any selection is tried: 4,096 additions.
const SELECT: usize = 12;

/// What another node has and lacks beside us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Indices of members whose version here it lacks.
    pub(crate) lacks: Vec<u8, MEMBERS>,
    /// The member where it is one version ahead.
    pub(crate) ahead: Option<u8>,
}

/// Explains `delta`, its digest less ours, by changes among `order` (indices, latest first) that it lacks, and one member of all
/// that may be ahead. `None` where nothing likely explains it.
pub(crate) fn explain(table: &Table, order: &[u8], delta: u64) -> Option<Difference> {
    let revert = |index: u8| table.members()[usize::from(index)].revert();
    let lacks = |run: &[u8]| Difference { lacks: run.iter().copied().collect(), ahead: None };
    if delta == 0 {
        return Some(Difference::default());
    }
    // Runs of changes, the latest first.
    let mut sums: Vec<u64, { MEMBERS + 1 }> = Vec::new();
    let mut sum = 0u64;
    let _ = sums.push(sum);
    for index in order {
        sum = sum.wrapping_add(revert(*index));
        let _ = sums.push(sum);
    }
    for start in 0..sums.len() {
        let wanted = sums[start].wrapping_add(delta);
        if let Some(length) = sums[start + 1..].iter().position(|sum| *sum == wanted) {
            return Some(lacks(&order[start..=start + length]));
        }
    }
    // One member ahead, beside a run of the latest.
    for (index, member) in table.members().iter().enumerate() {
        let step =
            term(member.node, member.version.wrapping_add(1)).wrapping_sub(term(member.node, member.version));
        let wanted = delta.wrapping_sub(step);
        if let Some(length) = sums.iter().position(|sum| *sum == wanted)
            && !order[..length].contains(&(index as u8))
        {
            return Some(Difference { ahead: Some(index as u8), ..lacks(&order[..length]) });
        }
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
            return Some(Difference { lacks: chosen.map(|(_, index)| *index).collect(), ahead: None });
        }
    }
    None
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

    fn found(ours: &Table, theirs: &Table) -> Option<(Vec<u8, MEMBERS>, Option<u8>)> {
        let delta = theirs.digest().wrapping_sub(ours.digest());
        let mut difference = explain(ours, &ours.by_recency(), delta)?;
        difference.lacks.sort_unstable();
        Some((difference.lacks, difference.ahead))
    }

    #[test]
    fn a_run_of_changes_of_any_length_is_found() {
        for changes in [1u32, 5, 20, 50, 100] {
            let old = table();
            let mut new = table();
            for node in 0..changes {
                new.store(1000 + node * 3, 8, &[]);
            }
            let (lacks, ahead) = found(&new, &old).unwrap();
            assert_eq!(lacks.len(), changes as usize);
            assert_eq!(ahead, None);
            // And the other way round only where it is one.
            let back = found(&old, &new);
            assert_eq!(back, (changes == 1).then(|| (Vec::new(), Some(0))));
        }
    }

    #[test]
    fn a_selection_of_the_latest_and_one_that_is_ahead_are_found() {
        let (mut ours, mut theirs) = (table(), table());
        for node in 0..10u32 {
            ours.store(1000 + node * 3, 8, &[]);
            if node % 3 == 0 {
                theirs.store(1000 + node * 3, 8, &[]);
            }
        }
        let (lacks, _) = found(&ours, &theirs).unwrap();
        assert_eq!(lacks.as_slice(), [1, 2, 4, 5, 7, 8]);
        let (mut ours, mut theirs) = (table(), table());
        ours.store(1003, 8, &[]);
        ours.store(1006, 8, &[]);
        theirs.store(1030, 8, &[]);
        let (lacks, ahead) = found(&ours, &theirs).unwrap();
        assert_eq!((lacks.as_slice(), ahead), (&[1, 2][..], Some(10)));
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
