//! What a radio told, in types that own their bytes.

use compotastic_client::app::Radio;
use compotastic_messages as messages;

use super::{ChannelInfo, NodeInfo, RadioInfo, Telemetry};

/// Nodes that are kept; firmware knows fewer.
const NODES: usize = 2048;

/// Collects the nodes of a handshake.
#[derive(Debug, Default)]
pub struct Nodes(Vec<NodeInfo>);

impl Nodes {
    /// A new state follows.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a node; the answer is what is kept of it.
    pub fn handle(&mut self, node: &messages::NodeInfo<'_>) -> NodeInfo {
        let node = NodeInfo::from(node);
        match self.0.iter().position(|known| known.num == node.num) {
            Some(known) => self.0[known] = node.clone(),
            None if self.0.len() < NODES => self.0.push(node.clone()),
            None => {}
        }
        node
    }
}

impl From<&messages::NodeInfo<'_>> for NodeInfo {
    fn from(node: &messages::NodeInfo<'_>) -> Self {
        let user = node.user.clone().unwrap_or_default();
        Self {
            num: node.num,
            long_name: user.long_name.to_string(),
            short_name: user.short_name.to_string(),
            hw_model: user.hw_model.0,
            role: user.role.0,
            public_key: user.public_key.to_vec(),
            snr: node.snr,
            last_heard: node.last_heard,
            hops_away: node.hops_away,
            via_mqtt: node.via_mqtt,
            battery_level: node.device_metrics.as_ref().and_then(|metrics| metrics.battery_level),
            metrics: node.device_metrics.as_ref().map(Telemetry::from),
        }
    }
}

impl From<&messages::DeviceMetrics> for Telemetry {
    fn from(metrics: &messages::DeviceMetrics) -> Self {
        Self {
            channel_utilization: metrics.channel_utilization,
            air_util_tx: metrics.air_util_tx,
            battery_level: metrics.battery_level,
            voltage: metrics.voltage,
            uptime_s: metrics.uptime_seconds,
            time: 0,
        }
    }
}

impl From<&messages::LocalStats> for Telemetry {
    fn from(stats: &messages::LocalStats) -> Self {
        Self {
            channel_utilization: Some(stats.channel_utilization),
            air_util_tx: Some(stats.air_util_tx),
            uptime_s: Some(stats.uptime_seconds),
            ..Self::default()
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The radio's state with the nodes that it told.
pub fn info(radio: &Radio, nodes: &Nodes) -> RadioInfo {
    let lora = radio.lora.clone().unwrap_or_default();
    let channels = radio.channels.iter().zip(0..).filter_map(|(slot, index)| {
        let slot = slot.as_ref()?;
        Some(ChannelInfo {
            index,
            role: slot.role.0 as u8,
            name: lossy(&slot.name),
            psk: slot.psk.to_vec(),
            uplink: slot.uplink,
            downlink: slot.downlink,
        })
    });
    RadioInfo {
        num: radio.num,
        reboot_count: radio.reboot_count,
        firmware: lossy(&radio.firmware),
        hw_model: radio.hw_model.0,
        has_pkc: radio.has_pkc,
        has_xeddsa: radio.has_xeddsa,
        role: radio.role.0,
        region: lora.region.0,
        use_preset: lora.use_preset,
        preset: lora.modem_preset.0,
        hop_limit: lora.hop_limit,
        tx_enabled: lora.tx_enabled,
        ok_to_mqtt: lora.config_ok_to_mqtt,
        override_duty_cycle: lora.override_duty_cycle,
        channels: channels.collect(),
        nodes: nodes.0.clone(),
    }
}
