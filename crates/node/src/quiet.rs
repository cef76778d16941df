//! Quiet hours and large meshes: what the agent says less often, or not at all.

use compotastic_mesh::time::Instant;
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, LinkState, OutFrame},
    policy::Priority,
    promises::Ticket,
};

/// Of the agent's manners what it has to know itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restraint {
    quiet: bool,
    congestion_permille: u32,
    /// What is left of the beacons that were due and not sent, permille.
    credit_permille: u32,
}

impl Default for Restraint {
    fn default() -> Self {
        // The first beacon goes at once, whatever the mesh.
        Self { quiet: false, congestion_permille: 1000, credit_permille: 1000 }
    }
}

impl Restraint {
    /// A periodic frame is due: true if it goes. Where the factor is 3, each third does.
    pub(crate) fn takes_turn(&mut self) -> bool {
        if self.credit_permille >= 1000 {
            self.credit_permille -= 1000;
            self.credit_permille += 1_000_000 / self.congestion_permille;
            return true;
        }
        self.credit_permille += 1_000_000 / self.congestion_permille;
        false
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// In quiet hours only urgent requests, reports and answers to urgent requests leave; all else waits.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.restraint.quiet = quiet;
    }

    /// Beacons come so much less often, permille: see [`crate::manners::congestion_permille`].
    pub fn set_congestion(&mut self, factor_permille: u32) {
        self.restraint.congestion_permille = factor_permille.clamp(1000, 1_000_000);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.restraint.quiet
    }

    /// The next frame that may leave in quiet hours.
    pub(crate) fn poll_urgent(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        // Answers that are not urgent are dropped: who asks repeats the request, and the answer is known then.
        while let Some(reply) = self.replies.front() {
            let ticket = Ticket { requester: reply.to, reference: reply.reference };
            if self.promises.get(ticket).is_some_and(|promise| promise.priority == Priority::Urgent) {
                return self.poll_reply(now);
            }
            self.replies.pop_front();
        }
        // Parts follow what has gone, and that was urgent or before the quiet hours.
        if let Some(part) = self.poll_part(now, link) {
            return Some(part);
        }
        // Shutting a lost radio out is urgent.
        if let Some(keys) = self.poll_keys(now) {
            return Some(keys);
        }
        let due = self.jobs.due(now);
        if due.is_some_and(|index| self.jobs.at(index).priority == Priority::Urgent) {
            return self.poll_request(now, link);
        }
        let urgent = |index: &usize| self.outbox.at(*index).priority == Priority::Urgent;
        if self.outbox.due(now).first().is_some_and(urgent) {
            return self.poll_report(now, link);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_beacon_goes_where_the_factor_is_three() {
        let mut restraint = Restraint { congestion_permille: 3000, ..Restraint::default() };
        let gone: heapless::Vec<bool, 12> = (0..12).map(|_| restraint.takes_turn()).collect();
        assert!(gone[0]);
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 4);
        let mut small = Restraint::default();
        assert!((0..12).all(|_| small.takes_turn()));
    }
}
