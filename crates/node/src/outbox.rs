//! Reports that go on to the command post once their class is known.
//!
//! Urgent and high reports leave at once. The others wait and share a frame, or ride along with one that cannot wait, since
//! the fixed part of a packet costs more than ten codes. An entry stays until its receipt comes or it is too old; that is told, never
//! hidden. The outbox holds [`CAPACITY`] entries; when it is full the least important, then oldest, is given up, and
//! that is told too.

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use heapless::Vec;

use crate::{
    jobs::{CodedText, JobId, REMINDER_WAIT},
    policy::{Form, Priority},
};

/// Entries kept.
pub const CAPACITY: usize = 32;
/// Routine reports wait this long for company.
pub const ROUTINE_WAIT: Duration = Duration::from_secs(1200);
/// Low ones wait this long.
pub const LOW_WAIT: Duration = Duration::from_secs(3600);
/// So many that have not been sent leave without waiting longer.
pub const DIGEST_COUNT: usize = 12;
/// A report that could not be delivered for this long is given up.
pub const LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// Packet references that an entry remembers: a late receipt of an earlier try still counts.
const REFERENCES: usize = 4;

/// One report on its way.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The job whose answer set it in motion.
    pub job: JobId,
    /// Its number on the air.
    pub origin: u16,
    /// Class index.
    pub class: u8,
    /// Confidence, 0..=15.
    pub confidence: u8,
    /// Model that answered, low 8 bits of its version.
    pub model_version: u8,
    /// Service order.
    pub priority: Priority,
    /// Code, summary or full text.
    pub form: Form,
    /// When the report was made.
    pub created: Instant,
    /// The text of summaries and full texts.
    pub text: Option<CodedText>,
    /// Times sent.
    pub attempts: u8,
    /// Not sent before this time.
    pub next_at: Instant,
    references: Vec<u16, REFERENCES>,
    /// Packet that carried it last, until the neighbours were reminded of its receipt.
    unreminded: Option<u32>,
}

/// All reports on their way.
#[derive(Debug, Default)]
pub struct Outbox {
    entries: Vec<Entry, CAPACITY>,
}

impl Outbox {
    /// Adds a report. Returns the job of the entry that had to be given up for it, if any.
    #[allow(clippy::too_many_arguments, reason = "one report is made of these parts")]
    pub fn push(
        &mut self,
        now: Instant,
        job: JobId,
        origin: u16,
        class: u8,
        confidence: u8,
        model_version: u8,
        priority: Priority,
        form: Form,
        text: Option<CodedText>,
    ) -> Option<JobId> {
        let mut given_up = None;
        if self.entries.is_full()
            && let Some(index) = self
                .entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| (entry.priority, entry.created))
                .map(|(index, _)| index)
        {
            given_up = Some(self.entries.remove(index).job);
        }
        let next_at = match priority {
            Priority::Low => now + LOW_WAIT,
            Priority::Routine => now + ROUTINE_WAIT,
            Priority::High | Priority::Urgent => now,
        };
        let entry = Entry {
            job,
            origin,
            class,
            confidence,
            model_version,
            priority,
            form,
            created: now,
            text,
            attempts: 0,
            next_at,
            references: Vec::new(),
            unreminded: None,
        };
        // There is room: an entry was removed above if there was none.
        let _ = self.entries.push(entry);
        if self.entries.iter().filter(|entry| entry.attempts == 0).count() >= DIGEST_COUNT {
            for entry in self.entries.iter_mut().filter(|entry| entry.attempts == 0) {
                entry.next_at = now;
            }
        }
        given_up
    }

    /// The indices of the entries that should share the next frame: the most urgent due one first, then what has not
    /// been sent yet or is due too, for company. Empty when nothing is due.
    pub fn due(&self, now: Instant) -> Vec<usize, CAPACITY> {
        let mut order: Vec<usize, CAPACITY> = Vec::new();
        let Some(first) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| now >= entry.next_at)
            .min_by_key(|(_, entry)| (core::cmp::Reverse(entry.priority), entry.created))
            .map(|(index, _)| index)
        else {
            return order;
        };
        let _ = order.push(first);
        for (index, entry) in self.entries.iter().enumerate() {
            let company = entry.attempts == 0 || now >= entry.next_at;
            if index != first && company {
                let _ = order.push(index);
            }
        }
        order
    }

    /// The entry at an index that [`Self::due`] gave.
    pub fn at(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// The packet whose receipt is missed, once per packet: most that are lost are lost on the last hop. Its reports wait
    /// a little longer.
    pub fn remind(&mut self, now: Instant) -> Option<u32> {
        let due = self.entries.iter().find(|entry| now >= entry.next_at && entry.unreminded.is_some())?;
        let packet = due.unreminded;
        for entry in self.entries.iter_mut().filter(|entry| entry.unreminded == packet) {
            entry.unreminded = None;
            entry.next_at = entry.next_at.max(now + REMINDER_WAIT);
        }
        packet
    }

    /// The entry left in this packet.
    pub fn handle_sent(&mut self, now: Instant, index: usize, packet: u32, wait: Duration, rng: &mut Rng) {
        let entry = &mut self.entries[index];
        entry.attempts = entry.attempts.saturating_add(1);
        if entry.references.is_full() {
            entry.references.remove(0);
        }
        let _ = entry.references.push(packet as u16);
        entry.unreminded = Some(packet);
        let patience_us = (wait.as_micros() << entry.attempts.min(7).saturating_sub(1)).min(1_200_000_000);
        let jitter_us = patience_us / 4 * u64::from(rng.below(1000)) / 1000;
        entry.next_at = now + Duration::from_micros(patience_us + jitter_us);
    }

    /// The receipt of a packet came. Calls `delivered` for each report that it carried.
    pub fn handle_receipt(&mut self, reference: u16, mut delivered: impl FnMut(&Entry)) {
        self.entries.retain(|entry| {
            let done = entry.references.contains(&reference);
            if done {
                delivered(entry);
            }
            !done
        });
    }

    /// Takes out a report that has become too old.
    pub fn expire(&mut self, now: Instant) -> Option<Entry> {
        let index =
            self.entries.iter().position(|entry| now.saturating_duration_since(entry.created) >= LIFETIME)?;
        Some(self.entries.remove(index))
    }

    /// Reports waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no report waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.next_at.min(entry.created + LIFETIME)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn push(outbox: &mut Outbox, now: Instant, job: u32, priority: Priority, form: Form) -> Option<JobId> {
        outbox.push(now, JobId(job), job as u16, 1, 9, 1, priority, form, None)
    }

    #[test]
    fn what_is_not_pressing_waits_for_company_and_rides_along() {
        let mut outbox = Outbox::default();
        push(&mut outbox, at(0), 1, Priority::Routine, Form::Code);
        assert!(outbox.due(at(10)).is_empty());
        push(&mut outbox, at(10), 2, Priority::Urgent, Form::FullText);
        assert_eq!(outbox.due(at(10)).as_slice(), [1, 0]);
        let mut rng = Rng::from_seed(1);
        for index in [1, 0] {
            outbox.handle_sent(at(10), index, 77, Duration::from_secs(20), &mut rng);
        }
        assert!(outbox.due(at(11)).is_empty());
        let mut delivered = 0;
        outbox.handle_receipt(77, |_| delivered += 1);
        assert_eq!((delivered, outbox.len()), (2, 0));
    }

    #[test]
    fn a_dozen_leave_at_once() {
        let mut outbox = Outbox::default();
        for job in 0..DIGEST_COUNT as u32 {
            push(&mut outbox, at(1), job, Priority::Low, Form::Code);
        }
        assert_eq!(outbox.due(at(1)).len(), DIGEST_COUNT);
    }

    #[test]
    fn a_full_outbox_gives_up_the_least_important_and_says_so() {
        let mut outbox = Outbox::default();
        push(&mut outbox, at(0), 0, Priority::Low, Form::Code);
        for job in 1..CAPACITY as u32 {
            push(&mut outbox, at(1), job, Priority::Urgent, Form::FullText);
        }
        assert_eq!(push(&mut outbox, at(2), 99, Priority::Urgent, Form::FullText), Some(JobId(0)));
        assert_eq!(outbox.expire(at(1) + LIFETIME).unwrap().job, JobId(1));
    }
}
