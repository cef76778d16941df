//! The summary that a person reads when the demo has ended.

use std::fmt::Write as _;

use super::outcome::Outcome;

const BAR: usize = 28;

fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// The whole summary, ready to print.
pub fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    let o = outcome;
    let _ = writeln!(
        out,
        "\n{}: {} field nodes and {} edge node{}, up to {} hops, {} {}, {:.0} h simulated in {:.1} s",
        o.scenario,
        o.nodes.field,
        o.nodes.edge,
        if o.nodes.edge == 1 { "" } else { "s" },
        o.nodes.max_hops,
        o.preset,
        o.region,
        o.simulated_s / 3600.0,
        o.wall_s
    );
    jobs(&mut out, o);
    airtime(&mut out, o);
    update(&mut out, o);
    model(&mut out, o);
    let _ = writeln!(out, "\nHops from the edge node");
    let most = f64::from(o.hop_histogram.iter().copied().max().unwrap_or(1).max(1));
    for (index, count) in o.hop_histogram.iter().enumerate() {
        let _ = writeln!(out, "  {:>2}  {} {count}", index + 1, bar(f64::from(*count) / most));
    }
    for note in &o.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    let _ = writeln!(
        out,
        "\nseed {} · event log {}…",
        o.seed,
        &o.event_log_sha256[..16.min(o.event_log_sha256.len())]
    );
    out
}

fn jobs(out: &mut String, o: &Outcome) {
    let j = &o.jobs;
    let _ = writeln!(out, "\nJobs");
    let _ = writeln!(
        out,
        "  asked {}   answered here {}   answered there {}   failed {}{}",
        j.submitted,
        j.answered_local,
        j.answered_remote,
        j.failed,
        if j.open_at_end > 0 { format!("   still open at the end {}", j.open_at_end) } else { String::new() }
    );
    let _ = writeln!(
        out,
        "  latency: half within {}, 95 % within {}",
        span(j.latency_p50_s),
        span(j.latency_p95_s)
    );
    if j.submitted_after > 0 {
        let _ = writeln!(
            out,
            "  once a node had its student it answered {} of its {} reports itself",
            percent(j.local_share_after),
            j.submitted_after
        );
    }
    for (reason, count) in &j.failures {
        let _ = writeln!(out, "  failed: {count} × {reason}");
    }
}

fn airtime(out: &mut String, o: &Outcome) {
    let a = &o.airtime;
    let _ = writeln!(out, "\nAir time (all transmitters)");
    let _ = writeln!(out, "  per job before the push {:>7.0} ms", a.per_job_before_ms);
    if a.per_job_after_ms > 0.0 {
        let _ = writeln!(out, "  per job after the push  {:>7.0} ms", a.per_job_after_ms);
    }
    if let Some(break_even) = o.update.break_even_jobs {
        let _ = writeln!(out, "  break-even after        {break_even:>7.0} jobs");
    }
    for (kind, seconds) in &a.by_kind_s {
        let _ = writeln!(out, "  {kind:<22} {} {seconds:>8.1} s", bar(seconds / a.total_s.max(1e-9)));
    }
    let _ = writeln!(
        out,
        "  highest channel use {:.1} % · highest duty {:.2} % (limit {:.0} %) · sent over a gate: {}",
        a.max_channel_utilization_pct, a.max_duty_cycle_pct, a.duty_cycle_limit_pct, a.originations_over_gate
    );
}

fn update(out: &mut String, o: &Outcome) {
    let u = &o.update;
    let _ = writeln!(out, "\nThe push");
    let _ = writeln!(out, "  {}", u.decision);
    if u.decided_at_s.is_some() {
        let _ = writeln!(
            out,
            "  bundle {} bytes; {} transmissions, {:.0} s of air, {} bytes on the air",
            u.bundle_bytes, u.transmissions, u.airtime_s, u.on_air_bytes
        );
        let _ = writeln!(
            out,
            "  {} {} of {} nodes updated{}",
            bar(u.nodes_updated as f64 / u.nodes_total.max(1) as f64),
            u.nodes_updated,
            u.nodes_total,
            u.complete_after_s.map(|s| format!(", the last after {}", span(s))).unwrap_or_default()
        );
    }
}

fn model(out: &mut String, o: &Outcome) {
    let m = &o.model;
    if m.test_reports == 0 {
        return;
    }
    let _ = writeln!(out, "\nModels on {} test reports in {} classes", m.test_reports, m.classes.len());
    let _ = writeln!(
        out,
        "  teacher {:<22} {} {}",
        m.teacher,
        bar(m.teacher_accuracy),
        percent(m.teacher_accuracy)
    );
    if o.update.decided_at_s.is_none() {
        return;
    }
    let _ = writeln!(
        out,
        "  student alone ({} B){:<9} {} {}",
        m.student_bytes,
        "",
        bar(m.student_accuracy),
        percent(m.student_accuracy)
    );
    let _ = writeln!(
        out,
        "  system ({} answered here)  {} {}",
        percent(m.system_local_share),
        bar(m.system_accuracy),
        percent(m.system_accuracy)
    );
    let _ = writeln!(
        out,
        "  urgent reports missed: teacher {}, system {}",
        percent(1.0 - m.teacher_urgent_recall),
        percent(1.0 - m.system_urgent_recall)
    );
    if !o.trade_off.is_empty() {
        let _ = writeln!(out, "  trade-off: share answered here → accuracy of the system");
        for point in o.trade_off.iter().step_by((o.trade_off.len() / 8).max(1)) {
            let _ = writeln!(
                out,
                "    {:>7}  {} {}",
                percent(point.local_share),
                bar(point.accuracy),
                percent(point.accuracy)
            );
        }
    }
}
