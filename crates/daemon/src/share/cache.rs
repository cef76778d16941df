//! What the radio told of its state, kept as it came, for the clients' handshakes.

use std::{collections::BTreeMap, sync::Arc};

use compotastic_mesh::lora::{Modem, Preset, Region};
use compotastic_messages::{
    AdminMessage, AdminPayload, Channel, Config, ConfigPayload, Data, DeviceMetrics, FromRadio,
    FromRadioPayload, LoRaConfig, MeshPacket, Message, ModuleConfig, NONCE_CONFIG_ONLY, NONCE_NODES_ONLY,
    NodeInfo, PortNum, Position, Telemetry, TelemetryVariant, User,
};

use super::Shared;

/// Nodes that are kept; radios know at most some hundreds.
const NODES: usize = 2_000;
/// Files and modules that are kept.
const FILES: usize = 64;

/// A message as shared bytes.
pub fn shared(payload: FromRadioPayload<'_>) -> Shared {
    encoded(&FromRadio::from(payload))
}

pub fn encoded(message: &FromRadio<'_>) -> Shared {
    let mut buffer = [0; 1_024];
    // What was decoded from one message of 512 bytes fits here in any form.
    let length = message.encode_to(&mut buffer).unwrap_or(0);
    Arc::from(&buffer[..length])
}

/// The radio's state.
#[derive(Debug, Default)]
pub struct Cache {
    /// Its node number; 0: not known yet.
    pub num: u32,
    /// Starts, as the radio counts them.
    pub reboots: u32,
    /// A handshake has come to its end.
    pub complete: bool,
    /// It signs broadcasts.
    pub signs: bool,
    modem: Option<Modem>,
    my_info: Option<Shared>,
    ui: Option<Shared>,
    metadata: Option<Shared>,
    regions: Option<Shared>,
    channels: BTreeMap<i32, Shared>,
    configs: BTreeMap<u32, Shared>,
    modules: BTreeMap<u32, Shared>,
    nodes: BTreeMap<u32, Shared>,
    files: Vec<Shared>,
}

impl Cache {
    /// Time on air of a frame with so many bytes, header included. Before the radio has told its settings: that of LongFast.
    pub fn airtime_us(&self, frame: usize) -> u64 {
        self.modem.unwrap_or(Preset::LongFast.modem(false)).time_on_air_us(frame)
    }

    /// Takes a part of the state; false where the message is none.
    pub fn handle(&mut self, raw: &[u8], payload: &FromRadioPayload<'_>) -> bool {
        let raw = || Shared::from(raw);
        match payload {
            FromRadioPayload::MyInfo(info) => {
                *self = Self {
                    num: info.my_node_num,
                    reboots: info.reboot_count,
                    my_info: Some(raw()),
                    ..Self::default()
                };
            }
            FromRadioPayload::DeviceuiConfig(_) => self.ui = Some(raw()),
            FromRadioPayload::Metadata(metadata) => {
                self.signs = metadata.has_xeddsa;
                self.metadata = Some(raw());
            }
            FromRadioPayload::RegionPresets(_) => self.regions = Some(raw()),
            FromRadioPayload::Channel(channel) => {
                if (0..8).contains(&channel.index) {
                    self.channels.insert(channel.index, raw());
                }
            }
            FromRadioPayload::Config(config) => {
                if let Some(part) = &config.payload {
                    self.configs.insert(part.kind().0, raw());
                    self.follow_lora(part);
                }
            }
            FromRadioPayload::ModuleConfig(module) if self.modules.len() < FILES => {
                self.modules.insert(module.field, raw());
            }
            FromRadioPayload::NodeInfo(node) => self.put_node(node.num, raw()),
            FromRadioPayload::FileInfo(_) if self.files.len() < FILES => self.files.push(raw()),
            FromRadioPayload::ConfigCompleteId(_) => self.complete = self.num != 0,
            _ => return false,
        }
        true
    }

    fn put_node(&mut self, num: u32, info: Shared) {
        if self.nodes.len() < NODES || self.nodes.contains_key(&num) {
            self.nodes.insert(num, info);
        }
    }

    fn follow_lora(&mut self, part: &ConfigPayload<'_>) {
        if let ConfigPayload::Lora(lora) = part {
            self.modem = Some(modem(lora));
        }
    }

    /// The messages of a handshake with this number, in the firmware's order. Where `secrets` are not to be told, the keys' part of the
    /// configuration is empty.
    pub fn state(&self, nonce: u32, secrets: bool) -> Vec<Shared> {
        let own = self.nodes.get(&self.num);
        let mut state: Vec<Shared> = Vec::new();
        if nonce == NONCE_NODES_ONLY {
            state.extend(own.cloned());
        } else {
            let head = [&self.my_info, &self.ui].into_iter().flatten();
            state.extend(
                head.chain(own).chain([&self.metadata, &self.regions].into_iter().flatten()).cloned(),
            );
            state.extend(self.channels.values().cloned());
            for (kind, config) in &self.configs {
                let hidden = !secrets && *kind == compotastic_messages::ConfigType::SECURITY_CONFIG.0;
                state.push(if hidden { without_keys() } else { config.clone() });
            }
            state.extend(self.modules.values().cloned());
        }
        if nonce != NONCE_CONFIG_ONLY {
            state
                .extend(self.nodes.iter().filter(|(num, _)| **num != self.num).map(|(_, info)| info.clone()));
        }
        if nonce != NONCE_NODES_ONLY {
            state.extend(self.files.iter().cloned());
        }
        state.push(shared(FromRadioPayload::ConfigCompleteId(nonce)));
        state
    }

    /// A node was heard: a handshake from now on tells it.
    pub fn hear(&mut self, packet: &MeshPacket<'_>) {
        let num = packet.from;
        if num == 0 || num == super::hub::BROADCAST {
            return;
        }
        let known = self.nodes.get(&num).cloned();
        let mut node = NodeInfo { num, ..NodeInfo::default() };
        if let Some(known) = &known
            && let Ok(FromRadio { payload: Some(FromRadioPayload::NodeInfo(info)), .. }) =
                FromRadio::decode(known)
        {
            node = info;
        }
        if num != self.num {
            node.last_heard = packet.rx_time.unwrap_or(node.last_heard);
            node.hops_away = packet.hops_away().or(node.hops_away);
            node.via_mqtt = packet.via_mqtt;
            if packet.hops_away() == Some(0) {
                node.snr = packet.rx_snr;
            }
        }
        if let Some(data) = packet.decoded() {
            tell_more(&mut node, data);
        }
        self.put_node(num, shared(FromRadioPayload::NodeInfo(node)));
    }

    /// What an admin message changes that the radio has taken. Changes that make it start anew come with its next handshake.
    pub fn change(&mut self, admin: &AdminMessage<'_>) {
        match &admin.payload {
            Some(AdminPayload::SetChannel(channel)) if (0..8).contains(&channel.index) => {
                let channel: Channel<'_> = channel.clone();
                self.channels.insert(channel.index, shared(FromRadioPayload::Channel(channel)));
            }
            Some(AdminPayload::SetConfig(Config { payload: Some(part) })) => {
                self.follow_lora(part);
                let config = Config { payload: Some(part.clone()) };
                self.configs.insert(part.kind().0, shared(FromRadioPayload::Config(config)));
            }
            Some(AdminPayload::SetModuleConfig(module)) if self.modules.contains_key(&module.field) => {
                let module: ModuleConfig<'_> = *module;
                self.modules.insert(module.field, shared(FromRadioPayload::ModuleConfig(module)));
            }
            Some(AdminPayload::RemoveByNodenum(num)) => {
                self.nodes.remove(num);
            }
            Some(AdminPayload::NodedbReset(_)) => {
                let own = self.num;
                self.nodes.retain(|num, _| *num == own);
            }
            Some(AdminPayload::SetOwner(_) | AdminPayload::SetFixedPosition(_)) => {
                self.change_node(self.num, admin)
            }
            Some(
                AdminPayload::SetFavoriteNode(num)
                | AdminPayload::RemoveFavoriteNode(num)
                | AdminPayload::SetIgnoredNode(num)
                | AdminPayload::RemoveIgnoredNode(num),
            ) => self.change_node(*num, admin),
            _ => {}
        }
    }

    fn change_node(&mut self, num: u32, admin: &AdminMessage<'_>) {
        let Some(known) = self.nodes.get(&num).cloned() else { return };
        if let Ok(FromRadio { payload: Some(FromRadioPayload::NodeInfo(mut node)), .. }) =
            FromRadio::decode(&known)
        {
            change_node(&mut node, admin);
            self.put_node(num, shared(FromRadioPayload::NodeInfo(node)));
        }
    }
}

/// What an admin message changes of the node that it is about.
fn change_node<'a>(node: &mut NodeInfo<'a>, admin: &AdminMessage<'a>) {
    match &admin.payload {
        Some(AdminPayload::SetOwner(owner)) => {
            let user = node.user.get_or_insert_default();
            if !owner.long_name.is_empty() {
                user.long_name = owner.long_name;
            }
            if !owner.short_name.is_empty() {
                user.short_name = owner.short_name;
            }
            user.is_licensed = owner.is_licensed;
            user.is_unmessagable = owner.is_unmessagable.or(user.is_unmessagable);
        }
        Some(AdminPayload::SetFixedPosition(position)) => node.position = Some(position.clone()),
        Some(AdminPayload::SetFavoriteNode(_)) => node.is_favorite = true,
        Some(AdminPayload::RemoveFavoriteNode(_)) => node.is_favorite = false,
        Some(AdminPayload::SetIgnoredNode(_)) => node.is_ignored = true,
        Some(AdminPayload::RemoveIgnoredNode(_)) => node.is_ignored = false,
        _ => {}
    }
}

fn without_keys() -> Shared {
    shared(FromRadioPayload::Config(Config { payload: Some(ConfigPayload::Security(&[])) }))
}

/// What a packet's content says of its sender.
fn tell_more<'a>(node: &mut NodeInfo<'a>, data: &Data<'a>) {
    match data.portnum {
        PortNum::NODEINFO_APP => {
            if let Ok(user) = User::decode(data.payload) {
                node.user = Some(user);
            }
        }
        PortNum::POSITION_APP => {
            if let Ok(position) = Position::decode(data.payload)
                && position.latitude_i.is_some()
            {
                node.position = Some(position);
            }
        }
        PortNum::TELEMETRY_APP => {
            if let Ok(Telemetry { variant: Some(TelemetryVariant::DeviceMetrics(metrics)), .. }) =
                Telemetry::decode(data.payload)
            {
                let metrics: DeviceMetrics = metrics;
                node.device_metrics = Some(metrics);
            }
        }
        _ => {}
    }
}

/// The modulation that the settings name.
fn modem(lora: &LoRaConfig) -> Modem {
    let wide = lora.region.name().and_then(|name| name.parse::<Region>().ok()).is_some_and(Region::wide);
    let preset =
        lora.modem_preset.name().and_then(|name| name.parse::<Preset>().ok()).unwrap_or(Preset::LongFast);
    let mut modem = preset.modem(wide);
    if !lora.use_preset {
        // Codes for bandwidths that are no whole number of kHz.
        let bandwidth_hz = match lora.bandwidth {
            0 => modem.bandwidth_hz,
            8 => 7_800,
            10 => 10_400,
            16 => 15_600,
            21 => 20_800,
            31 => 31_250,
            42 => 41_700,
            62 => 62_500,
            200 => 203_125,
            400 => 406_250,
            800 => 812_500,
            1_600 => 1_625_000,
            khz => khz.saturating_mul(1_000).min(2_000_000),
        };
        if (7..=12).contains(&lora.spread_factor) {
            modem.spreading_factor = lora.spread_factor as u8;
        }
        modem.bandwidth_hz = bandwidth_hz;
        modem.low_data_rate = modem.symbol_us() > 16_000;
    }
    if (5..=8).contains(&lora.coding_rate) {
        modem.coding_rate = modem.coding_rate.max(lora.coding_rate as u8);
    }
    modem
}
