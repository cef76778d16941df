//! Air time over time by kind of traffic, and how busy the channel was where it was busiest.

use std::fmt::Write as _;

use compotastic_sim::{ledger::Traffic, scenario::Run};

use super::sheet::{Mark, Sheet, WIDTH, time_axis, traffic_colour};
use crate::svg::{Panel, escape};

const LEFT: f64 = 70.0;
const RIGHT: f64 = 48.0;

/// A round time, as what follows "per".
fn per(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 86_400.0 => (s / 86_400.0, "days"),
        s if s >= 3600.0 => (s / 3600.0, "h"),
        s if s >= 60.0 => (s / 60.0, "min"),
        s => (s, "s"),
    };
    if value == 1.0 { unit.trim_end_matches("ays").into() } else { format!("{value:.0} {unit}") }
}

/// Draws it.
pub fn draw(run: &Run) -> String {
    let bin_s = run.ledger.bin().as_micros() as f64 / 1e6;
    let kinds: Vec<(Traffic, Vec<f64>)> = Traffic::ALL
        .into_iter()
        .map(|kind| (kind, run.ledger.bins(kind).iter().map(|us| *us as f64 / 1e6).collect::<Vec<_>>()))
        .filter(|(_, values)| values.iter().any(|value| *value > 0.0))
        .collect();
    let busiest = run.ledger.busiest();
    let bins = kinds.iter().map(|(_, values)| values.len()).chain([busiest.len()]).max().unwrap_or(0).max(1);
    let total = |bin: usize| kinds.iter().map(|(_, values)| values.get(bin).unwrap_or(&0.0)).sum::<f64>();
    let (unit_name, unit_s, step) = time_axis(bins as f64 * bin_s);
    let x_max = bins as f64 * bin_s / unit_s;
    let width = WIDTH - LEFT - RIGHT;
    let subtitle = format!(
        "{} transmissions, {:.0} s of air in all; sums over all nodes, per {}",
        run.report.transmissions,
        run.report.airtime_s,
        per(bin_s)
    );
    let mut sheet = Sheet::new("Air time", &subtitle);
    let legend = sheet
        .legend(kinds.iter().map(|(kind, _)| (Mark::Square(traffic_colour(*kind)), kind.name().to_string())));
    let y_max = (0..bins).map(total).fold(1e-3, f64::max) * 1.08;
    let upper = Panel { left: LEFT, top: legend + 14.0, width, height: 200.0, x_max, y_max };
    let highest = busiest.iter().map(|(percent, _)| *percent).fold(0.0, f64::max);
    let lower =
        Panel { top: upper.bottom() + 84.0, height: 150.0, y_max: (highest * 1.1).max(48.0), ..upper };
    let out = &mut sheet.out;
    upper.axes(out, "", &format!("s per {}", per(bin_s)), step);
    let x_of = |bin: usize| upper.x(bin as f64 * bin_s / unit_s);
    for bin in 0..bins {
        let mut base = 0.0;
        for (kind, values) in &kinds {
            let value = values.get(bin).copied().unwrap_or(0.0);
            if value > 0.0 {
                let (top, bottom) = (upper.y(base + value), upper.y(base));
                let _ = write!(
                    out,
                    r#"<rect x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}" fill="{}"><title>{}: {value:.1} s</title></rect>"#,
                    x_of(bin),
                    (x_of(bin + 1) - x_of(bin) - 0.8).max(0.4),
                    bottom - top,
                    traffic_colour(*kind),
                    kind.name()
                );
            }
            base += value;
        }
    }
    let name = busiest
        .iter()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .and_then(|(_, node)| run.header.nodes.get(*node))
        .map_or("-", |node| node.name.as_str());
    let _ = write!(
        out,
        r#"<text x="{LEFT}" y="{0:.1}" class="value">Channel use of the busiest node in its fullest minute, per {1}; highest {highest:.1} % ({2})</text><line class="gate" x1="{LEFT}" x2="{3}" y1="{4:.1}" y2="{4:.1}"/><text x="{5}" y="{6:.1}">gates: no bulk from 25 % on, nothing but alerts from 40 % on</text>"#,
        lower.top - 34.0,
        per(bin_s),
        escape(name),
        LEFT + 20.0,
        lower.top - 16.0,
        LEFT + 28.0,
        lower.top - 12.0
    );
    lower.axes(out, unit_name, "% of a minute", step);
    let mut path = format!("M{:.1} {:.1}", x_of(0), lower.bottom());
    for (bin, (percent, _)) in busiest.iter().enumerate() {
        let y = lower.y(*percent);
        let _ = write!(path, "L{:.1} {y:.1}L{:.1} {y:.1}", x_of(bin), x_of(bin + 1));
    }
    let _ =
        write!(out, r#"<path class="use" d="{path}L{:.1} {:.1}Z"/>"#, x_of(busiest.len()), lower.bottom());
    for gate in [25.0, 40.0] {
        let y = lower.y(gate);
        let _ = write!(
            out,
            r#"<line class="gate" x1="{LEFT}" x2="{0:.1}" y1="{y:.1}" y2="{y:.1}"/><text x="{1:.1}" y="{2:.1}" class="warn">{gate} %</text>"#,
            lower.right(),
            lower.right() + 6.0,
            y + 4.0
        );
    }
    sheet.finish(lower.bottom() + 50.0)
}
