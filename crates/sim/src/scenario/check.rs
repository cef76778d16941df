//! What a scenario must keep to, and how it is told that it does not.

use std::{collections::HashMap, fmt, ops::Range};

use compotastic_mesh::{
    lora::{Preset, Region},
    router::FAVOURITES,
};
use toml::Spanned;

use super::{ClassNames, ClassWord, NODES_MAX, NodeKind, NodeSettings, Scenario, WalkSettings};
use crate::{energy::BatterySettings, motion::POINTS_MAX};

/// Names that mean more than one node.
pub(super) const RESERVED: [&str; 2] = ["any", "everybody"];
/// Longest simulated time, hours: a year.
const HOURS_MAX: f64 = 24.0 * 366.0;
/// Farthest coordinate, m.
const FAR_M: f64 = 10_000_000.0;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 { write!(f, "line {}: {}", self.line, self.what) } else { f.write_str(&self.what) }
    }
}

impl std::error::Error for ScenarioError {}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
}

impl ScenarioError {
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(0, |span| line_of(text, &span));
        Self { line, what: error.message().to_string() }
    }
}

struct Checker<'t> {
    text: &'t str,
}

impl Checker<'_> {
    fn refuse<T>(&self, at: &Spanned<T>, what: String) -> ScenarioError {
        ScenarioError { line: line_of(self.text, &at.span()), what }
    }

    fn within(&self, name: &str, value: &Spanned<f64>, range: Range<f64>) -> Result<(), ScenarioError> {
        let number = *value.get_ref();
        // Also false for what is not a number.
        if number >= range.start && number <= range.end {
            return Ok(());
        }
        Err(self.refuse(value, format!("{name} = {number} is not between {} and {}", range.start, range.end)))
    }

    fn perhaps(
        &self,
        name: &str,
        value: Option<&Spanned<f64>>,
        range: Range<f64>,
    ) -> Result<(), ScenarioError> {
        value.map_or(Ok(()), |value| self.within(name, value, range))
    }

    fn limit(&self, value: Option<&Spanned<i64>>) -> Result<(), ScenarioError> {
        value.map_or(Ok(()), |value| self.whole("unknown_limit", value, 0..i64::from(u16::MAX)))
    }

    fn class(&self, word: Option<&Spanned<ClassWord>>, names: &ClassNames) -> Result<(), ScenarioError> {
        let Some(word) = word else { return Ok(()) };
        match word.get_ref() {
            ClassWord::Number(0..=31) => Ok(()),
            ClassWord::Number(number) => {
                Err(self.refuse(word, format!("class = {number} is not between 0 and 31")))
            }
            ClassWord::Name(name) if names.number(name).is_some() => Ok(()),
            ClassWord::Name(name) => {
                Err(self.refuse(word, format!("class = \"{name}\" has no number: [classes] with {name} = N")))
            }
        }
    }

    fn whole(&self, name: &str, value: &Spanned<i64>, range: Range<i64>) -> Result<(), ScenarioError> {
        let number = *value.get_ref();
        if (range.start..=range.end).contains(&number) {
            return Ok(());
        }
        Err(self.refuse(value, format!("{name} = {number} is not between {} and {}", range.start, range.end)))
    }
}

impl Checker<'_> {
    fn walk(&self, walk: Option<&WalkSettings>) -> Result<(), ScenarioError> {
        let Some(walk) = walk else { return Ok(()) };
        self.within("radius_m", &walk.radius_m, 1.0..FAR_M)?;
        self.within("speed_m_s", &walk.speed_m_s, 0.01..500.0)?;
        self.within("rest_s", &walk.rest_s, 0.0..1e7)
    }

    fn battery(&self, battery: Option<&Spanned<BatterySettings>>) -> Result<(), ScenarioError> {
        let Some(battery) = battery else { return Ok(()) };
        let values = battery.get_ref();
        for (name, value, range) in [
            ("capacity_mwh", values.capacity_mwh, 1.0..1e9),
            ("charge", values.charge, 0.0..1.0),
            ("tx_mw", values.tx_mw, 0.0..1e5),
            ("listen_mw", values.listen_mw, 0.0..1e5),
            ("sleep_mw", values.sleep_mw, 0.0..1e5),
            ("compute_mw", values.compute_mw, 0.0..1e5),
            ("solar_peak_mw", values.solar_peak_mw, 0.0..1e6),
            ("clouds", values.clouds, 0.0..1.0),
        ] {
            if !(value >= range.start && value <= range.end) {
                let what = format!("{name} = {value} is not between {} and {}", range.start, range.end);
                return Err(self.refuse(battery, what));
            }
        }
        Ok(())
    }

    /// How a node moves, and its battery.
    fn moves(&self, node: &NodeSettings, names: &HashMap<&str, ()>) -> Result<(), ScenarioError> {
        let ways = [node.track.is_some(), node.gpx.is_some(), node.walk.is_some(), node.visits.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            let what =
                format!("node \"{}\" has more than one of track, gpx, walk and visits", node.name.get_ref());
            return Err(self.refuse(&node.name, what));
        }
        if let Some(track) = &node.track {
            let points = track.get_ref();
            let finite = points.iter().all(|[at_s, x_m, y_m]| {
                (0.0..1e9).contains(at_s) && x_m.abs() <= FAR_M && y_m.abs() <= FAR_M
            });
            let rises = points.windows(2).all(|pair| pair[0][0] <= pair[1][0]);
            if points.is_empty() || points.len() > POINTS_MAX || !finite || !rises {
                let what = format!(
                    "track: waypoints are [seconds, x_m, y_m], their times rise, and there are 1 to {POINTS_MAX}"
                );
                return Err(self.refuse(track, what));
            }
        }
        self.walk(node.walk.as_ref())?;
        if let Some(visits) = &node.visits {
            if visits.nodes.get_ref().is_empty() {
                return Err(self.refuse(&visits.nodes, "visits: no node is named".to_string()));
            }
            for name in visits.nodes.get_ref() {
                if !names.contains_key(name.get_ref().as_str()) {
                    return Err(
                        self.refuse(name, format!("visits: \"{}\" names no [[node]]", name.get_ref()))
                    );
                }
            }
            self.within("speed_m_s", &visits.speed_m_s, 0.01..500.0)?;
            self.within("stay_s", &visits.stay_s, 0.0..1e7)?;
        }
        self.battery(node.battery.as_ref())
    }

    /// Links that are known: between two nodes with names, each pair once.
    fn links(&self, scenario: &Scenario, names: &HashMap<&str, ()>) -> Result<(), ScenarioError> {
        let mut pairs = HashMap::new();
        for link in &scenario.link {
            let [a, b] = link.between.get_ref();
            if let Some(name) = [a, b].into_iter().find(|name| !names.contains_key(name.as_str())) {
                return Err(self.refuse(&link.between, format!("between: \"{name}\" names no [[node]]")));
            }
            if a == b {
                return Err(self.refuse(&link.between, format!("between: \"{a}\" has no link to itself")));
            }
            if pairs.insert((a.min(b), a.max(b)), ()).is_some() {
                return Err(
                    self.refuse(&link.between, format!("between: \"{a}\" and \"{b}\" have a link above"))
                );
            }
            self.within("snr_db", &link.snr_db, -40.0..40.0)?;
            self.perhaps("back_snr_db", link.back_snr_db.as_ref(), -40.0..40.0)?;
        }
        Ok(())
    }

    /// Reports and bundles of nodes of ours.
    fn swarm(&self, scenario: &Scenario) -> Result<(), ScenarioError> {
        let named = |name: &str| scenario.node.iter().find(|node| node.name.get_ref() == name);
        let reports = |kind: NodeKind| matches!(kind, NodeKind::Field | NodeKind::Hosted);
        let anybody = scenario.node.iter().any(|node| reports(node.kind))
            || scenario.field.iter().any(|field| reports(field.get_ref().kind));
        for report in &scenario.reports {
            let name = report.from.get_ref().as_str();
            let known = named(name).is_some_and(|node| reports(node.kind));
            if !(anybody && (known || name == "any")) {
                let what = format!("from = \"{name}\" names no [[node]] of kind field or hosted");
                return Err(self.refuse(&report.from, what));
            }
            self.within("every_s", &report.every_s, 1.0..1e9)?;
        }
        let mut newest = 0;
        for update in &scenario.updates {
            let name = update.from.get_ref().as_str();
            if named(name).is_none_or(|node| node.kind != NodeKind::Edge) {
                let what = format!("from = \"{name}\" names no [[node]] of kind edge");
                return Err(self.refuse(&update.from, what));
            }
            self.within("at_s", &update.at_s, 0.0..1e9)?;
            self.whole("version", &update.version, newest + 1..60_000)?;
            newest = *update.version.get_ref();
        }
        Ok(())
    }
}

pub(super) fn check(scenario: &Scenario, text: &str) -> Result<(), ScenarioError> {
    let checker = Checker { text };
    let preset = &scenario.preset;
    let parsed: Preset = preset.get_ref().parse().map_err(|_| {
        checker.refuse(preset, format!("preset = \"{}\" is none; LONG_FAST is the default", preset.get_ref()))
    })?;
    let region = &scenario.region;
    let region_parsed: Region = region.get_ref().parse().map_err(|_| {
        checker.refuse(region, format!("region = \"{}\" is none; EU_868 and US are some", region.get_ref()))
    })?;
    if !region_parsed.allows(parsed) {
        let what = format!("preset = \"{}\" is not allowed in region {}", preset.get_ref(), region.get_ref());
        return Err(checker.refuse(preset, what));
    }
    scenario.class_names.check(text)?;
    checker.within("hours", &scenario.hours, 0.001..HOURS_MAX)?;
    checker.within("loss", &scenario.loss, 0.0..1.0)?;
    checker.within("start_hour", &scenario.start_hour, 0.0..24.0)?;
    if let Some(origin) = &scenario.origin {
        checker.within("latitude", &origin.latitude, -89.0..89.0)?;
        checker.within("longitude", &origin.longitude, -180.0..180.0)?;
    }
    if let Some(bluetooth) = &scenario.bluetooth {
        checker.within("range_m", &bluetooth.range_m, 1.0..1000.0)?;
        checker.within("bytes_per_s", &bluetooth.bytes_per_s, 1.0..1e6)?;
        checker.within("loss", &bluetooth.loss, 0.0..0.99)?;
        checker.within("connect_s", &bluetooth.connect_s, 0.0..600.0)?;
    }
    let radio = &scenario.radio;
    checker.perhaps("exponent", radio.exponent.as_ref(), 2.0..6.0)?;
    checker.perhaps("shadowing_db", radio.shadowing_db.as_ref(), 0.0..20.0)?;
    checker.perhaps("fading_db", radio.fading_db.as_ref(), 0.0..20.0)?;
    checker.perhaps("tx_power_dbm", radio.tx_power_dbm.as_ref(), -20.0..36.0)?;
    checker.perhaps("antenna_gain_dbi", radio.antenna_gain_dbi.as_ref(), -20.0..30.0)?;
    checker.perhaps("antenna_height_m", radio.antenna_height_m.as_ref(), 0.1..1000.0)?;
    let mut names: HashMap<&str, ()> = HashMap::new();
    for node in &scenario.node {
        let name = node.name.get_ref().as_str();
        if name.is_empty() || RESERVED.contains(&name) {
            return Err(checker.refuse(&node.name, format!("name = \"{name}\" cannot be a node's name")));
        }
        if names.insert(name, ()).is_some() {
            return Err(checker.refuse(&node.name, format!("name = \"{name}\" is taken by a node above")));
        }
        checker.within("x_m", &node.x_m, -FAR_M..FAR_M)?;
        checker.within("y_m", &node.y_m, -FAR_M..FAR_M)?;
        checker.perhaps("antenna_height_m", node.antenna_height_m.as_ref(), 0.1..1000.0)?;
        checker.perhaps("antenna_gain_dbi", node.antenna_gain_dbi.as_ref(), -20.0..30.0)?;
        checker.class(node.class.as_ref(), &scenario.class_names)?;
        checker.limit(node.unknown_limit.as_ref())?;
    }
    for node in &scenario.node {
        checker.moves(node, &names)?;
        for (index, favourite) in node.favourites.iter().enumerate() {
            let name = favourite.get_ref().as_str();
            if !names.contains_key(name) {
                return Err(checker.refuse(favourite, format!("favourites: \"{name}\" names no [[node]]")));
            }
            if index >= FAVOURITES {
                let what =
                    format!("favourites: \"{name}\" is one more than the {FAVOURITES} that a node has");
                return Err(checker.refuse(favourite, what));
            }
        }
    }
    let mut nodes = scenario.node.len();
    for field in &scenario.field {
        let field = field.get_ref();
        checker.whole("count", &field.count, 1..NODES_MAX as i64)?;
        checker.within("x_m", &field.x_m, -FAR_M..FAR_M)?;
        checker.within("y_m", &field.y_m, -FAR_M..FAR_M)?;
        checker.within("width_m", &field.width_m, 1.0..FAR_M)?;
        checker.within("height_m", &field.height_m, 1.0..FAR_M)?;
        checker.class(field.class.as_ref(), &scenario.class_names)?;
        checker.limit(field.unknown_limit.as_ref())?;
        checker.walk(field.walk.as_ref())?;
        checker.battery(field.battery.as_ref())?;
        nodes += *field.count.get_ref() as usize;
        if nodes > NODES_MAX {
            return Err(
                checker.refuse(&field.count, format!("{nodes} nodes in all are more than {NODES_MAX}"))
            );
        }
    }
    if nodes == 0 {
        return Err(ScenarioError {
            line: 0,
            what: "no [[node]] and no [[field]]: nobody is there".to_string(),
        });
    }
    checker.links(scenario, &names)?;
    for message in &scenario.messages {
        for (key, value) in [("from", &message.from), ("to", &message.to)] {
            let name = value.get_ref().as_str();
            let everybody = name == "everybody" && key == "to";
            if everybody || name == "any" {
                continue;
            }
            match scenario.node.iter().find(|node| node.name.get_ref() == name) {
                None => return Err(checker.refuse(value, format!("{key} = \"{name}\" names no [[node]]"))),
                Some(node) if node.kind.is_ours() => {
                    let what = format!(
                        "{key} = \"{name}\" is a node of ours; people have stock nodes, ours have [[reports]]"
                    );
                    return Err(checker.refuse(value, what));
                }
                Some(_) => {}
            }
        }
        let of_drawn =
            scenario.field.iter().map(|field| field.get_ref()).filter(|field| !field.kind.is_ours());
        let stock = scenario.node.iter().filter(|node| !node.kind.is_ours()).count()
            + of_drawn.map(|field| *field.count.get_ref() as usize).sum::<usize>();
        if stock < 2 && message.to.get_ref() != "everybody" || stock == 0 {
            let what = "messages are those of people with stock nodes, and there are not enough of them";
            return Err(checker.refuse(&message.to, what.to_string()));
        }
        checker.within("every_s", &message.every_s, 1.0..1e9)?;
        checker.whole("length", &message.length, 1..200)?;
        checker.whole("hop_limit", &message.hop_limit, 0..7)?;
    }
    checker.swarm(scenario)
}
