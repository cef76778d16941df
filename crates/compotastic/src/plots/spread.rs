//! Share of nodes that have an object, over time, one line per object.

use std::fmt::Write as _;

use compotastic_mesh::time::Instant;
use compotastic_sim::{recording::ObjectSeen, scenario::Run};

use super::{
    Drawing,
    sheet::{Mark, Sheet, WIDTH, time_axis},
};
use crate::svg::Panel;

const COLOURS: [&str; 8] =
    ["#3b7dd8", "#c2571a", "#2f9e73", "#9c6fc4", "#d4a017", "#b5485d", "#4aa8b8", "#8a94a3"];
const LEFT: f64 = 70.0;

/// Draws it.
pub fn draw(run: &Run) -> Drawing {
    let objects: Vec<(u32, &ObjectSeen)> = run
        .tally
        .objects
        .iter()
        .filter(|(_, seen)| !seen.since.is_empty())
        .map(|(tag, seen)| (*tag, seen))
        .collect();
    if objects.is_empty() {
        return Err("no object was spread in this run");
    }
    let nodes = run.header.nodes.len().max(1) as f64;
    let first = |seen: &ObjectSeen| seen.since.values().min().copied().unwrap_or_default();
    let after_s =
        |seen: &ObjectSeen, at: Instant| at.saturating_duration_since(first(seen)).as_micros() as f64 / 1e6;
    let longest_s = objects
        .iter()
        .flat_map(|(_, seen)| seen.since.values().map(|at| after_s(seen, *at)))
        .fold(1.0, f64::max)
        * 1.08;
    let (unit_name, unit_s, step) = time_axis(longest_s);
    let subtitle = format!("each from the moment at which its first node had it; {nodes:.0} nodes");
    let mut sheet = Sheet::new("Nodes that have an object", &subtitle);
    let colour = |index: usize| COLOURS[index % COLOURS.len()];
    let name = |tag: u32, seen: &ObjectSeen| {
        let version = seen.version.map_or(String::new(), |version| format!(", version {version}"));
        let from_h = first(seen).as_micros() as f64 / 3.6e9;
        format!("object {tag:08x}{version}: {} nodes, from {from_h:.2} h", seen.since.len())
    };
    let strokes: Vec<String> =
        (0..objects.len()).map(|index| format!(r#"stroke="{}" stroke-width="2.5""#, colour(index))).collect();
    let legend = sheet.legend(
        objects.iter().zip(&strokes).map(|((tag, seen), stroke)| (Mark::Line(stroke), name(*tag, seen))),
    );
    let panel = Panel {
        left: LEFT,
        top: legend + 14.0,
        width: WIDTH - LEFT - 24.0,
        height: 260.0,
        x_max: longest_s / unit_s,
        y_max: 100.0,
    };
    let out = &mut sheet.out;
    panel.axes(out, &format!("{unit_name} since the first node had it"), "% of nodes", step);
    for ((_, seen), stroke) in objects.iter().zip(&strokes) {
        let mut times: Vec<f64> = seen.since.values().map(|at| after_s(seen, *at)).collect();
        times.sort_by(f64::total_cmp);
        let mut path = format!("M{:.1} {:.1}", panel.x(0.0), panel.y(0.0));
        for (count, after) in (1..).zip(&times) {
            let _ = write!(
                path,
                "H{:.1}V{:.1}",
                panel.x(after / unit_s),
                panel.y(f64::from(count) * 100.0 / nodes)
            );
        }
        let _ = write!(out, r#"<path fill="none" {stroke} d="{path}H{:.1}"/>"#, panel.right());
    }
    Ok(sheet.finish(panel.bottom() + 50.0))
}
