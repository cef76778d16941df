//! Which link `up` uses: the ones that were named, or the radio that is attached.

use anyhow::{Context as _, Result, anyhow, bail};
use compotastic_links::{Found, LinkUrl};

/// What is offered where there is no radio.
const NO_RADIO: &str = "no radio is attached (no USB serial port of one was found). Plug one in, or name a link:\n  \
    compotastic up --radio tcp:HOST          a radio on the network\n  \
    compotastic up --radio ble:NAME          a radio over Bluetooth\n  \
    compotastic up --radio sim:              a simulated mesh, to try things out";

/// The links that were named.
pub fn parse(words: &[String]) -> Result<Vec<LinkUrl>> {
    words.iter().map(|word| word.parse::<LinkUrl>().map_err(anyhow::Error::from)).collect()
}

/// The one radio that is attached; an error that a person can act on where there is none, or more than one.
pub fn attached(found: &[Found]) -> Result<LinkUrl> {
    match found {
        [] => bail!(NO_RADIO),
        [one] => {
            if let Some(problem) = &one.problem {
                return Err(anyhow!("{} is attached and cannot be opened: {problem}", one.url()));
            }
            one.url().parse().with_context(|| format!("{} is attached, and its name is no link", one.url()))
        }
        many => {
            let lines: Vec<String> =
                many.iter().map(|found| format!("  compotastic up --radio {}", found.url())).collect();
            bail!("{} radios may be attached; say which one:\n{}", many.len(), lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn found(name: &str, problem: Option<&str>) -> Found {
        Found { path: PathBuf::from(name), by_id: None, problem: problem.map(str::to_owned) }
    }

    #[test]
    fn one_is_taken_none_and_several_are_explained() {
        let one = attached(&[found("/dev/ttyUSB0", None)]).unwrap();
        assert_eq!(one.to_string(), "serial:/dev/ttyUSB0");
        let none = attached(&[]).unwrap_err().to_string();
        assert!(none.contains("--radio sim:"), "{none}");
        let several =
            attached(&[found("/dev/ttyUSB0", None), found("/dev/ttyACM1", None)]).unwrap_err().to_string();
        assert!(several.contains("compotastic up --radio serial:/dev/ttyUSB0"), "{several}");
        assert!(several.contains("compotastic up --radio serial:/dev/ttyACM1"), "{several}");
        let locked =
            attached(&[found("/dev/ttyUSB0", Some("join the group dialout"))]).unwrap_err().to_string();
        assert!(locked.contains("dialout"), "{locked}");
    }

    #[test]
    fn words_that_are_no_link_are_refused_with_the_forms() {
        let error = parse(&["gopher:hole".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("gopher:hole") && error.contains("no link"), "{error}");
    }
}
