//! Device classes on the command line: numbers, which devices and manifests know, or names, which people gave them in a scenario or in a file.

use std::{io::ErrorKind, path::PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use compotastic_bundle::ClassMask;
use compotastic_sim::{files, scenario::ClassNames};

use super::key::trust_file;

/// Classes are below this.
const CLASSES: u8 = 32;
/// No file of names is longer, bytes; a scenario is one too.
const LONGEST: u64 = 16 << 20;

/// Where names are kept.
#[derive(Args, Clone, Debug, Default)]
pub struct ClassFile {
    /// Names of device classes: [classes] with NAME = N, as in a scenario [default: ~/.config/compotastic/classes.toml, if it is there]
    #[arg(long = "classes", value_name = "FILE")]
    names_file: Option<PathBuf>,
}

impl ClassFile {
    fn names(&self) -> Result<ClassNames> {
        let (path, is_given) = match &self.names_file {
            Some(path) => (path.clone(), true),
            None => match trust_file::config_folder() {
                Some(folder) => (folder.join("classes.toml"), false),
                None => return Ok(ClassNames::default()),
            },
        };
        let text = match files::read_text(&path, LONGEST) {
            Err(error) if !is_given && error.kind() == ErrorKind::NotFound => {
                return Ok(ClassNames::default());
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        ClassNames::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    /// The number of a class: written so, or by a name of `near` (a scenario's own) or of the file.
    pub fn number(&self, word: &str, near: Option<&ClassNames>) -> Result<u8> {
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return match word.parse() {
                Ok(class) if class < CLASSES => Ok(class),
                _ => bail!("there is no device class {word}: classes are 0 to 31"),
            };
        }
        if let Some(class) = near.and_then(|names| names.number(word)) {
            return Ok(class);
        }
        let file = self.names()?;
        file.number(word).ok_or_else(|| {
            let mut known: Vec<&str> = near.into_iter().flat_map(ClassNames::names).chain(file.names()).collect();
            known.sort_unstable();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            anyhow!(
                "no device class is named \"{word}\"; known by name: {known}. Give its number, 0 to 31, or name it: [classes] with {word} = N \
                 in the scenario or in --classes FILE"
            )
        })
    }
}

/// Classes that something is for.
#[derive(Args)]
pub struct ClassArgs {
    /// Device classes that it is for, 0 to 31 or by name, comma separated
    #[arg(long = "class", value_delimiter = ',', required = true, value_name = "N")]
    classes: Vec<String>,
    #[command(flatten)]
    file: ClassFile,
}

impl ClassArgs {
    /// The set of them.
    pub fn mask(&self) -> Result<ClassMask> {
        let mut mask = 0;
        for class in &self.classes {
            mask |= ClassMask::of(self.file.number(class, None)?).0;
        }
        Ok(ClassMask(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        let names = ClassNames::parse("[classes]\ngauge = 3\n").expect("a table");
        let file = ClassFile::default();
        let number = |word| file.number(word, Some(&names));
        assert_eq!((number("3").ok(), number("31").ok(), number("gauge").ok()), (Some(3), Some(31), Some(3)));
        assert!(number("32").expect_err("too high").to_string().contains("0 to 31"));
        for bad in ["gauge = 32", "\"3\" = 3", "\"a,b\" = 3", "gauge = \"3\""] {
            assert!(ClassNames::parse(&format!("[classes]\n{bad}\n")).is_err(), "{bad}");
        }
    }
}
