//! What waits for this machine's models, fairly: each asker's jobs stand in a line of their own, and the lines take turns.

use std::collections::VecDeque;

use compotastic_node::Ticket;

use crate::seam::{Classified, JobKind, SharedBrain};

/// Jobs that wait for the models; one more is refused, and its asker is told that this node is busy.
pub const WAITING: usize = 64;

/// Names a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKey {
    /// A job that was submitted here, by its number.
    Here(u64),
    /// A job that another node asked for.
    There(Ticket),
}

/// A job for this machine's models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its name.
    pub key: WorkKey,
    /// What is asked for.
    pub kind: JobKind,
    /// The text.
    pub text: String,
    /// Most characters of an answer in words.
    pub max_chars: usize,
    /// Before others.
    pub urgent: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Product {
    /// A class.
    Class(Classified),
    /// Words.
    Text(String),
    /// A vector.
    Vector(Vec<f32>),
}

/// A piece of work is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Its name.
    pub key: WorkKey,
    /// What came of it, or why nothing.
    pub product: Result<Product, String>,
}

/// Names of the models that answer here, or why none does. Asking for them may take a while where a server has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers([Result<String, String>; 3]);

impl Offers {
    /// What a brain offers now.
    pub fn of(brain: &SharedBrain) -> Self {
        let kinds = [JobKind::Classify, JobKind::Chat, JobKind::Embed];
        Self(kinds.map(|kind| match brain {
            Some(brain) => brain.model(kind),
            None => Err("there is no model here: name a server with --model-url".to_owned()),
        }))
    }

    /// The model for a kind of job.
    pub fn model(&self, kind: JobKind) -> Result<&str, &str> {
        self.0[kind as usize].as_deref().map_err(String::as_str)
    }

    /// Whether there is one.
    pub fn has(&self, kind: JobKind) -> bool {
        self.model(kind).is_ok()
    }
}

/// The lines.
#[derive(Debug, Default)]
pub struct WorkQueue {
    lines: VecDeque<(u32, VecDeque<Work>)>,
}

impl Work {
    /// The asker: a node number, 0 for this node.
    fn asker(&self) -> u32 {
        match self.key {
            WorkKey::Here(_) => 0,
            WorkKey::There(ticket) => ticket.requester.0,
        }
    }
}

impl WorkQueue {
    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.lines.iter().map(|(_, line)| line.len()).sum()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a job at the end of its asker's line; an urgent one at its beginning. Gives it back where there is no room.
    pub fn push(&mut self, work: Work) -> Result<(), Work> {
        if self.len() >= WAITING {
            return Err(work);
        }
        let asker = work.asker();
        let index = self.lines.iter().position(|(other, _)| *other == asker);
        let index = index.unwrap_or_else(|| {
            self.lines.push_back((asker, VecDeque::new()));
            self.lines.len() - 1
        });
        let line = &mut self.lines[index].1;
        if work.urgent {
            line.push_front(work);
        } else {
            line.push_back(work);
        }
        Ok(())
    }

    /// The next job: an urgent one, else that of the line whose turn it is.
    pub fn pop(&mut self) -> Option<Work> {
        let urgent = self.lines.iter().position(|(_, line)| line.front().is_some_and(|work| work.urgent));
        let (asker, mut line) = self.lines.remove(urgent.unwrap_or(0))?;
        let work = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((asker, line));
        }
        work
    }

    /// Takes a job out; false if it is not there.
    pub fn remove(&mut self, key: WorkKey) -> bool {
        let before = self.len();
        for (_, line) in &mut self.lines {
            line.retain(|work| work.key != key);
        }
        self.lines.retain(|(_, line)| !line.is_empty());
        before > self.len()
    }
}

#[cfg(test)]
mod tests {
    use compotastic_mesh::packet::NodeNum;

    use super::*;

    fn work(asker: u32, reference: u16, urgent: bool) -> Work {
        let key = WorkKey::There(Ticket { requester: NodeNum(asker), reference });
        Work { key, kind: JobKind::Chat, text: "?".into(), max_chars: 100, urgent }
    }

    fn order(queue: &mut WorkQueue) -> Vec<(u32, u16)> {
        std::iter::from_fn(|| queue.pop())
            .map(|work| match work.key {
                WorkKey::There(ticket) => (ticket.requester.0, ticket.reference),
                WorkKey::Here(_) => (0, 0),
            })
            .collect()
    }

    #[test]
    fn askers_take_turns_and_what_is_urgent_goes_first() {
        let mut queue = WorkQueue::default();
        for reference in 0..4 {
            queue.push(work(1, reference, false)).unwrap();
        }
        queue.push(work(2, 7, false)).unwrap();
        queue.push(work(3, 8, true)).unwrap();
        assert_eq!(order(&mut queue), [(3, 8), (1, 0), (2, 7), (1, 1), (1, 2), (1, 3)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_and_what_is_taken_back_makes_room() {
        let mut queue = WorkQueue::default();
        for reference in 0..WAITING as u16 {
            queue.push(work(1, reference, false)).unwrap();
        }
        assert!(queue.push(work(2, 0, true)).is_err());
        assert!(queue.remove(work(1, 5, false).key));
        assert!(!queue.remove(work(1, 5, false).key));
        assert!(queue.push(work(2, 0, true)).is_ok());
    }
}
