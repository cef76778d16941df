//! The self-contained page of `demo --html`: map, air time over time, spread of the update, trade-off.

use std::fmt::Write as _;

use super::outcome::Outcome;
use crate::svg::{MapNode, Series, curve, escape, map, stacked_bars};

/// What the page shows beyond the outcome.
pub struct Pictures {
    /// Nodes with positions.
    pub nodes: Vec<MapNode>,
    /// Links good enough to count on, as pairs of indices into `nodes`.
    pub links: Vec<(usize, usize)>,
    /// Air time per kind over equal bins, seconds.
    pub airtime: Vec<Series>,
    /// Width of a bin, hours.
    pub bin_h: f64,
    /// The last answers, as lines for people.
    pub answers: Vec<String>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#1c2430;--bg:#fbfbf8;--soft:#8a94a3;--line:#d7dbe0;--accent:#1f7a5c;--warn:#c2571a}\
@media(prefers-color-scheme:dark){:root{--fg:#e6e8eb;--bg:#14181d;--soft:#8b95a3;--line:#2c333c;--accent:#4cc29a;--warn:#ef9a5b}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:780px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .4rem}svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}\
.grid{stroke:var(--line)}.mark{stroke:var(--warn);stroke-width:1.5}.curve{fill:none;stroke:var(--accent);stroke-width:2}.dot{fill:var(--accent)}\
.link{stroke:var(--line)}.edge{fill:var(--warn)}.updated{fill:var(--accent)}.waiting{fill:var(--soft)}\
.legend span{margin-right:1rem;font-size:.85rem}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}\
table{border-collapse:collapse;width:100%}td{padding:.2rem .4rem;border-bottom:1px solid var(--line)}td:last-child{text-align:right;font-variant-numeric:tabular-nums}\
.big{font-size:1.05rem}ul{padding-left:1.1rem}li{font-size:.9rem}";

/// The page as one HTML document.
pub fn render(o: &Outcome, pictures: &Pictures) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Compotastic: {0}</title><style>{STYLE}</style></head><body><h1>{0}</h1><p class=\"big\">{1} field nodes, {2}, {3}, \
         {4:.0} hours simulated, seed {5}</p>",
        escape(&o.scenario),
        o.nodes.field,
        escape(&o.preset),
        escape(&o.region),
        o.simulated_s / 3600.0,
        o.seed
    );
    let _ = write!(out, "<p>{}</p>", escape(&o.update.decision));
    out.push_str("<h2>Map</h2>");
    out.push_str(&map(&pictures.nodes, &pictures.links));
    out.push_str("<p class=\"legend\"><span><i style=\"background:var(--warn)\"></i>edge node</span><span><i style=\"background:var(--accent)\"></i>has the student</span><span><i style=\"background:var(--soft)\"></i>has not</span></p>");
    out.push_str("<h2>Air time</h2>");
    let mut marks = Vec::new();
    if let Some(at) = o.update.decided_at_s {
        marks.push((at / 3600.0, "push"));
        if let Some(after) = o.update.complete_after_s {
            marks.push(((at + after) / 3600.0, "all updated"));
        }
    }
    out.push_str(&stacked_bars(
        "air time over time",
        &format!("seconds per {:.0} min", pictures.bin_h * 60.0),
        pictures.bin_h,
        &pictures.airtime,
        &marks,
    ));
    if !o.update.activations_s.is_empty() {
        out.push_str("<h2>Spread of the update</h2>");
        let mut points = vec![(0.0, 0.0)];
        points.extend(
            o.update.activations_s.iter().enumerate().map(|(index, s)| (s / 60.0, (index + 1) as f64)),
        );
        let last = points.last().map_or(1.0, |point| point.0);
        let labels = ("minutes after the decision", "nodes with the student");
        out.push_str(&curve("spread", labels, last * 1.05, o.nodes.field as f64, &points, true));
    }
    if !o.trade_off.is_empty() {
        out.push_str("<h2>Accuracy against share answered locally</h2>");
        let points: Vec<(f64, f64)> = o.trade_off.iter().map(|p| (p.local_share, p.accuracy)).collect();
        out.push_str(&curve("trade-off", ("share answered locally", "accuracy"), 1.0, 1.0, &points, false));
    }
    out.push_str("<h2>Figures</h2><table>");
    for (name, value) in figures(o) {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value));
    }
    out.push_str("</table><h2>Some answers</h2><ul>");
    for line in &pictures.answers {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>");
    for note in &o.notes {
        let _ = write!(out, "<p>{}</p>", escape(note));
    }
    let _ = write!(out, "<p class=\"legend\">event log {}</p></body></html>", escape(&o.event_log_sha256));
    out
}

fn figures(o: &Outcome) -> Vec<(&'static str, String)> {
    let pct = |share: f64| format!("{:.1} %", share * 100.0);
    vec![
        ("jobs asked", o.jobs.submitted.to_string()),
        ("answered by the node itself", o.jobs.answered_local.to_string()),
        ("answered by another node", o.jobs.answered_remote.to_string()),
        ("failed", o.jobs.failed.to_string()),
        ("median latency", format!("{:.1} s", o.jobs.latency_p50_s)),
        ("air time per job before the push", format!("{:.0} ms", o.airtime.per_job_before_ms)),
        ("air time per job after the push", format!("{:.0} ms", o.airtime.per_job_after_ms)),
        ("bundle", format!("{} bytes", o.update.bundle_bytes)),
        ("nodes updated", format!("{} of {}", o.update.nodes_updated, o.update.nodes_total)),
        ("teacher accuracy", pct(o.model.teacher_accuracy)),
        ("student accuracy", pct(o.model.student_accuracy)),
        ("system accuracy", pct(o.model.system_accuracy)),
        (
            "urgent recall, teacher / system",
            format!("{} / {}", pct(o.model.teacher_urgent_recall), pct(o.model.system_urgent_recall)),
        ),
        ("highest channel use", format!("{:.1} %", o.airtime.max_channel_utilization_pct)),
        ("highest duty cycle", format!("{:.2} %", o.airtime.max_duty_cycle_pct)),
        ("sent over a gate", o.airtime.originations_over_gate.to_string()),
    ]
}
