//! What a node knows of the members: their versions and records, and the sums that stand for all of it.

use core::cmp::Ordering;

use compotastic_mesh::time::Instant;
use heapless::Vec;

/// Most members. When more are heard of, those with the lowest numbers stay, so that all nodes keep the same.
pub const MEMBERS: usize = 128;
/// Bytes of records kept: three times what 100 typical ones take. A record for which there is no room is known by its version
/// only, and others pass it on.
pub const POOL: usize = 9 * 1024;

/// SplitMix64's finaliser (Steele et al., 2014).
const fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// What a member with this record adds to the digest. Never 0, so that the digest of nothing is 0 and no other's.
pub fn term(node: u32, version: u8, record: &[u8]) -> u64 {
    let start = mix(u64::from(node) << 8 | u64::from(version));
    record.iter().fold(start, |sum, byte| mix(sum ^ u64::from(*byte))) | 1
}

/// What a member adds to the membership.
const fn member_term(node: u32) -> u16 {
    mix(0x6D65_6D62_0000_0000 ^ node as u64) as u16
}

/// Versions count modulo 256 and are compared as serial numbers (RFC 1982): the nearer way round says which is newer. At the exact
/// opposite the larger number is the newer one.
pub fn compare(ours: u8, theirs: u8) -> Ordering {
    match theirs.wrapping_sub(ours) {
        0 => Ordering::Equal,
        128 => theirs.cmp(&ours),
        1..=127 => Ordering::Greater,
        _ => Ordering::Less,
    }
}

/// What is known of one member, and what is to be done about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) node: u32,
    pub(crate) version: u8,
    /// What it adds to the digest.
    pub(crate) term: u64,
    /// The version here before the last change, and what it added; none if there was none.
    pub(crate) before: Option<(u8, u64)>,
    /// Number of the change that brought the version.
    pub(crate) changed: u32,
    /// Somebody near may lack the record: it goes out with the next records.
    pub(crate) owed: bool,
    /// Times that others were heard to send it since it is owed.
    pub(crate) heard: u8,
    /// When it was last on the air here.
    pub(crate) aired_at: Option<Instant>,
    /// Somebody has a newer version.
    pub(crate) behind: bool,
    held: bool,
    offset: u16,
    length: u16,
}

impl Member {
    /// What taking the last change back would add to the digest.
    pub(crate) fn revert(&self) -> u64 {
        self.before.map_or(0, |(_, term)| term).wrapping_sub(self.term)
    }

    /// Another number for a version and its content, of 8 bits.
    pub(crate) fn check(&self) -> u8 {
        (self.term >> 8) as u8
    }
}

/// All members, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    members: Vec<Member, MEMBERS>,
    pool: Vec<u8, POOL>,
    digest: u64,
    membership: u16,
    changes: u32,
}

impl Table {
    /// Stands for all members and versions.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Stands for the members' numbers.
    pub(crate) fn membership(&self) -> u16 {
        self.membership
    }

    /// Changes so far.
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn members_mut(&mut self) -> &mut [Member] {
        &mut self.members
    }

    pub(crate) fn index(&self, node: u32) -> Option<usize> {
        self.members.binary_search_by_key(&node, |member| member.node).ok()
    }

    /// Whether a member of this number would be kept.
    pub(crate) fn has_room(&self, node: u32) -> bool {
        !self.members.is_full() || self.members.last().is_some_and(|last| node <= last.node)
    }

    /// The record of a member, where it is kept here.
    pub(crate) fn record(&self, index: usize) -> Option<&[u8]> {
        let member = self.members.get(index)?;
        let start = usize::from(member.offset);
        self.pool.get(start..start + usize::from(member.length)).filter(|_| member.held)
    }

    /// Takes a version and its record in. False where the table is full of lower numbers.
    pub(crate) fn store(&mut self, node: u32, version: u8, bytes: &[u8]) -> bool {
        let index = match self.members.binary_search_by_key(&node, |member| member.node) {
            Ok(index) => index,
            Err(index) => {
                if !self.has_room(node) {
                    return false;
                }
                if self.members.is_full() {
                    self.remove_last();
                }
                let member = Member {
                    node,
                    version,
                    term: 0,
                    before: None,
                    changed: 0,
                    owed: false,
                    heard: 0,
                    aired_at: None,
                    behind: false,
                    held: false,
                    offset: 0,
                    length: 0,
                };
                // There is room: the last one was removed above if there was none.
                let _ = self.members.insert(index, member);
                self.membership = self.membership.wrapping_add(member_term(node));
                self.set(index, version, None, bytes);
                return true;
            }
        };
        let before = (self.members[index].version, self.members[index].term);
        self.set(index, version, Some(before), bytes);
        true
    }

    fn set(&mut self, index: usize, version: u8, before: Option<(u8, u64)>, bytes: &[u8]) {
        self.release(index);
        self.changes = self.changes.wrapping_add(1);
        let member = &mut self.members[index];
        let term = term(member.node, version, bytes);
        self.digest = self.digest.wrapping_sub(member.term).wrapping_add(term);
        member.term = term;
        member.version = version;
        member.before = before;
        member.changed = self.changes;
        member.behind = false;
        let offset = self.pool.len();
        member.held = self.pool.extend_from_slice(bytes).is_ok();
        if member.held {
            // The pool is far shorter than 64 KiB.
            member.offset = offset as u16;
            member.length = bytes.len() as u16;
        }
    }

    /// Gives the record's place in the pool back.
    fn release(&mut self, index: usize) {
        let Member { held, offset, length, .. } = self.members[index];
        self.members[index].held = false;
        if !held || length == 0 {
            return;
        }
        let (start, end) = (usize::from(offset), usize::from(offset) + usize::from(length));
        self.pool.copy_within(end.., start);
        self.pool.truncate(self.pool.len() - usize::from(length));
        for member in self.members.iter_mut().filter(|member| member.held && member.offset > offset) {
            member.offset -= length;
        }
    }

    fn remove_last(&mut self) {
        self.release(self.members.len() - 1);
        if let Some(last) = self.members.pop() {
            self.digest = self.digest.wrapping_sub(last.term);
            self.membership = self.membership.wrapping_sub(member_term(last.node));
        }
    }

    /// Indices of the members, what changed last first.
    pub(crate) fn by_recency(&self) -> Vec<u8, MEMBERS> {
        let mut order: Vec<u8, MEMBERS> = (0..self.members.len() as u8).collect();
        // Changes wrap around after 4 billion; what counts is how long ago they were.
        order.sort_unstable_by_key(|index| {
            self.changes.wrapping_sub(self.members[usize::from(*index)].changed)
        });
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(table: &Table) -> u64 {
        let members = table.members().iter().enumerate();
        members.fold(0, |sum: u64, (index, member)| {
            let record = table.record(index).expect("kept");
            sum.wrapping_add(term(member.node, member.version, record))
        })
    }

    #[test]
    fn the_digest_is_the_sum_whatever_the_order() {
        let (mut a, mut b) = (Table::default(), Table::default());
        for node in 0..100u32 {
            a.store(node * 7, 3, &[1; 30]);
        }
        for node in (0..100u32).rev() {
            b.store(node * 7, 2, &[2; 9]);
            b.store(node * 7, 3, &[1; 30]);
        }
        assert_eq!((a.digest(), a.membership()), (b.digest(), b.membership()));
        assert_eq!(sum(&a), a.digest());
        for index in 0..100 {
            assert_eq!(b.record(index), Some(&[1; 30][..]));
        }
        a.store(14, 3, &[1; 29]);
        assert_ne!(a.digest(), b.digest(), "another record under the same version");
        a.store(14, 3, &[1; 30]);
        b.store(7, 4, &[]);
        assert_ne!(a.digest(), b.digest());
        let index = b.index(7).unwrap();
        assert_eq!(b.digest().wrapping_add(b.members()[index].revert()), a.digest());
    }

    #[test]
    fn when_full_the_lowest_numbers_stay() {
        let (mut a, mut b) = (Table::default(), Table::default());
        for node in 0..200u32 {
            a.store(node, 1, &[9; 20]);
            b.store(199 - node, 1, &[9; 20]);
        }
        assert_eq!((a.digest(), a.members().len()), (b.digest(), MEMBERS));
        assert_eq!((sum(&b), b.members().last().unwrap().node), (b.digest(), 127));
        assert_eq!(b.record(100), Some(&[9; 20][..]));
    }

    #[test]
    fn a_record_without_room_is_known_by_its_version_only() {
        let mut table = Table::default();
        for node in 0..100 {
            table.store(node, 1, &[node as u8; 170]);
        }
        let kept = (0..100).filter(|index| table.record(*index).is_some()).count();
        assert_eq!((kept, table.members().len()), (POOL / 170, 100));
        table.store(0, 2, &[]);
        table.store(99, 2, &[7; 170]);
        assert_eq!(table.record(99), Some(&[7; 170][..]));
        assert_eq!(table.record(1), Some(&[1; 170][..]));
    }

    #[test]
    fn versions_wrap_around() {
        assert_eq!(compare(255, 0), Ordering::Greater);
        assert_eq!(compare(0, 255), Ordering::Less);
        assert_eq!(compare(4, 4), Ordering::Equal);
        assert_eq!(compare(0, 128), Ordering::Greater);
        assert_eq!(compare(128, 0), Ordering::Less);
    }
}
