//! Names of device classes. Devices and manifests know numbers; names are for people, in a scenario or in a file of their own:
//!
//! ```toml
//! [classes]
//! gauge = 1
//! canary = 2
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Scenario, ScenarioError, check::line_of};
use crate::swarm::bundles::DEVICE_CLASS;

/// Classes are below this.
const CLASSES: i64 = 32;

/// A device class as it is written: by its number, or by a name of `[classes]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ClassWord {
    /// 0 to 31.
    Number(i64),
    /// A name.
    Name(String),
}

/// Names of device classes with their numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ClassNames(BTreeMap<String, Spanned<i64>>);

/// The part of any file that names classes.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    classes: ClassNames,
}

impl ClassNames {
    /// Reads `[classes]` of a TOML text, a scenario or a file with no more than that.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let named: Named = toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))?;
        named.classes.check(text)?;
        Ok(named.classes)
    }

    /// The number of a class.
    pub fn number(&self, name: &str) -> Option<u8> {
        u8::try_from(*self.0.get(name)?.get_ref()).ok()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// More names; of two that are the same the later one counts.
    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(super) fn check(&self, text: &str) -> Result<(), ScenarioError> {
        for (name, number) in &self.0 {
            let refuse = |what: String| ScenarioError { line: line_of(text, &number.span()), what };
            if !(0..CLASSES).contains(number.get_ref()) {
                return Err(refuse(format!("{name} = {} is not between 0 and 31", number.get_ref())));
            }
            // A number as a name would be two classes; a comma or a colon is none in --class and --to.
            let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !name.chars().all(letters) || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Err(refuse(format!(
                    "\"{name}\" is no name for a class: a letter, then letters, digits, - and _"
                )));
            }
        }
        Ok(())
    }

    /// The number of a word, where it is one.
    pub(super) fn of(&self, word: &ClassWord) -> Option<u8> {
        match word {
            ClassWord::Number(number) => u8::try_from(*number).ok(),
            ClassWord::Name(name) => self.number(name),
        }
    }
}

impl Scenario {
    /// The device class of each node, by index; only those of ours have one that means anything.
    pub fn classes(&self) -> Vec<u8> {
        let class = |word: &Option<Spanned<ClassWord>>| {
            word.as_ref().and_then(|word| self.class_names.of(word.get_ref())).unwrap_or(DEVICE_CLASS)
        };
        let named = self.node.iter().map(|node| (class(&node.class), 1));
        let drawn = self.field.iter().map(|field| {
            let field = field.get_ref();
            (class(&field.class), *field.count.get_ref() as usize)
        });
        named.chain(drawn).flat_map(|(class, count)| std::iter::repeat_n(class, count)).collect()
    }
}
