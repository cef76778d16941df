//! Ground between antennas: a height raster that the user supplies, and what it takes from a signal.
//!
//! The raster is an ESRI ASCII grid (`ncols`, `nrows`, `xllcorner`, `yllcorner` or their `...center` forms, `cellsize`,
//! optionally `NODATA_value`, then rows of heights from north to south), in metres on a projected grid: the same metres as the
//! scenario's positions.
//!
//! Loss over ground is that of ITU-R P.526-15, section 4.5.1 (Bullington's method): the horizons of both antennas, over an
//! earth of 4/3 of its radius, define one knife edge.

use std::fmt;

use crate::radio::Position;

/// Radius of the earth for radio, metres: 4/3 of 6371 km.
const RADIUS_M: f64 = 8_494_667.0;
/// Speed of light, m/s.
const LIGHT_M_S: f64 = 299_792_458.0;
/// Largest raster, cells.
pub const CELLS_MAX: usize = 25_000_000;
/// Points of a profile at most; a longer path is looked at in coarser steps.
const POINTS_MAX: usize = 2000;

/// A height raster.
#[derive(Clone, PartialEq)]
pub struct Terrain {
    columns: usize,
    rows: usize,
    west_m: f64,
    south_m: f64,
    cell_m: f64,
    /// Row by row from the south.
    heights_m: Vec<f32>,
}

impl fmt::Debug for Terrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terrain {{ {} x {} cells of {} m }}", self.columns, self.rows, self.cell_m)
    }
}

/// Why a raster was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerrainError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for TerrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: {}; an ESRI ASCII grid is expected (ncols, nrows, xllcorner, yllcorner, cellsize, rows)",
            self.line, self.what
        )
    }
}

impl std::error::Error for TerrainError {}

#[derive(Default)]
struct Head {
    columns: Option<usize>,
    rows: Option<usize>,
    west: Option<(f64, bool)>,
    south: Option<(f64, bool)>,
    cell_m: Option<f64>,
    no_data: Option<f64>,
}

impl Head {
    /// Takes a line of the head in; false if it is none.
    fn read(&mut self, line: &str) -> Result<bool, String> {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { return Ok(true) };
        if !key.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(false);
        }
        let value = words.next().ok_or_else(|| format!("{key} has no value"))?;
        let number: f64 = value.parse().map_err(|_| format!("{key} {value} is not a number"))?;
        let count = || {
            let whole = number.fract() == 0.0 && (1.0..=CELLS_MAX as f64).contains(&number);
            if whole {
                Ok(number as usize)
            } else {
                Err(format!("{key} {value} is not between 1 and {CELLS_MAX}"))
            }
        };
        match key.to_ascii_lowercase().as_str() {
            "ncols" => self.columns = Some(count()?),
            "nrows" => self.rows = Some(count()?),
            "xllcorner" => self.west = Some((number, false)),
            "xllcenter" => self.west = Some((number, true)),
            "yllcorner" => self.south = Some((number, false)),
            "yllcenter" => self.south = Some((number, true)),
            "cellsize" if number > 0.0 && number.is_finite() => self.cell_m = Some(number),
            "cellsize" => return Err(format!("cellsize {value} is not a length")),
            "nodata_value" => self.no_data = Some(number),
            _ => return Err(format!("{key} is not a key of such a grid")),
        }
        Ok(true)
    }
}

impl Terrain {
    /// Reads an ESRI ASCII grid. Cells without data are taken as sea level.
    pub fn parse(text: &str) -> Result<Self, TerrainError> {
        let refuse = |line: usize, what: String| TerrainError { line: line + 1, what };
        let mut head = Head::default();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((line, content)) = lines.peek() {
            if !head.read(content).map_err(|what| refuse(*line, what))? {
                break;
            }
            lines.next();
        }
        let (Some(columns), Some(rows), Some(cell_m)) = (head.columns, head.rows, head.cell_m) else {
            return Err(refuse(0, "ncols, nrows or cellsize is missing".to_string()));
        };
        let (Some(west), Some(south)) = (head.west, head.south) else {
            return Err(refuse(0, "xllcorner or yllcorner is missing".to_string()));
        };
        let cells = columns
            .checked_mul(rows)
            .filter(|cells| *cells <= CELLS_MAX)
            .ok_or_else(|| refuse(0, format!("{columns} x {rows} cells are more than {CELLS_MAX}")))?;
        // Not more than the text can hold, whatever it says of itself.
        let mut from_north: Vec<f32> = Vec::with_capacity(cells.min(text.len() / 2 + 1));
        let mut last = 0;
        for (line, content) in lines {
            last = line;
            for word in content.split_whitespace() {
                let height: f64 = word
                    .parse()
                    .ok()
                    .filter(|height: &f64| head.no_data == Some(*height) || height.abs() < 12_000.0)
                    .ok_or_else(|| refuse(line, format!("{word} is not a height in metres")))?;
                let sea = head.no_data == Some(height);
                from_north.push(if sea { 0.0 } else { height as f32 });
                if from_north.len() > cells {
                    return Err(refuse(line, format!("more than {columns} x {rows} heights")));
                }
            }
        }
        if from_north.len() < cells {
            let what = format!("{} heights, {columns} x {rows} are due", from_north.len());
            return Err(refuse(last, what));
        }
        let heights_m = from_north.chunks(columns).rev().flatten().copied().collect();
        // Heights are those of the middle of each cell.
        let middle = |(edge, centred): (f64, bool)| if centred { edge } else { edge + cell_m / 2.0 };
        Ok(Self { columns, rows, west_m: middle(west), south_m: middle(south), cell_m, heights_m })
    }

    /// Height of the ground, metres, between the four cells around; beyond the raster, that of its edge.
    pub fn height_m(&self, position: &Position) -> f64 {
        let along = |metres: f64, first: f64, count: usize| {
            let cells = ((metres - first) / self.cell_m).clamp(0.0, (count - 1) as f64);
            let low = (cells as usize).min(count.saturating_sub(2));
            (low, (low + 1).min(count - 1), cells - low as f64)
        };
        let (west, east, dx) = along(position.x_m, self.west_m, self.columns);
        let (south, north, dy) = along(position.y_m, self.south_m, self.rows);
        let at = |column: usize, row: usize| f64::from(self.heights_m[row * self.columns + column]);
        let lower = at(west, south) * (1.0 - dx) + at(east, south) * dx;
        let upper = at(west, north) * (1.0 - dx) + at(east, north) * dx;
        lower * (1.0 - dy) + upper * dy
    }

    /// West, south, east and north edge of what the raster covers, metres.
    pub fn bounds_m(&self) -> [f64; 4] {
        let half = self.cell_m / 2.0;
        [
            self.west_m - half,
            self.south_m - half,
            self.west_m + self.cell_m * self.columns as f64 - half,
            self.south_m + self.cell_m * self.rows as f64 - half,
        ]
    }

    /// Loss over the ground between two antennas of these heights above it, dB, on top of free space.
    pub fn diffraction_db(&self, from: (&Position, f64), to: (&Position, f64), frequency_hz: f64) -> f64 {
        let (a, b) = (from.0, to.0);
        let distance_m = a.distance_m(b);
        let steps = ((distance_m / self.cell_m) as usize).clamp(2, POINTS_MAX);
        let (start_m, end_m) = (self.height_m(a) + from.1, self.height_m(b) + to.1);
        let wave_m = LIGHT_M_S / frequency_hz;
        let line_slope = (end_m - start_m) / distance_m;
        // Steepest lines from each end to the ground between, over the bulge of the earth; and the largest parameter of any edge.
        let (mut up, mut down, mut clear) = (f64::MIN, f64::MIN, f64::MIN);
        for step in 1..steps {
            let share = step as f64 / steps as f64;
            let (here_m, rest_m) = (distance_m * share, distance_m * (1.0 - share));
            let ground =
                Position { x_m: a.x_m + (b.x_m - a.x_m) * share, y_m: a.y_m + (b.y_m - a.y_m) * share };
            let height_m = self.height_m(&ground) + here_m * rest_m / (2.0 * RADIUS_M);
            up = up.max((height_m - start_m) / here_m);
            down = down.max((height_m - end_m) / rest_m);
            let over_line_m = height_m - (start_m * rest_m + end_m * here_m) / distance_m;
            clear = clear.max(over_line_m * libm::sqrt(2.0 * distance_m / (wave_m * here_m * rest_m)));
        }
        let edge = if up < line_slope {
            clear
        } else {
            // Where the two horizons meet.
            let here_m = (end_m - start_m + down * distance_m) / (up + down);
            let (here_m, rest_m) = (here_m.clamp(1.0, distance_m - 1.0), (distance_m - here_m).max(1.0));
            let over_m = start_m + up * here_m - (start_m * rest_m + end_m * here_m) / distance_m;
            over_m * libm::sqrt(2.0 * distance_m / (wave_m * here_m * rest_m))
        };
        let knife_db = knife_edge_db(edge);
        knife_db + (1.0 - libm::exp(-knife_db / 6.0)) * (10.0 + 0.02 * distance_m / 1000.0)
    }
}

/// Loss of one knife edge with this diffraction parameter, dB (ITU-R P.526-15, equation 31).
fn knife_edge_db(parameter: f64) -> f64 {
    if parameter <= -0.78 {
        return 0.0;
    }
    let shifted = parameter - 0.1;
    6.9 + 20.0 * libm::log10(libm::sqrt(shifted * shifted + 1.0) + shifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x_m: f64, y_m: f64) -> Position {
        Position { x_m, y_m }
    }

    /// 11 x 3 cells of 100 m, a ridge of this height across the middle.
    fn ridge(height: u32) -> Terrain {
        let row = format!("0 0 0 0 0 {height} 0 0 0 0 0\n");
        let text = format!(
            "ncols 11\nnrows 3\nxllcenter 0\nyllcenter 0\ncellsize 100\nNODATA_value -9999\n{row}{row}{row}"
        );
        Terrain::parse(&text).unwrap()
    }

    #[test]
    fn heights_are_those_of_the_cells_and_between_them() {
        let text = "ncols 2\nnrows 2\nxllcorner 1000\nyllcorner 2000\ncellsize 100\n10 20\n30 -9999";
        assert!(Terrain::parse(text).is_ok(), "-9999 is a height where nothing says otherwise");
        let terrain =
            Terrain::parse(&text.replace("cellsize 100", "cellsize 100\nNODATA_value -9999")).unwrap();
        assert_eq!(terrain.height_m(&at(1050.0, 2150.0)), 10.0, "the first row is the northern one");
        assert_eq!(terrain.height_m(&at(1050.0, 2050.0)), 30.0);
        assert_eq!(terrain.height_m(&at(1150.0, 2050.0)), 0.0, "no data is sea level");
        assert_eq!(terrain.height_m(&at(1100.0, 2150.0)), 15.0);
        assert_eq!(terrain.height_m(&at(-9e6, 9e6)), 10.0, "beyond, the edge goes on");
        assert_eq!(terrain.bounds_m(), [1000.0, 2000.0, 1200.0, 2200.0]);
    }

    #[test]
    fn a_clear_path_loses_nothing_and_a_ridge_much() {
        let loss = |terrain: &Terrain, antenna_m: f64| {
            terrain.diffraction_db((&at(0.0, 100.0), antenna_m), (&at(1000.0, 100.0), antenna_m), 868e6)
        };
        assert_eq!(loss(&ridge(0), 30.0), 0.0);
        // Grazing: 6 dB of the edge and Bullington's 6.3.
        assert!((loss(&ridge(30), 30.0) - 12.4).abs() < 0.5, "{}", loss(&ridge(30), 30.0));
        assert!(loss(&ridge(60), 10.0) > 25.0);
        assert!(loss(&ridge(120), 10.0) > loss(&ridge(60), 10.0));
        // The same both ways.
        let terrain = ridge(80);
        let (a, b) = (at(0.0, 50.0), at(900.0, 120.0));
        let there = terrain.diffraction_db((&a, 2.0), (&b, 15.0), 868e6);
        let back = terrain.diffraction_db((&b, 15.0), (&a, 2.0), 868e6);
        assert!((there - back).abs() < 0.05, "{there} {back}");
    }

    #[test]
    fn the_knife_edge_is_that_of_the_recommendation() {
        // ITU-R P.526-15, figure 8: 6 dB where the edge touches the line, about 13 dB at 1 and 19 dB at 2.
        for (parameter, db) in [(-0.78, 0.0), (0.0, 6.0), (1.0, 13.9), (2.0, 19.0)] {
            assert!((knife_edge_db(parameter) - db).abs() < 0.3, "{parameter}");
        }
    }

    #[test]
    fn bad_rasters_get_a_clear_error() {
        let head = "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 10\n";
        for (text, says) in [
            (String::new(), "ncols, nrows or cellsize is missing"),
            (format!("{head}1 2\n3"), "3 heights, 2 x 2 are due"),
            (format!("{head}1 2\n3 4 5"), "more than 2 x 2 heights"),
            (format!("{head}1 two\n3 4"), "line 6: two is not a height"),
            (format!("{head}1 nan\n3 4"), "nan is not a height"),
            (head.replace("ncols 2", "ncols -2"), "ncols -2 is not between"),
            (head.replace("ncols 2", "ncols 25000000"), "are more than"),
            (head.replace("cellsize 10", "cellsize -10"), "cellsize -10 is not a length"),
            (head.replace("xllcorner", "left"), "left is not a key"),
        ] {
            let error = Terrain::parse(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
