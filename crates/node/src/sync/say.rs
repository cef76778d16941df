//! What is sent: records, lists, digests; and what a list tells.

use compotastic_mesh::time::{Duration, Instant};
use compotastic_wire::{
    Frame, MAX_PAYLOAD, SyncDigest, SyncForm, SyncItem, SyncItemWriter, SyncList, SyncRecords,
};
use core::cmp::Ordering;
use heapless::Vec;

use super::{
    Summary, Sync, decode,
    table::{MEMBERS, Member, compare},
};

/// Changes in a first list for a neighbour with whom we never were equal.
const FIRST_LIST: usize = 8;
/// Entries of a named list that fit a frame.
const NAMED_MAX: usize = 35;
/// Between two frames of records: others may speak.
const NEXT_RECORDS: Duration = Duration::from_secs(4);

/// Where [`Sync::poll`] writes what its frame borrows.
pub type SyncBuffer = [u8; MAX_PAYLOAD];

/// A frame to be, and how much of the buffer it takes.
enum Said {
    Digest,
    Records(usize),
    List(SyncForm, usize, u64),
}

impl Sync {
    /// The next frame to send, zero-hop to everybody.
    pub fn poll<'b>(&mut self, now: Instant, buffer: &'b mut SyncBuffer) -> Option<Frame<'b>> {
        self.handle_timeout(now);
        if self.tokens == 0 {
            return None;
        }
        let digest = self.table.digest();
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let said = if due(self.push_at)
            && let Some(length) = self.records(now, buffer)
        {
            Said::Records(length)
        } else if due(self.list_at)
            && let Some((form, length, rest)) = self.list(buffer)
        {
            Said::List(form, length, rest)
        } else if core::mem::take(&mut self.digest_due) {
            let half_us = self.config.interval_min.as_micros() / 2;
            let recent = |(at, said): (Instant, u64)| {
                said == digest && now.saturating_duration_since(at).as_micros() < half_us
            };
            if self.said.is_some_and(recent) {
                return None;
            }
            Said::Digest
        } else {
            return None;
        };
        self.tokens -= 1;
        self.said = Some((now, digest));
        Some(match said {
            Said::Digest => Frame::SyncDigest(SyncDigest { digest }),
            Said::Records(length) => Frame::SyncRecords(SyncRecords::from_items(digest, &buffer[..length])),
            Said::List(form, length, rest) => Frame::SyncList(SyncList {
                digest: rest,
                membership: self.table.membership(),
                members: self.table.members().len() as u8,
                form,
                entries: &buffer[..length],
            }),
        })
    }

    /// As many owed records as fit; the rest follows after a while.
    fn records(&mut self, now: Instant, buffer: &mut SyncBuffer) -> Option<usize> {
        self.push_at = None;
        let mut writer = SyncItemWriter::new(buffer);
        let mut sent: Vec<u8, MEMBERS> = Vec::new();
        let mut left = false;
        for (index, member) in self.table.members().iter().enumerate().filter(|(_, member)| member.owed) {
            let item = self.table.record(index).map(|bytes| SyncItem {
                node: member.node,
                version: member.version,
                bytes,
            });
            match item.map(|item| writer.push(&item)) {
                Some(Err(_)) => left = true,
                // Others may keep what had no room here.
                Some(Ok(())) | None => _ = sent.push(index as u8),
            }
        }
        for index in sent {
            let member = &mut self.table.members_mut()[usize::from(index)];
            member.owed = false;
            member.aired_at = Some(now);
        }
        if left {
            let wait = self.jitter(NEXT_RECORDS);
            self.push_at = Some(now + wait);
        }
        Some(writer.finish().len()).filter(|length| *length > 0)
    }

    /// The list for the neighbour that differs; none if it has come to agree.
    fn list(&mut self, buffer: &mut SyncBuffer) -> Option<(SyncForm, usize, u64)> {
        self.list_at = None;
        let peer = *self.peers.get(self.list_for)?;
        let members = self.table.members();
        if peer.digest == self.table.digest() {
            return None;
        }
        let since_equal = |member: &Member| {
            let age = self.table.changes().wrapping_sub(member.changed);
            peer.equal_at.is_some_and(|equal_at| age < self.table.changes().wrapping_sub(equal_at))
        };
        let changed = match peer.equal_at {
            Some(_) => members.iter().filter(|member| since_equal(member)).count(),
            None => FIRST_LIST,
        };
        let behind = members.iter().filter(|member| member.behind).count();
        let whole = self.config.summary == Summary::Vector;
        // Who knows where it is behind asks for that first.
        let only_behind = behind > 0 && (whole || self.lists == 0);
        let latest = if only_behind { 0 } else { changed.max(1) << self.lists.min(7) };
        let joined =
            self.lists == 0 && members.iter().any(|member| member.before.is_none() && since_equal(member));
        let named = peer.other_members || !self.wanted.is_empty() || joined;
        let all = self.versions_equal || (whole && behind == 0) || 2 * (latest + behind) >= members.len();
        let form = if named {
            SyncForm::Named
        } else if all && (self.versions_equal || (self.lists > 2 && self.lists % 2 == 1)) {
            // The same version may stand for two records.
            SyncForm::Checks
        } else if all {
            SyncForm::Vector
        } else {
            SyncForm::Indexed
        };
        let (mut at, mut rest) = (0, self.table.digest());
        let mut put = |bytes: &[u8]| {
            if let Some(room) = buffer.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
                at += bytes.len();
            }
        };
        let order = self.table.by_recency();
        let of = |index: &u8| &members[usize::from(*index)];
        let behind = order.iter().filter(|index| of(index).behind);
        let recent = |start: usize| {
            order.iter().cycle().skip(start).take(order.len()).filter(|index| !of(index).behind)
        };
        match form {
            SyncForm::Checks => members.iter().for_each(|member| put(&[member.check()])),
            SyncForm::Vector => members.iter().for_each(|member| put(&[member.version])),
            SyncForm::Indexed => {
                let chosen = behind.chain(recent(0).take(latest));
                chosen.for_each(|index| {
                    put(&[*index, of(index).version]);
                    rest = rest.wrapping_sub(of(index).term);
                });
            }
            SyncForm::Named => {
                let entry = |node: u32, version: u8| {
                    let [a, b, c, d] = node.to_le_bytes();
                    [a, b, c, d, version]
                };
                // What does not fit comes in the next list. Of what we do not have at all we claim the version before: it makes
                // the other send its own.
                let count = NAMED_MAX.min(members.len());
                let wanted = self.wanted.iter().take(count);
                let start = if latest > NAMED_MAX { usize::from(self.lists) * NAMED_MAX } else { 0 };
                let known = behind.chain(recent(start).take(latest)).take(count - wanted.len());
                for (node, version) in wanted {
                    put(&entry(*node, version.wrapping_sub(1)));
                }
                for index in known {
                    put(&entry(of(index).node, of(index).version));
                    rest = rest.wrapping_sub(of(index).term);
                }
            }
        }
        self.lists = self.lists.saturating_add(1);
        Some((form, at, rest))
    }

    pub(super) fn handle_list(&mut self, now: Instant, from: u32, list: &SyncList<'_>) {
        let is_whole = matches!(list.form, SyncForm::Vector | SyncForm::Checks);
        if is_whole && list.digest == self.table.digest() {
            self.handle_digest(now, from, list.digest);
            return;
        }
        let Some(reaction) = self.peers.list(now, from) else { return };
        let pause = self.config.push_wait.as_micros() << reaction.min(super::LIST_PATIENCE);
        self.peers.mute_lists(from, now + Duration::from_micros(pause));
        self.timer.reset(now, &mut self.rng);
        let same_members = list.membership == self.table.membership()
            && usize::from(list.members) == self.table.members().len();
        self.peers.set_other_members(from, !same_members);
        if !same_members && list.form != SyncForm::Named {
            // Indices mean something else there.
            self.list_after(now, from, self.config.push_wait);
            return;
        }
        let (mut listed, mut is_behind): (Vec<u8, MEMBERS>, bool) = (Vec::new(), false);
        let mut all_equal = true;
        // What the sender has of all that it does not list, less what we have.
        let mut delta = Some(list.digest.wrapping_sub(self.table.digest()));
        for (position, entry) in list.entries.chunks_exact(list.form.entry_len()).enumerate() {
            let (node, version) = match (list.form, entry) {
                (SyncForm::Named, &[a, b, c, d, version]) => (u32::from_le_bytes([a, b, c, d]), version),
                (SyncForm::Indexed, &[index, version]) => {
                    let Some(member) = self.table.members().get(usize::from(index)) else { continue };
                    (member.node, version)
                }
                (_, &[version, ..]) => {
                    let Some(member) = self.table.members().get(position) else { continue };
                    (member.node, version)
                }
                _ => continue,
            };
            let Some(index) = self.table.index(node) else {
                is_behind |= self.want(node, version);
                delta = None;
                continue;
            };
            let member = &self.table.members()[index];
            if !listed.contains(&(index as u8)) {
                let _ = listed.push(index as u8);
                delta = delta.map(|delta| delta.wrapping_add(member.term));
            }
            if list.form == SyncForm::Checks {
                if version != member.check() {
                    self.owe(now, index);
                }
                continue;
            }
            all_equal &= version == member.version;
            match compare(member.version, version) {
                Ordering::Equal => {}
                Ordering::Less => self.owe(now, index),
                Ordering::Greater => is_behind |= self.fall_behind(now, index, version),
            }
        }
        let mut rest = self.table.by_recency();
        rest.retain(|index| !listed.contains(index));
        let rest_len = rest.len();
        let explained = if is_whole {
            Some(rest)
        } else {
            delta.and_then(|delta| decode::explain(&self.table, &rest, delta))
        };
        let is_explained = explained.is_some() && list.form != SyncForm::Vector;
        self.versions_equal = list.form != SyncForm::Checks && same_members && all_equal && rest_len == 0;
        explained.unwrap_or_default().iter().for_each(|index| self.owe(now, usize::from(*index)));
        if is_behind {
            // Our digest may tell it first.
            let wait = now.saturating_duration_since(self.changed_at) + self.config.interval_min;
            self.list_after(now, from, wait);
        } else if !is_explained {
            self.list_after(now, from, self.config.quiet);
        }
    }

    /// Others have a newer version of this member. Of ourselves there is none: we go beyond it.
    fn fall_behind(&mut self, now: Instant, index: usize, version: u8) -> bool {
        if self.table.members()[index].node != self.own || now < self.settled_at {
            self.table.members_mut()[index].behind = true;
            return true;
        }
        let record = self.table.record(index).map(Vec::<u8, { super::RECORD_MAX }>::from_slice);
        if let Some(Ok(record)) = record {
            self.go_beyond(now, version, &record);
        }
        false
    }

    /// A member that is not known here. False where it would not be kept.
    fn want(&mut self, node: u32, version: u8) -> bool {
        if !self.table.has_room(node) || (node == self.own && self.unpublished.is_some()) {
            return false;
        }
        if !self.wanted.iter().any(|(wanted, _)| *wanted == node) {
            // What does not fit is told again.
            let _ = self.wanted.push((node, version));
        }
        true
    }
}
