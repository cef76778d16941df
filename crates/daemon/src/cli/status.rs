//! `compotastic status`: how the daemon is.

use anyhow::Result;

use super::{
    client::{ApiArgs, Client},
    table::{Align, age, clean, table},
};
use crate::seam::{AirtimeView, ObjectView, Snapshot};

/// Shows how the daemon, its links and its air are
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic status\n  compotastic status --json | jq .airtime.gate\n  compotastic status --api http://192.168.1.7:4480 --token-file token"
)]
pub struct StatusArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// The gate in words.
pub(super) fn gate_text(air: &AirtimeView) -> String {
    // A daemon of an older version does not tell its figures.
    let from = |percent: f32| if percent > 0.0 { format!(" from {percent:.0} % on") } else { String::new() };
    match air.gate.as_str() {
        "polite" => format!("polite: no bulk{}", from(air.polite_percent)),
        "hard" => format!("hard: alerts alone{}", from(air.hard_percent)),
        "starting" => "starting: alerts alone in the first minute".to_owned(),
        "duty-cycle" => "the region's duty cycle is used up".to_owned(),
        "quiet-hours" => "quiet hours".to_owned(),
        "lan-share" => "the share of the air behind the LAN is used up".to_owned(),
        "no-telemetry" => "no telemetry from the radio: bulk waits".to_owned(),
        other => clean(other),
    }
}

/// How much of the air is used, and where the gates stand.
pub(super) fn used_text(air: &AirtimeView) -> String {
    let used = match air.known {
        true => format!("{:.1} % used by all", air.channel_utilization_percent),
        false => "not yet known".to_owned(),
    };
    match air.hard_percent > 0.0 {
        true => format!("{used} ({:.0} % polite, {:.0} % hard)", air.polite_percent, air.hard_percent),
        false => used,
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
            "air       {}, {:.2} % by us in the last hour of {:.0} % allowed",
            used_text(air),
            air.air_util_tx_percent,
            air.duty_cycle_percent
        ),
        format!(
            "gate      {}; bulk may use {:.1} %, periodic sends are stretched by {:.1}",
            gate_text(air),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_gates_and_none_is_shown_of_what_is_not_known() {
        let air = |gate: &str| AirtimeView {
            gate: gate.to_owned(),
            channel_utilization_percent: 21.25,
            known: true,
            polite_percent: 15.0,
            hard_percent: 20.0,
            ..AirtimeView::default()
        };
        assert_eq!(gate_text(&air("hard")), "hard: alerts alone from 20 % on");
        assert_eq!(gate_text(&air("polite")), "polite: no bulk from 15 % on");
        assert_eq!(used_text(&air("hard")), "21.2 % used by all (15 % polite, 20 % hard)");
        let starting = AirtimeView { known: false, channel_utilization_percent: 0.0, ..air("starting") };
        assert_eq!(used_text(&starting), "not yet known (15 % polite, 20 % hard)");
        assert!(gate_text(&starting).contains("first minute"));
        // What a daemon says that knows nothing of this.
        let old = r#"{"channel_utilization_percent":3,"air_util_tx_percent":0,"duty_cycle_percent":10,"bulk_share_percent":5,"gate":"hard",
            "congestion_factor":1,"by_purpose":[]}"#;
        let old: AirtimeView = serde_json::from_str(old).unwrap();
        assert_eq!(
            (gate_text(&old), used_text(&old)),
            ("hard: alerts alone".into(), "3.0 % used by all".into())
        );
    }
}
