//! Which link `up` uses: the ones that were named, or the radio that is attached.

use anyhow::{Context as _, Result, anyhow, bail};
use compotastic_links::{Found, LinkUrl};

/// What is offered where there is no radio.
fn no_radio(command: &str) -> String {
    format!(
        "no radio is attached (no USB serial port of one was found). Plug one in, or name a link:\n  \
         {command} --radio tcp:HOST          a radio on the network\n  \
         {command} --radio ble:NAME          a radio over Bluetooth\n  \
         {command} --radio sim:              a simulated mesh, to try things out"
    )
}

/// The links that were named.
pub fn parse(words: &[String]) -> Result<Vec<LinkUrl>> {
    words.iter().map(|word| word.parse::<LinkUrl>().map_err(anyhow::Error::from)).collect()
}

/// The one radio that is attached; an error that a person can act on where there is none, or more than one. `command` is what wants it.
pub fn attached(found: &[Found], command: &str) -> Result<LinkUrl> {
    match found {
        [] => bail!(no_radio(command)),
        [one] => {
            if let Some(problem) = &one.problem {
                return Err(anyhow!("{} is attached and cannot be opened: {problem}", one.url()));
            }
            one.url().parse().with_context(|| format!("{} is attached, and its name is no link", one.url()))
        }
        many => {
            let lines: Vec<String> =
                many.iter().map(|found| format!("  {command} --radio {}", found.url())).collect();
            bail!("{} radios may be attached; say which one:\n{}", many.len(), lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const UP: &str = "compotastic up";

    fn found(name: &str, problem: Option<&str>) -> Found {
        Found { path: PathBuf::from(name), by_id: None, problem: problem.map(str::to_owned) }
    }

    #[test]
    fn one_is_taken_none_and_several_are_explained() {
        let one = attached(&[found("/dev/ttyUSB0", None)], UP).unwrap();
        assert_eq!(one.to_string(), "serial:/dev/ttyUSB0");
        let none = attached(&[], UP).unwrap_err().to_string();
        assert!(none.contains("compotastic up --radio sim:"), "{none}");
        let leave = attached(&[], "compotastic swarm leave").unwrap_err().to_string();
        assert!(
            leave.contains("compotastic swarm leave --radio tcp:HOST") && !leave.contains("up --"),
            "{leave}"
        );
        let several = attached(&[found("/dev/ttyUSB0", None), found("/dev/ttyACM1", None)], UP)
            .unwrap_err()
            .to_string();
        assert!(several.contains("compotastic up --radio serial:/dev/ttyUSB0"), "{several}");
        assert!(several.contains("compotastic up --radio serial:/dev/ttyACM1"), "{several}");
        let locked =
            attached(&[found("/dev/ttyUSB0", Some("join the group dialout"))], UP).unwrap_err().to_string();
        assert!(locked.contains("dialout"), "{locked}");
    }

    #[test]
    fn words_that_are_no_link_are_refused_with_the_forms() {
        let error = parse(&["gopher:hole".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("gopher:hole") && error.contains("no link"), "{error}");
    }
}
