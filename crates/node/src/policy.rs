//! The mission profile: what an answer sets in motion.
//!
//! The class of a report decides how soon, where to and in which form it goes on. A profile is one small table,
//! the same on every node of a swarm, so that a node can act on an answer whoever gave it.

use heapless::Vec;

/// Most classes that one profile (and one task part) can hold.
pub const MAX_CLASSES: usize = 64;

/// How soon something has to arrive. The order is the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// May wait for hours.
    Low = 0,
    /// The usual.
    #[default]
    Routine = 1,
    /// Ahead of the usual, under the same gates.
    High = 2,
    /// Somebody's life may hang on it: passes the 40 % gate as an alert.
    Urgent = 3,
}

impl Priority {
    /// From the two bits used on the air.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Low,
            1 => Self::Routine,
            2 => Self::High,
            _ => Self::Urgent,
        }
    }
}

/// Where a report goes once its class is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Destination {
    /// Kept by the node; leaves it only when somebody asks or comes by.
    Log,
    /// The command post of the mission.
    #[default]
    Command,
}

/// How much of a report travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// The class alone, collected with others into one frame.
    #[default]
    Code = 0,
    /// The class and the first words.
    Summary = 1,
    /// The class and the whole text.
    FullText = 2,
}

/// What to do with a report of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClassPolicy {
    /// How soon it has to arrive.
    pub priority: Priority,
    /// Where it goes.
    pub destination: Destination,
    /// In which form.
    pub form: Form,
}

/// One entry per class of the task, in the task's order.
#[derive(Clone, Debug, Default)]
pub struct MissionProfile {
    classes: Vec<ClassPolicy, MAX_CLASSES>,
}

impl MissionProfile {
    /// A profile from its table; more than [`MAX_CLASSES`] entries are refused.
    pub fn new(classes: &[ClassPolicy]) -> Option<Self> {
        Some(Self { classes: Vec::from_slice(classes).ok()? })
    }

    /// What to do with `class`. A class that the profile does not know goes to the command post as a code: an
    /// unknown class must not be able to make a node spend air time, nor to make a report vanish.
    pub fn of(&self, class: u8) -> ClassPolicy {
        self.classes.get(usize::from(class)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_class_is_a_routine_code_for_the_command_post() {
        let profile = MissionProfile::new(&[ClassPolicy {
            priority: Priority::Urgent,
            destination: Destination::Command,
            form: Form::FullText,
        }])
        .unwrap();
        assert_eq!(profile.of(0).priority, Priority::Urgent);
        assert_eq!(profile.of(200), ClassPolicy::default());
        assert!(MissionProfile::new(&[ClassPolicy::default(); MAX_CLASSES + 1]).is_none());
    }

    #[test]
    fn priority_survives_its_two_bits() {
        for priority in [Priority::Low, Priority::Routine, Priority::High, Priority::Urgent] {
            assert_eq!(Priority::from_bits(priority as u8), priority);
        }
    }
}
