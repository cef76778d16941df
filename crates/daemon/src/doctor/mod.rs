//! `compotastic doctor`: what is wrong with a link, and how to mend it.
//!
//! Each link is opened as the daemon would open it, listened to for a moment, and closed. It sends no packet: nothing goes on
//! the air.

mod checks;
mod probe;

use std::{io::Write, path::PathBuf, time::Duration};

use compotastic_links::{LinkUrl, discover};
use serde::Serialize;

pub use self::{
    checks::{Seen, check_radio},
    probe::probe,
};

/// Says what is wrong with a link to the mesh and how to mend it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  compotastic doctor
  compotastic doctor --radio serial:/dev/ttyUSB0
  compotastic doctor --radio tcp:meshtastic.local --radio mqtt://me@broker/msh/EU_868 --json

Nothing is sent on the air. The exit code is 1 if something is broken.")]
pub struct DoctorArgs {
    /// A link to look at: serial:, tcp:, ble:, udp:, mqtt://, mqtts:// or sim:; may be given several times. Without it, the radios that are attached.
    #[arg(long = "radio", value_name = "URL")]
    pub radios: Vec<LinkUrl>,
    /// Authorities that brokers over TLS (mqtts://) are believed by, a PEM file, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// Seconds to listen to a link that works.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub listen: u64,
    /// Tells it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Broken,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// What was looked at: `link`, `firmware`, `region`, ...
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// How to mend it; empty where nothing is to be done.
    pub mend: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, check, what: what.into(), mend: String::new() }
    }

    /// It works, and could be better.
    pub fn warning(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, check, what: what.into(), mend: mend.into() }
    }

    /// It does not work.
    pub fn broken(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Broken, check, what: what.into(), mend: mend.into() }
    }
}

/// What was found on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The link, without passwords; `attached radios` where none was given and none is there.
    pub link: String,
    /// What was looked at, in that order.
    pub findings: Vec<Finding>,
}

/// What was found on all links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Links.
    pub links: Vec<LinkReport>,
    /// Findings that are broken.
    pub broken: usize,
    /// Findings that could be better.
    pub warnings: usize,
}

impl Report {
    fn new(links: Vec<LinkReport>) -> Self {
        let count = |severity| {
            links
                .iter()
                .flat_map(|link| &link.findings)
                .filter(|finding| finding.severity == severity)
                .count()
        };
        Self { broken: count(Severity::Broken), warnings: count(Severity::Warning), links }
    }

    /// The table for a person.
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        for link in &self.links {
            writeln!(out, "{}", link.link)?;
            for Finding { severity, check, what, mend } in &link.findings {
                let mark = match severity {
                    Severity::Ok => "ok",
                    Severity::Warning => "warning",
                    Severity::Broken => "BROKEN",
                };
                writeln!(out, "  {mark:<8} {check:<10} {what}")?;
                if !mend.is_empty() {
                    writeln!(out, "  {:<8} {:<10} -> {mend}", "", "")?;
                }
            }
        }
        Ok(())
    }
}

/// Looks at the links that are asked for, or at the radios that are attached.
pub async fn examine(args: &DoctorArgs) -> Report {
    let listen = Duration::from_secs(args.listen);
    let mut urls = args.radios.clone();
    let mut links = Vec::new();
    if urls.is_empty() {
        for found in discover() {
            match (found.problem.clone(), found.url().parse()) {
                (None, Ok(url)) => urls.push(url),
                (problem, _) => links.push(LinkReport {
                    link: found.url(),
                    findings: vec![Finding::broken(
                        "permission",
                        format!("{} may not be opened", found.path.display()),
                        problem.unwrap_or_default(),
                    )],
                }),
            }
        }
        if urls.is_empty() && links.is_empty() {
            links.push(LinkReport {
                link: "attached radios".into(),
                findings: vec![Finding::broken(
                    "link",
                    "no radio is attached: no USB serial port is there",
                    "attach one by a cable that carries data, or name a link: --radio tcp:HOST, or --radio sim: to try without",
                )],
            });
        }
    }
    for url in urls {
        links.push(LinkReport {
            link: url.to_string(),
            findings: probe(&url, listen, args.mqtt_ca.as_deref()).await,
        });
    }
    Report::new(links)
}

/// Runs the command.
///
/// # Errors
/// Something is broken, or standard output is.
pub fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(examine(&args));
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.write(&mut out)?;
    }
    match report.broken {
        0 => Ok(()),
        1 => anyhow::bail!("one thing is broken; see above how to mend it"),
        broken => anyhow::bail!("{broken} things are broken; see above how to mend them"),
    }
}
