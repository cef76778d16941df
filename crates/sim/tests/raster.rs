//! The height raster of the ready scenario: made by this file, and the same as what is committed.
//!
//! `WRITE_RASTER=1 cargo test -p compotastic-sim --test raster` writes it anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use compotastic_sim::{radio::Position, terrain::Terrain};

const COLUMNS: usize = 80;
const ROWS: usize = 60;
const CELL_M: f64 = 100.0;

/// A valley from west to east: its floor swings and rises, its walls are steep, and a spur comes down from the north.
fn height_m(x_m: f64, y_m: f64) -> f64 {
    let floor_m = 3000.0 + 350.0 * libm::sin(x_m / 1700.0);
    let across = (y_m - floor_m) / 1000.0;
    let walls = 260.0 * across * across / (1.0 + 0.12 * across * across);
    let along = (x_m - 4500.0) / 420.0;
    let from_north = ((y_m - floor_m + 500.0) / 1600.0).clamp(0.0, 1.0);
    let spur = 240.0 * from_north * libm::exp(-along * along);
    620.0 + 0.02 * x_m + walls + spur
}

fn raster() -> String {
    let mut text = format!(
        "ncols {COLUMNS}\nnrows {ROWS}\nxllcorner 0\nyllcorner 0\ncellsize {CELL_M:.0}\nNODATA_value -9999\n"
    );
    for row in (0..ROWS).rev() {
        let heights: Vec<String> = (0..COLUMNS)
            .map(|column| {
                let middle = |index: usize| (index as f64 + 0.5) * CELL_M;
                format!("{:.0}", height_m(middle(column), middle(row)))
            })
            .collect();
        writeln!(text, "{}", heights.join(" ")).unwrap();
    }
    text
}

#[test]
fn the_raster_is_what_this_file_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/valley.asc");
    if std::env::var_os("WRITE_RASTER").is_some() {
        fs::write(&path, raster()).unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    assert!(text == raster(), "write it anew: WRITE_RASTER=1 cargo test -p compotastic-sim --test raster");
    let terrain = Terrain::parse(&text).unwrap();
    let at = |x_m: f64, y_m: f64| Position { x_m, y_m };
    let (west, east) = (at(3600.0, 3250.0), at(5400.0, 3050.0));
    let blocked = terrain.diffraction_db((&west, 1.5), (&east, 1.5), 869.5e6);
    let over_spur = terrain.diffraction_db((&west, 1.5), (&at(4500.0, 3900.0), 4.0), 869.5e6);
    assert!(blocked > over_spur, "the spur stands between: {blocked} dB against {over_spur} dB");
}
