//! Reports on their way to the command post, and their receipt there.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::Instant,
};
use compotastic_wire::{Frame, MAX_PAYLOAD, Report, ReportEntry, ReportText, ReportWriter};
use embedded_storage::nor_flash::NorFlash;
use heapless::{Deque, Vec};

use crate::{
    agent::{Agent, AgentEvent, InFrame, LinkState, OutFrame},
    policy::{Form, Priority},
};

/// Reports that the command post remembers, so that a repeated frame is not counted twice.
const SEEN: usize = 128;

/// Which reports were received already.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    table: Deque<(NodeNum, u16), SEEN>,
}

impl Seen {
    /// True the first time that this report is seen. The oldest of [`SEEN`] reports is forgotten.
    fn first_time(&mut self, from: NodeNum, origin: u16) -> bool {
        if self.table.iter().any(|entry| *entry == (from, origin)) {
            return false;
        }
        if self.table.is_full() {
            self.table.pop_front();
        }
        let _ = self.table.push_back((from, origin));
        true
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// The next frame of reports that is due.
    pub(crate) fn poll_report(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        let post = self.config.command_post?;
        if !self.reminders.is_full()
            && let Some(packet) = self.outbox.remind(now)
        {
            let _ = self.reminders.push_back((post, packet));
        }
        let due = self.outbox.due(now);
        let first = *due.first()?;
        let urgent = self.outbox.at(first).priority == Priority::Urgent;
        let mut buffer = [0; MAX_PAYLOAD];
        let mut writer = ReportWriter::new(&mut buffer);
        let mut carried: Vec<usize, { crate::outbox::CAPACITY }> = Vec::new();
        for index in due {
            let entry = self.outbox.at(index);
            let age_min = now.saturating_duration_since(entry.created).as_micros() / 60_000_000;
            let written = writer.push(&ReportEntry {
                priority: entry.priority as u8,
                form: entry.form as u8,
                confidence: entry.confidence,
                class: entry.class,
                model_version: entry.model_version,
                age_min: age_min.min(255) as u8,
                origin: entry.origin,
                text: entry.text.as_ref().map(|text| ReportText { codec: text.codec, bytes: &text.bytes }),
            });
            // What does not fit waits for the next frame.
            if written.is_ok() {
                let _ = carried.push(index);
            }
        }
        let entries = writer.finish();
        let frame = Frame::Report(Report::from_entries(entries));
        let (gate, priority) = if urgent {
            (Gate::Alert, QueuePriority::Alert)
        } else {
            (Gate::Normal, QueuePriority::Reliable)
        };
        let out = self.seal(&frame, post, self.config.hop_limit, true, gate, priority)?;
        let wait = self.round_trip.patience(link.flood_time);
        for index in carried {
            self.outbox.handle_sent(now, index, out.id, wait, &mut self.rng);
        }
        Some(out)
    }

    /// Reports for this node as the command post. The receipt goes out for repeated frames too: the first one may
    /// have been lost.
    pub(crate) fn handle_report(&mut self, _now: Instant, incoming: &InFrame<'_>, report: &Report<'_>) {
        if incoming.to != self.config.num {
            return;
        }
        for entry in report.entries() {
            let Ok(entry) = entry else { break };
            if self.seen.first_time(incoming.from, entry.origin) {
                let form = match entry.form {
                    2 => Form::FullText,
                    1 => Form::Summary,
                    _ => Form::Code,
                };
                self.push_event(AgentEvent::ReportReceived {
                    from: incoming.from,
                    class: entry.class,
                    priority: Priority::from_bits(entry.priority),
                    form,
                    age_min: entry.age_min,
                });
            }
        }
        self.receipt(incoming.from, incoming.id as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_report_counts_once_and_the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        assert!(seen.first_time(NodeNum(1), 1));
        assert!(!seen.first_time(NodeNum(1), 1));
        assert!(seen.first_time(NodeNum(2), 1));
        for origin in 0..SEEN as u16 {
            seen.first_time(NodeNum(3), origin);
        }
        assert!(seen.first_time(NodeNum(1), 1));
    }
}
