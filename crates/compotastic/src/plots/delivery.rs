//! Delivery of messages by distance and by hops.

use std::fmt::Write as _;

use compotastic_sim::scenario::Run;

use super::{
    Drawing,
    sheet::{Mark, Sheet, WIDTH},
};
use crate::svg::Panel;

const LEFT: f64 = 70.0;
const GAP: f64 = 90.0;

fn bar(out: &mut String, panel: &Panel, slot: (usize, usize), value: f64, class: &str, title: &str) -> f64 {
    let (index, count) = slot;
    let width = panel.width / count as f64;
    let x = panel.left + width * index as f64;
    let bar_width = (width * 0.78).min(56.0);
    let (middle, y) = (x + width / 2.0, panel.y(value));
    let _ = write!(
        out,
        r#"<rect class="{class}" x="{:.1}" y="{y:.1}" width="{bar_width:.1}" height="{:.1}"><title>{title}</title></rect>"#,
        middle - bar_width / 2.0,
        panel.bottom() - y
    );
    middle
}

fn label(out: &mut String, x: f64, y: f64, text: &str) {
    let _ = write!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" class="value">{text}</text>"#);
}

/// Draws it.
pub fn draw(run: &Run) -> Drawing {
    let report = &run.report;
    if report.wanted == 0 {
        return Err("nobody was to receive a message in this run");
    }
    let width = (WIDTH - LEFT - GAP - 24.0) / 2.0;
    let subtitle = format!(
        "{} messages, {} receptions wanted, {} came about ({:.1} %)",
        report.messages,
        report.wanted,
        report.delivered,
        report.delivery.unwrap_or(0.0) * 100.0
    );
    let mut sheet = Sheet::new("Delivery of messages", &subtitle);
    let legend = sheet.legend([
        (Mark::Square("#3b7dd8"), "received".to_string()),
        (
            Mark::Drawn(r#"<rect x="-5" y="-5" width="10" height="10" rx="2" class="lost"/>"#.into()),
            "wanted".to_string(),
        ),
    ]);
    let distance = Panel { left: LEFT, top: legend + 26.0, width, height: 230.0, x_max: 1.0, y_max: 100.0 };
    let most = report.hops.iter().copied().max().unwrap_or(0).max(1) as f64;
    let hops = Panel { left: LEFT + width + GAP, y_max: most * 1.1, ..distance };
    let out = &mut sheet.out;
    distance.y_axis(out, "% received");
    let bins = report.by_distance.len();
    for (index, (upper_m, wanted, delivered)) in report.by_distance.iter().enumerate() {
        let share = *delivered as f64 * 100.0 / *wanted as f64;
        bar(out, &distance, (index, bins), 100.0, "lost", &format!("{wanted} wanted"));
        let title = format!("{delivered} of {wanted} up to {:.2} km", upper_m / 1000.0);
        let x = bar(out, &distance, (index, bins), share.min(100.0), "bar", &title);
        label(out, x, distance.top - 6.0, &format!("{share:.0} %"));
        label(out, x, distance.bottom() + 16.0, &kilometres(*upper_m));
        let _ = write!(
            out,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{wanted}</text>"#,
            distance.bottom() + 31.0
        );
    }
    let below = |out: &mut String, panel: &Panel, text: &str| {
        let x = panel.left + panel.width / 2.0;
        let _ = write!(
            out,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
            panel.bottom() + 52.0
        );
    };
    below(out, &distance, "distance up to, km; receptions wanted below");
    hops.y_axis(out, "receptions");
    let all = report.delivered.max(1) as f64;
    for (index, count) in report.hops.iter().enumerate() {
        let title = format!("{count} receptions over {} hops", index + 1);
        let x = bar(out, &hops, (index, report.hops.len()), *count as f64, "bar", &title);
        label(out, x, hops.y(*count as f64) - 6.0, &format!("{:.0} %", *count as f64 * 100.0 / all));
        label(out, x, hops.bottom() + 16.0, &(index + 1).to_string());
    }
    below(out, &hops, "hops that a reception took");
    Ok(sheet.finish(distance.bottom() + 66.0))
}

fn kilometres(metres: f64) -> String {
    match metres / 1000.0 {
        km if km >= 10.0 => format!("{km:.0}"),
        km if km >= 1.0 => format!("{km:.1}"),
        km => format!("{km:.2}"),
    }
}
