//! All plots and figures of a run on one page that needs nothing else.

use std::fmt::Write as _;

use compotastic_sim::scenario::{Report, Run};

use crate::svg::escape;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f6f7f8;--ink:#1c2430;--mute:#566070;--rule:#dfe3e8}\
@media(prefers-color-scheme:dark){:root{--page:#0e1216;--ink:#e6e8eb;--mute:#9aa4b2;--rule:#2c333c}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:940px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--mute);margin:.2rem 0}\
svg{width:100%;height:auto;border:1px solid var(--rule);border-radius:6px}\
table{border-collapse:collapse;width:100%}td{padding:.2rem .4rem;border-bottom:1px solid var(--rule)}\
td:last-child{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.8rem;overflow-wrap:anywhere}";

/// Renders the page; each part is a title with its drawing, or why there is none.
pub fn render(run: &Run, parts: &[(&str, Result<&str, &&'static str>)]) -> String {
    let r = &run.report;
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}, seed {1}</title><style>{STYLE}</style></head><body><h1>{0}</h1>\
         <p>{2} nodes, {3} links, {4:.1} h simulated, {5}, {6}, seed {1}</p>\n",
        escape(&r.scenario),
        r.seed,
        r.nodes,
        r.links,
        r.simulated_s / 3600.0,
        run.header.preset,
        run.header.region,
    );
    out.push_str("<h2>Figures</h2><table>");
    for (name, value) in figures(r) {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(&name), escape(&value));
    }
    out.push_str("</table>\n");
    for (title, drawing) in parts {
        let _ = writeln!(out, "<h2>{title}</h2>");
        match drawing {
            Ok(svg) => out.push_str(svg),
            Err(why) => {
                let _ = writeln!(out, "<p>Left out: {}.</p>", escape(why));
            }
        }
    }
    let _ = writeln!(out, "<p>Event log <code>{}</code></p></body></html>", escape(&r.event_log_sha256));
    out
}

fn figures(r: &Report) -> Vec<(String, String)> {
    let seconds = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.1} s"));
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_string(), value));
    if r.messages > 0 {
        row("messages due", r.messages.to_string());
        let share = r.delivery.map_or(String::new(), |share| format!(" ({:.1} %)", share * 100.0));
        row("receptions, delivered of wanted", format!("{} of {}{share}", r.delivered, r.wanted));
        row("messages acknowledged / failed", format!("{} / {}", r.acked, r.failed));
        let latency = format!("{} / {}", seconds(r.latency_p50_s), seconds(r.latency_p95_s));
        row("latency of messages, half / 95 % within", latency);
    }
    if let Some(jobs) = &r.jobs {
        row("jobs", jobs.submitted.to_string());
        let ends = format!("{} / {} / {}", jobs.answered_local, jobs.answered_remote, jobs.failed);
        row("answered by the node itself / by another / failed", ends);
        let latency = format!("{} / {}", seconds(jobs.latency_p50_s), seconds(jobs.latency_p95_s));
        row("latency of jobs, half / 95 % within", latency);
    }
    for object in &r.objects {
        let version = object.version.map_or(String::new(), |version| format!(", version {version}"));
        let name = format!("object {}{version}", object.object);
        row(&name, format!("{} of {} nodes within {:.1} min", object.nodes, r.nodes, object.spread_s / 60.0));
    }
    row("transmissions", r.transmissions.to_string());
    row("air time of all nodes", format!("{:.0} s", r.airtime_s));
    row("of it for messages and acknowledgements", format!("{:.0} s", r.message_airtime_s));
    row("highest channel use in any minute", format!("{:.1} %", r.max_channel_utilization_pct));
    row("highest duty cycle in any hour", format!("{:.2} %", r.max_duty_cycle_pct));
    row("own packets sent over a gate", r.originations_over_gate.to_string());
    rows
}
