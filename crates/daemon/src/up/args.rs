//! Flags of `compotastic up`.

use std::path::PathBuf;

use crate::{
    brain::ModelArgs, http::HttpArgs, people::PeopleConfig, runtime::QuietHours, share::ShareOptions,
};

/// Options of `up`.
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic up\n  compotastic up --radio serial:/dev/ttyUSB0\n  compotastic up --radio tcp:192.168.1.20 --listen 0.0.0.0:4480 --token-file /etc/compotastic/token\n  compotastic up --radio sim:scenarios/two-huts.toml --quiet-hours 22:00-06:00"
)]
pub struct UpArgs {
    /// Link to a mesh, one or several: serial:/dev/ttyUSB0, tcp:HOST[:4403], ble:NAME, udp:, mqtt://USER@HOST/ROOT, mqtts:// (TLS) or sim:SCENARIO.toml[#NODE];
    /// without it attached radios are looked for. One of several may be a radio; udp: and mqtt: go beside it under its number
    #[arg(long = "radio", value_name = "URL")]
    pub radios: Vec<String>,
    /// Other nodes' packets that came over MQTT may go on to UDP neighbours, whose radios may send them over LoRa
    #[arg(long)]
    pub mqtt_to_lora: bool,
    /// Authorities that brokers over TLS (mqtts://) are believed by, a PEM file, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// Folder of the daemon's state [default: $STATE_DIRECTORY, or the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// HTTP API
    #[command(flatten)]
    pub http: HttpArgs,
    /// Programs that share the radio
    #[command(flatten)]
    pub share: ShareOptions,
    /// Models
    #[command(flatten)]
    pub models: ModelArgs,
    /// People on stock phones
    #[command(flatten)]
    pub people: PeopleArgs,
    /// Only alerts and urgent matters go then, by this machine's clock in UTC plus --utc-offset
    #[arg(long, value_name = "FROM-TO")]
    pub quiet_hours: Option<QuietHours>,
    /// Hours that local time is ahead of UTC, for --quiet-hours
    #[arg(long, value_name = "HOURS", default_value_t = 0.0, allow_negative_numbers = true)]
    pub utc_offset: f32,
    /// Task of the mission
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub task: u8,
    /// A job without an answer ends with a reason after this time, unless it says another
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub job_minutes: u32,
    /// This machine runs on a battery: others spare it
    #[arg(long)]
    pub on_battery: bool,
    /// Go on trying where the radio is not there at the start, instead of ending with the reason
    #[arg(long)]
    pub wait: bool,
    /// What is logged: error, warn, info, debug or trace, also per part (compotastic_daemon=debug)
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// One JSON object a line instead of text for people
    #[arg(long)]
    pub log_json: bool,
}

/// Answers to people on stock phones.
#[derive(clap::Args, Clone, Debug)]
pub struct PeopleArgs {
    /// What a channel message begins with that is meant for this node; direct messages need none
    #[arg(long, value_name = "WORD", default_value = "@ai")]
    pub trigger: String,
    /// People are not answered
    #[arg(long)]
    pub no_people: bool,
    /// Node whose proven messages are trusted, such as !a1b2c3d4; all others are strangers
    #[arg(long, value_name = "NODE")]
    pub allow: Vec<String>,
    /// Only trusted nodes are answered
    #[arg(long)]
    pub no_strangers: bool,
    /// Channel in which answers go to everybody; elsewhere they go to whoever asked
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u8).range(0..=7))]
    pub public_channel: Vec<u8>,
}

impl PeopleArgs {
    /// What the desk is told.
    pub fn config(&self) -> PeopleConfig {
        PeopleConfig {
            enabled: !self.no_people,
            trigger: self.trigger.clone(),
            public_channels: self.public_channel.clone(),
            allow: self.allow.clone(),
            strangers: !self.no_strangers,
            ..PeopleConfig::default()
        }
    }
}
