//! A scenario that extends another one.

use serde::Deserialize;
use toml::Spanned;

use super::{
    ClassNames, FieldSettings, LinkSettings, MessageSettings, NodeSettings, OriginSettings, RadioSettings,
    ReportSettings, Scenario, ScenarioError, UpdateSettings,
};
use crate::bluetooth::BluetoothSettings;

/// A scenario of which anything may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    extends: Option<Spanned<String>>,
    name: Option<String>,
    description: Option<String>,
    preset: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    hours: Option<Spanned<f64>>,
    start_hour: Option<Spanned<f64>>,
    loss: Option<Spanned<f64>>,
    #[serde(default)]
    classes: ClassNames,
    origin: Option<OriginSettings>,
    bluetooth: Option<BluetoothSettings>,
    #[serde(default)]
    radio: RadioSettings,
    #[serde(default)]
    node: Vec<NodeSettings>,
    #[serde(default)]
    field: Vec<Spanned<FieldSettings>>,
    #[serde(default)]
    link: Vec<LinkSettings>,
    #[serde(default)]
    messages: Vec<MessageSettings>,
    #[serde(default)]
    reports: Vec<ReportSettings>,
    #[serde(default)]
    updates: Vec<UpdateSettings>,
}

/// All that is needed to see whether a scenario extends another; the rest is looked at later.
#[derive(Deserialize)]
struct Extends {
    extends: Option<Spanned<String>>,
}

fn replace<T>(value: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *value = by;
    }
}

impl Scenario {
    /// The scenario that a text extends.
    pub(super) fn extends_of(text: &str) -> Result<Option<Spanned<String>>, ScenarioError> {
        let extends: Extends = toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))?;
        Ok(extends.extends)
    }

    /// Another scenario with what a text says instead, and its lists after the other's.
    pub(super) fn read_over(text: &str, base: Self) -> Result<Self, ScenarioError> {
        let over: Overlay = toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))?;
        let mut merged = Self { extends: over.extends, ..base };
        replace(&mut merged.name, over.name);
        replace(&mut merged.description, over.description);
        replace(&mut merged.preset, over.preset);
        replace(&mut merged.region, over.region);
        replace(&mut merged.hours, over.hours);
        replace(&mut merged.start_hour, over.start_hour);
        replace(&mut merged.loss, over.loss);
        merged.class_names.extend(over.classes);
        merged.origin = over.origin.or(merged.origin);
        merged.bluetooth = over.bluetooth.or(merged.bluetooth);
        if over.radio.terrain.is_some() {
            merged.terrain = None;
        }
        merged.radio = RadioSettings {
            path_loss: over.radio.path_loss.or(merged.radio.path_loss),
            terrain: over.radio.terrain.or(merged.radio.terrain),
            exponent: over.radio.exponent.or(merged.radio.exponent),
            shadowing_db: over.radio.shadowing_db.or(merged.radio.shadowing_db),
            fading_db: over.radio.fading_db.or(merged.radio.fading_db),
            tx_power_dbm: over.radio.tx_power_dbm.or(merged.radio.tx_power_dbm),
            antenna_gain_dbi: over.radio.antenna_gain_dbi.or(merged.radio.antenna_gain_dbi),
            antenna_height_m: over.radio.antenna_height_m.or(merged.radio.antenna_height_m),
        };
        merged.node.extend(over.node);
        merged.field.extend(over.field);
        merged.link.extend(over.link);
        merged.messages.extend(over.messages);
        merged.reports.extend(over.reports);
        merged.updates.extend(over.updates);
        Ok(merged)
    }
}
