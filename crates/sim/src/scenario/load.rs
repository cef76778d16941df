//! Scenarios from files: what a scenario extends, its height raster and its GPX tracks lie beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::Spanned;

use super::{Scenario, ScenarioError, check, check::line_of};
use crate::{files, motion::Track, terrain::Terrain};

/// Scenarios that extend one another, at most.
const DEPTH_MAX: usize = 16;

fn at<T>(text: &str, value: &Spanned<T>, what: String) -> ScenarioError {
    ScenarioError { line: line_of(text, &value.span()), what }
}

/// Largest scenario, height raster or track, bytes: a raster of 4,000 by 4,000 cells is about half of it.
const LARGEST: u64 = 256 << 20;

fn read(path: &Path) -> Result<String, String> {
    files::read_text(path, LARGEST).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

impl Scenario {
    /// Reads a scenario and all files that it names, and checks all of it. Errors name the line of this file, or the file that it
    /// extends.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        load(path, &mut Vec::new())
    }
}

fn load(path: &Path, chain: &mut Vec<PathBuf>) -> Result<Scenario, ScenarioError> {
    let whole = |what: String| ScenarioError { line: 0, what };
    let text = read(path).map_err(|what| whole(format!("{what}; `compotastic sim new` makes a scenario")))?;
    let own = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    chain.push(own);
    let beside = |name: &str| path.parent().unwrap_or(Path::new("")).join(name);
    let mut scenario = match Scenario::extends_of(&text)? {
        None => Scenario::read(&text)?,
        Some(extends) => {
            let base_path = beside(extends.get_ref());
            let known =
                fs::canonicalize(&base_path).ok().and_then(|base| chain.iter().position(|one| *one == base));
            if let Some(first) = known {
                let names: Vec<String> = chain[first..].iter().map(|one| file_name(one)).collect();
                let what = format!(
                    "extends = \"{}\" closes a circle: {} -> {}",
                    extends.get_ref(),
                    names.join(" -> "),
                    names[0]
                );
                return Err(at(&text, &extends, what));
            }
            if chain.len() >= DEPTH_MAX {
                return Err(at(
                    &text,
                    &extends,
                    format!("more than {DEPTH_MAX} scenarios extend one another"),
                ));
            }
            if !base_path.is_file() {
                let what =
                    format!("extends = \"{}\": there is no file {}", extends.get_ref(), base_path.display());
                return Err(at(&text, &extends, what));
            }
            let base = load(&base_path, chain).map_err(|error| {
                at(&text, &extends, format!("extends = \"{}\": {error}", extends.get_ref()))
            })?;
            Scenario::read_over(&text, base)?
        }
    };
    if let Some(terrain) = &scenario.radio.terrain
        && scenario.terrain.is_none()
    {
        let read = read(&beside(terrain.get_ref()))
            .and_then(|raster| Terrain::parse(&raster).map_err(|error| error.to_string()));
        let raster = read.map_err(|what| {
            at(
                &text,
                terrain,
                format!("terrain = \"{}\": {what}; an ESRI ASCII grid is expected", terrain.get_ref()),
            )
        })?;
        scenario.terrain = Some(Arc::new(raster));
    }
    let origin =
        scenario.origin.as_ref().map(|origin| (*origin.latitude.get_ref(), *origin.longitude.get_ref()));
    for node in &mut scenario.node {
        let Some(gpx) = &node.gpx else { continue };
        if node.track_read.is_some() {
            continue;
        }
        let Some(origin) = origin else {
            return Err(at(&text, gpx, "a GPX track needs [origin] with latitude and longitude".to_string()));
        };
        let track = read(&beside(gpx.get_ref()))
            .and_then(|gpx| Track::from_gpx(&gpx, origin).map_err(|error| error.to_string()))
            .map_err(|what| at(&text, gpx, format!("gpx = \"{}\": {what}", gpx.get_ref())))?;
        node.track_read = Some(track);
    }
    check::check(&scenario, &text)?;
    Ok(scenario)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
