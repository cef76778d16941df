//! Small SVG drawings: a map, stacked bars over time, step curves. No scripts, no outside resources.

mod panel;

use std::fmt::Write as _;

pub use panel::{Panel, nice_step, short};

/// Width of each drawing, user units.
const WIDTH: f64 = 720.0;
const MARGIN_TOP: f64 = 12.0;

/// One coloured series of values over equal time bins.
pub struct Series {
    /// Legend.
    pub name: String,
    /// CSS colour.
    pub colour: &'static str,
    /// One value per bin.
    pub values: Vec<f64>,
}

/// Height of a drawing with axes around its panel, and the panel.
fn framed(height: f64, x_max: f64, y_max: f64) -> (f64, Panel) {
    let (left, right, bottom) = (54.0, 12.0, 40.0);
    let size = (WIDTH - left - right, height - MARGIN_TOP - bottom);
    (height, Panel { left, top: MARGIN_TOP, width: size.0, height: size.1, x_max, y_max })
}

/// Text made safe for SVG and HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn open(height: f64, title: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">"#, escape(title))
}

/// Stacked bars over time. `bin_h` is the width of a bin in hours; `marks` are vertical lines with a label.
pub fn stacked_bars(
    title: &str,
    y_label: &str,
    bin_h: f64,
    series: &[Series],
    marks: &[(f64, &str)],
) -> String {
    let bins = series.iter().map(|one| one.values.len()).max().unwrap_or(0).max(1);
    let total =
        |bin: usize| series.iter().map(|one| one.values.get(bin).copied().unwrap_or(0.0)).sum::<f64>();
    let y_max = (0..bins).map(total).fold(1e-6, f64::max) * 1.05;
    let (height, frame) = framed(260.0, bins as f64 * bin_h, y_max);
    let mut out = open(height, title);
    frame.axes(&mut out, "hours", y_label, nice_step(frame.x_max));
    for bin in 0..bins {
        let mut base = 0.0;
        for one in series {
            let value = one.values.get(bin).copied().unwrap_or(0.0);
            if value > 0.0 {
                let (left, right) = (frame.x(bin as f64 * bin_h), frame.x((bin + 1) as f64 * bin_h));
                let (top, bottom) = (frame.y(base + value), frame.y(base));
                let _ = write!(
                    out,
                    r#"<rect x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}" fill="{}"><title>{}: {value:.1}</title></rect>"#,
                    (right - left - 0.6).max(0.4),
                    bottom - top,
                    one.colour,
                    escape(&one.name)
                );
            }
            base += value;
        }
    }
    for (index, (hour, label)) in marks.iter().enumerate() {
        let x = frame.x(*hour);
        // Labels of marks that are close must not cover one another.
        let y = 22 + 14 * index;
        let _ = write!(
            out,
            r#"<line x1="{x:.1}" x2="{x:.1}" y1="{MARGIN_TOP}" y2="{:.1}" class="mark"/><text x="{:.1}" y="{y}">{}</text>"#,
            frame.bottom(),
            x + 4.0,
            escape(label)
        );
    }
    out.push_str("</svg>");
    out.push_str(&legend(series.iter().map(|one| (one.colour, one.name.as_str()))));
    out
}

/// A line through points, as steps or straight.
pub fn curve(
    title: &str,
    labels: (&str, &str),
    x_max: f64,
    y_max: f64,
    points: &[(f64, f64)],
    steps: bool,
) -> String {
    let (height, frame) = framed(240.0, x_max.max(1e-6), y_max.max(1e-6));
    let mut out = open(height, title);
    frame.axes(&mut out, labels.0, labels.1, nice_step(frame.x_max));
    let mut path = String::new();
    let mut last: Option<f64> = None;
    for (x, y) in points {
        let (px, py) = (frame.x(*x), frame.y(*y));
        match last {
            None => {
                let _ = write!(path, "M{px:.1} {py:.1}");
            }
            Some(previous) if steps => {
                let _ = write!(path, "L{px:.1} {previous:.1}L{px:.1} {py:.1}");
            }
            Some(_) => {
                let _ = write!(path, "L{px:.1} {py:.1}");
            }
        }
        last = Some(py);
    }
    let _ = write!(out, r#"<path d="{path}" class="curve"/>"#);
    if !steps {
        for (x, y) in points {
            let _ = write!(
                out,
                r#"<circle cx="{:.1}" cy="{:.1}" r="2.5" class="dot"><title>{x:.2}, {y:.3}</title></circle>"#,
                frame.x(*x),
                frame.y(*y)
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// A node on the map.
pub struct MapNode {
    /// Name shown.
    pub name: String,
    /// Metres.
    pub x_m: f64,
    /// Metres.
    pub y_m: f64,
    /// CSS class: `edge`, `updated` or `waiting`.
    pub class: &'static str,
    /// Shown when pointed at.
    pub detail: String,
}

/// The map: links as lines, nodes as dots, a scale bar.
pub fn map(nodes: &[MapNode], links: &[(usize, usize)]) -> String {
    let bound = |pick: fn(&MapNode) -> f64| {
        let (low, high) = nodes
            .iter()
            .map(pick)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        (low, (high - low).max(1.0))
    };
    let (x_low, x_span) = bound(|node| node.x_m);
    let (y_low, y_span) = bound(|node| node.y_m);
    let scale = (WIDTH - 60.0) / x_span.max(y_span * 1.2);
    let height = y_span * scale + 90.0;
    let at = |node: &MapNode| (30.0 + (node.x_m - x_low) * scale, 30.0 + (node.y_m - y_low) * scale);
    let mut out = open(height, "map of the nodes and their links");
    for (a, b) in links {
        let (Some(a), Some(b)) = (nodes.get(*a), nodes.get(*b)) else { continue };
        let ((x1, y1), (x2, y2)) = (at(a), at(b));
        let _ = write!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="link"/>"#);
    }
    for node in nodes {
        let (x, y) = at(node);
        let radius = if node.class == "edge" { 9 } else { 6 };
        let _ = write!(
            out,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" class="{}"><title>{}</title></circle><text x="{:.1}" y="{:.1}">{}</text>"#,
            node.class,
            escape(&node.detail),
            x + 9.0,
            y + 4.0,
            escape(&node.name)
        );
    }
    let bar_m = nice_step(x_span) / 2.0;
    let bar = bar_m * scale;
    let _ = write!(
        out,
        r#"<line x1="30" x2="{:.1}" y1="{:.1}" y2="{:.1}" class="mark"/><text x="30" y="{:.1}">{} km</text></svg>"#,
        30.0 + bar,
        height - 26.0,
        height - 26.0,
        height - 10.0,
        short(bar_m / 1000.0)
    );
    out
}

fn legend<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from(r#"<p class="legend">"#);
    for (colour, name) in items {
        let _ = write!(out, r#"<span><i style="background:{colour}"></i>{}</span>"#, escape(name));
    }
    out.push_str("</p>");
    out
}

/// A file of its own: mean over x with a band around it, as (x, mean, half the width of the band); both axes from 0.
pub fn band(title: &str, labels: (&str, &str), points: &[(f64, f64, f64)]) -> String {
    let most = |of: fn(&(f64, f64, f64)) -> f64| points.iter().map(of).fold(1e-6, f64::max);
    let (height, frame) = framed(260.0, most(|point| point.0), most(|point| point.1 + point.2).max(1.0));
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {}" role="img" aria-label="{}"><style>text{{font:12px sans-serif;fill:#556}}.grid{{stroke:#dde}}.curve{{fill:none;stroke:#1a7a5a;stroke-width:2}}.band{{fill:#1a7a5a;fill-opacity:.18}}</style><rect width="100%" height="100%" fill="white"/>"#,
        height,
        escape(title)
    );
    frame.axes(&mut out, labels.0, labels.1, nice_step(frame.x_max));
    let corner = |x: f64, y: f64| format!("{:.1},{:.1} ", frame.x(x), frame.y(y.max(0.0)));
    let upper = points.iter().map(|(x, mean, half)| corner(*x, mean + half));
    let lower = points.iter().rev().map(|(x, mean, half)| corner(*x, mean - half));
    let _ = write!(out, r#"<polygon class="band" points="{}"/>"#, upper.chain(lower).collect::<String>());
    let line: String = points.iter().map(|(x, mean, _)| corner(*x, *mean)).collect();
    let _ = write!(out, r#"<polyline class="curve" points="{line}"/></svg>"#);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_cannot_break_out_of_the_page() {
        let node = MapNode {
            name: "<script>".into(),
            x_m: 0.0,
            y_m: 0.0,
            class: "edge",
            detail: "\"><script>alert(1)</script>".into(),
        };
        let drawn = map(&[node], &[(0, 7)]);
        assert!(!drawn.contains("<script>"));
    }

    #[test]
    fn empty_series_still_draw_axes() {
        let drawn = stacked_bars("t", "s", 1.0, &[], &[]);
        assert!(drawn.starts_with("<svg") && drawn.contains("hours"));
        assert!(curve("t", ("x", "y"), 0.0, 0.0, &[], true).contains("<path"));
    }
}
