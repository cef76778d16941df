//! One drawing as a file of its own: colours for light and dark, title, legend.

use std::fmt::Write as _;

use compotastic_sim::ledger::Traffic;

use crate::svg::escape;

/// Width of each drawing, user units.
pub const WIDTH: f64 = 900.0;
/// Where a drawing's content begins, below title and subtitle.
const TOP: f64 = 56.0;
/// Width of a letter of text, on average, user units.
const LETTER: f64 = 7.0;

const STYLE: &str = "\
.plot{--fg:#1c2430;--bg:#fff;--soft:#566070;--line:#e1e5ea;--warn:#c2410c;--good:#1f7a5c;font:12px system-ui,sans-serif}\
@media(prefers-color-scheme:dark){.plot{--fg:#e6e8eb;--bg:#14181d;--soft:#9aa4b2;--line:#2c333c;--warn:#fb923c;--good:#4cc29a}}\
.plot .ground{fill:var(--bg)}.plot text{fill:var(--soft)}.plot .title{font-size:16px;font-weight:600;fill:var(--fg)}\
.plot .name{fill:var(--fg);paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}\
.plot .value{fill:var(--fg)}.plot .grid{stroke:var(--line)}.plot .gate{stroke:var(--warn);stroke-dasharray:6 4;stroke-width:1.5}\
.plot .warn{fill:var(--warn)}.plot .bar{fill:#3b7dd8}.plot .use{fill:#3b7dd8;fill-opacity:.35;stroke:#3b7dd8;stroke-width:1.5}\
.plot .scale{stroke:var(--fg);stroke-width:2}.plot .lost{fill:var(--line)}";

/// A drawing that is being made.
pub struct Sheet {
    title: String,
    subtitle: String,
    /// What is drawn.
    pub out: String,
}

/// What a legend's entry shows beside its name.
pub enum Mark<'a> {
    /// A square of this colour.
    Square(&'a str),
    /// A line with these attributes.
    Line(&'a str),
    /// Anything that fits 12 by 12 units around this origin.
    Drawn(String),
}

impl Sheet {
    /// An empty drawing with its title.
    pub fn new(title: &str, subtitle: &str) -> Self {
        Self { title: escape(title), subtitle: escape(subtitle), out: String::new() }
    }

    /// Draws a legend below the title, with line breaks; where it ends.
    pub fn legend<'a>(&mut self, entries: impl IntoIterator<Item = (Mark<'a>, String)>) -> f64 {
        let (mut x, mut y) = (24.0, TOP + 12.0);
        for (mark, name) in entries {
            let width = 34.0 + text_width(&name);
            if x + width > WIDTH - 10.0 {
                (x, y) = (24.0, y + 18.0);
            }
            let drawn = match mark {
                Mark::Square(colour) => {
                    format!(r#"<rect x="-5" y="-5" width="10" height="10" rx="2" fill="{colour}"/>"#)
                }
                Mark::Line(attributes) => format!(r#"<line x1="-8" x2="8" y1="0" y2="0" {attributes}/>"#),
                Mark::Drawn(drawn) => drawn,
            };
            let _ = write!(
                self.out,
                r#"<g transform="translate({x:.1} {y:.1})">{drawn}<text x="13" y="4">{}</text></g>"#,
                escape(&name)
            );
            x += width;
        }
        y + 8.0
    }

    /// The finished drawing, so high.
    pub fn finish(self, height: f64) -> String {
        let Self { title, subtitle, out } = self;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}"><style>{STYLE}</style><rect class="ground" width="100%" height="100%"/><text x="16" y="26" class="title">{title}</text><text x="16" y="44">{subtitle}</text>{out}</svg>
"#
        )
    }
}

/// How wide a text is, about, user units.
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// Unit of the time axis for a run of so many seconds: its name, its length in seconds, and a round step.
pub fn time_axis(seconds: f64) -> (&'static str, f64, f64) {
    let (name, unit) = match seconds {
        s if s < 300.0 => ("seconds", 1.0),
        s if s < 3.0 * 3600.0 => ("minutes", 60.0),
        s if s < 4.0 * 86_400.0 => ("hours", 3600.0),
        _ => ("days", 86_400.0),
    };
    let length = seconds / unit;
    let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 100.0, 200.0];
    let hours = [0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0];
    let steps: &[f64] = if unit == 3600.0 { &hours } else { &steps };
    (name, unit, steps.iter().copied().find(|step| length / step <= 13.0).unwrap_or(length / 10.0))
}

/// Colour of a kind of traffic, readable on light and dark.
pub fn traffic_colour(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Job => "#3b7dd8",
        Traffic::Report => "#7fb2e5",
        Traffic::Beacon => "#4aa8b8",
        Traffic::Record => "#c2571a",
        Traffic::Symbol => "#e39a4f",
        Traffic::SymbolRequest => "#e8c468",
        Traffic::Ack => "#9c6fc4",
        Traffic::Stock => "#a3adba",
        Traffic::Text => "#2f9e73",
        Traffic::Other => "#b5485d",
    }
}
