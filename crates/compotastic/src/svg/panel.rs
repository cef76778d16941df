//! A rectangle with axes, into which values are drawn.

use std::fmt::Write as _;

use super::escape;

/// Where a panel lies in its drawing, in user units, and what its right and upper edges mean; both axes begin at 0.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Value at the right edge.
    pub x_max: f64,
    /// Value at the upper edge.
    pub y_max: f64,
}

impl Panel {
    /// Where a value lies along the drawing.
    pub fn x(&self, value: f64) -> f64 {
        self.left + value / self.x_max * self.width
    }

    /// Where a value lies down the drawing.
    pub fn y(&self, value: f64) -> f64 {
        self.bottom() - value / self.y_max * self.height
    }

    /// Right edge.
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Both axes, with lines across.
    pub fn axes(&self, out: &mut String, x_label: &str, y_label: &str, x_step: f64) {
        self.y_axis(out, y_label);
        let mut tick = 0.0;
        while tick <= self.x_max * 1.0001 {
            self.x_tick(out, tick, &short(tick));
            tick += x_step;
        }
        self.x_label(out, x_label);
    }

    /// The axis at the left, with lines across.
    pub fn y_axis(&self, out: &mut String, label: &str) {
        let step = nice_step(self.y_max);
        let mut tick = 0.0;
        while tick <= self.y_max * 1.0001 {
            let y = self.y(tick);
            let _ = write!(
                out,
                r#"<line x1="{}" x2="{}" y1="{y:.1}" y2="{y:.1}" class="grid"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                self.left,
                self.right(),
                self.left - 6.0,
                y + 4.0,
                short(tick)
            );
            tick += step;
        }
        let (x, y) = (self.left - 40.0, self.top + self.height / 2.0);
        let _ = write!(
            out,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" transform="rotate(-90 {x:.1} {y:.1})">{}</text>"#,
            escape(label)
        );
    }

    /// A number below the panel.
    pub fn x_tick(&self, out: &mut String, at: f64, label: &str) {
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            self.x(at),
            self.bottom() + 16.0,
            escape(label)
        );
    }

    /// What the axis below the panel means.
    pub fn x_label(&self, out: &mut String, label: &str) {
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            self.left + self.width / 2.0,
            self.bottom() + 34.0,
            escape(label)
        );
    }
}

/// A round step of which about five fit.
pub fn nice_step(max: f64) -> f64 {
    let rough = (max / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let unit = rough / power;
    let nice = if unit <= 1.0 {
        1.0
    } else if unit <= 2.0 {
        2.0
    } else if unit <= 5.0 {
        5.0
    } else {
        10.0
    };
    nice * power
}

/// A number without needless digits.
pub fn short(value: f64) -> String {
    let digits = format!("{value:.2}");
    digits.trim_end_matches('0').trim_end_matches('.').to_string()
}
