//! `compotastic status`: how the daemon is.

use anyhow::Result;

use super::{
    client::{ApiArgs, Client},
    table::{Align, age, clean, table},
};
use crate::seam::{ObjectView, Snapshot};

/// Shows how the daemon, its links and its air are
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic status\n  compotastic status --json | jq .airtime.gate\n  compotastic --api http://192.168.1.7:4480 status --token-file token"
)]
pub struct StatusArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// A gate in words.
pub(super) fn gate_text(gate: &str) -> &str {
    match gate {
        "open" => "open",
        "polite" => "polite: no bulk above 25 %",
        "hard" => "hard: alerts alone above 40 %",
        "duty-cycle" => "the region's duty cycle is used up",
        "quiet-hours" => "quiet hours",
        "lan-share" => "the share of the air behind the LAN is used up",
        "no-telemetry" => "no telemetry from the radio: bulk waits",
        other => other,
    }
}

/// Rows of objects.
pub(super) fn object_rows(objects: &[ObjectView]) -> Vec<Vec<String>> {
    let row = |object: &ObjectView| {
        let what = match (object.published_here, object.paused) {
            (true, true) => "published here, paused",
            (true, false) => "published here",
            (false, true) => "paused",
            (false, false) => "",
        };
        vec![
            object.tag.clone(),
            clean(&object.kind),
            object.version.to_string(),
            object.bytes.to_string(),
            format!("{} %", object.progress_percent),
            object.complete_at.len().to_string(),
            object.runs_at.as_ref().map_or_else(String::new, |runs| runs.len().to_string()),
            what.to_string(),
        ]
    };
    objects.iter().map(row).collect()
}

/// Columns of objects.
pub(super) const OBJECT_COLUMNS: [(&str, Align); 8] = [
    ("object", Align::Left),
    ("kind", Align::Left),
    ("version", Align::Right),
    ("bytes", Align::Right),
    ("here", Align::Right),
    ("nodes", Align::Right),
    ("run it", Align::Right),
    ("", Align::Left),
];

pub(super) fn text(state: &Snapshot) -> String {
    let swarm = state.swarm.as_deref().map_or_else(
        || "none: `compotastic swarm join` joins one, until then the node only listens".to_string(),
        clean,
    );
    let air = &state.airtime;
    let mut out = [
        format!("node      {} ({})", state.id, state.mode),
        format!("swarm     {swarm}"),
        format!("radio     {}, {}", state.region, state.preset),
        format!("up        {}", age(state.uptime_s)),
        format!("model     {}", state.model.as_deref().map_or_else(|| "none here".to_string(), clean)),
        format!("jobs      {} open", state.open_jobs),
        format!(
            "nodes     {} heard, {} of the swarm",
            state.nodes.len(),
            state.nodes.iter().filter(|node| node.member).count()
        ),
        format!(
            "air       {:.1} % used by all (25 % polite, 40 % hard), {:.2} % by us in the last hour of {:.0} % allowed",
            air.channel_utilization_percent, air.air_util_tx_percent, air.duty_cycle_percent
        ),
        format!(
            "gate      {}; bulk may use {:.1} %, periodic sends are stretched by {:.1}",
            gate_text(&air.gate),
            air.bulk_share_percent,
            air.congestion_factor
        ),
    ]
    .join("\n");
    out.push('\n');
    let links: Vec<Vec<String>> = state
        .links
        .iter()
        .map(|link| {
            vec![clean(&link.url), link.state.clone(), link.reconnects.to_string(), clean(&link.detail)]
        })
        .collect();
    if links.is_empty() {
        out.push_str(
            "\nNo link. `compotastic up --radio ...` makes one; `compotastic doctor` looks for radios.\n",
        );
    } else {
        let columns = [
            ("link", Align::Left),
            ("state", Align::Left),
            ("reconnects", Align::Right),
            ("detail", Align::Left),
        ];
        out.push('\n');
        out.push_str(&table(&columns, &links));
        for link in state.links.iter().filter(|link| !link.not_bridged.is_empty()) {
            out.push_str(&format!("not to {}: {}\n", clean(&link.url), clean(&link.not_bridged)));
        }
    }
    if !state.objects.is_empty() {
        out.push('\n');
        out.push_str(&table(&OBJECT_COLUMNS, &object_rows(&state.objects)));
    }
    if !air.by_purpose.is_empty() {
        let rows: Vec<Vec<String>> = air
            .by_purpose
            .iter()
            .map(|row| {
                vec![
                    clean(&row.purpose),
                    row.packets.to_string(),
                    format!("{:.1}", row.airtime_ms as f64 / 1000.0),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(
            &[("sent for", Align::Left), ("packets", Align::Right), ("air s", Align::Right)],
            &rows,
        ));
    }
    out
}

/// Runs `status`.
pub fn run(args: StatusArgs) -> Result<()> {
    let state: Snapshot = Client::new(&args.api)?.get("/api/status")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&state)?);
    } else {
        print!("{}", text(&state));
    }
    Ok(())
}
