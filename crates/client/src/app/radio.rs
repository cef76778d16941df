//! What the radio told of itself.

use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, ConfigPayload, DeviceMetadata, FromRadioPayload, HardwareModel,
    LoRaConfig, MAX_CHANNELS, ModuleSettings, MyNodeInfo, Role, Text,
};
use heapless::Vec;

/// Bytes, cut to what there is room for.
fn cut<const N: usize>(bytes: &[u8]) -> Vec<u8, N> {
    bytes.iter().copied().take(N).collect()
}

/// A slot for a channel, as it is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelSlot {
    /// Whether and as what it is used.
    pub role: ChannelRole,
    /// Name, maybe empty.
    pub name: Vec<u8, 16>,
    /// Key as it is set: 0, 1, 16 or 32 bytes.
    pub psk: Vec<u8, 32>,
    /// A number for it.
    pub id: u32,
    /// Its packets go to MQTT.
    pub uplink: bool,
    /// Packets from MQTT are sent on it.
    pub downlink: bool,
    /// What modules do on it.
    pub modules: Option<ModuleSettings>,
}

impl ChannelSlot {
    /// From the radio's message.
    pub fn from_message(channel: &Channel<'_>) -> Self {
        let settings = channel.settings.clone().unwrap_or_default();
        Self {
            role: channel.role,
            name: cut(settings.name.0),
            psk: cut(settings.psk),
            id: settings.id,
            uplink: settings.uplink_enabled,
            downlink: settings.downlink_enabled,
            modules: settings.module_settings,
        }
    }

    /// The message that sets it.
    pub fn to_message(&self, index: u8) -> Channel<'_> {
        let settings = ChannelSettings {
            psk: &self.psk,
            name: Text(&self.name),
            id: self.id,
            uplink_enabled: self.uplink,
            downlink_enabled: self.downlink,
            module_settings: self.modules.clone(),
            ..ChannelSettings::default()
        };
        Channel { index: index.into(), settings: Some(settings), role: self.role }
    }
}

/// What the radio told of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Radio {
    /// Node number; 0: not known yet.
    pub num: u32,
    /// Starts, as it counts them.
    pub reboot_count: u32,
    /// Nodes that it knows.
    pub nodedb_count: u32,
    /// Firmware version, such as `2.7.26.54e0d8d`; empty: not told.
    pub firmware: Vec<u8, 24>,
    /// The device.
    pub hw_model: HardwareModel,
    /// What it is for.
    pub role: Role,
    /// It encrypts direct messages with public keys.
    pub has_pkc: bool,
    /// It signs broadcasts.
    pub has_xeddsa: bool,
    /// Its LoRa settings, where they were told.
    pub lora: Option<LoRaConfig>,
    /// Its channels by index, where they were told.
    pub channels: [Option<ChannelSlot>; MAX_CHANNELS],
    /// Free places in its queue, where it told.
    pub queue_free: Option<u32>,
}

impl Radio {
    /// A new state follows: what is not told again does not hold any more.
    pub(super) fn handle_my_info(&mut self, info: &MyNodeInfo<'_>) {
        *self = Self {
            num: info.my_node_num,
            reboot_count: info.reboot_count,
            nodedb_count: info.nodedb_count,
            ..Self::default()
        };
    }

    fn handle_metadata(&mut self, metadata: &DeviceMetadata<'_>) {
        self.firmware = cut(metadata.firmware_version.0);
        self.hw_model = metadata.hw_model;
        self.role = metadata.role;
        self.has_pkc = metadata.has_pkc;
        self.has_xeddsa = metadata.has_xeddsa;
    }

    pub(super) fn handle_channel(&mut self, channel: &Channel<'_>) {
        if let Some(slot) = usize::try_from(channel.index).ok().and_then(|index| self.channels.get_mut(index))
        {
            *slot = Some(ChannelSlot::from_message(channel));
        }
    }

    /// Takes what is kept of a message of the handshake.
    pub(super) fn handle(&mut self, payload: &FromRadioPayload<'_>) {
        match payload {
            FromRadioPayload::Metadata(metadata) => self.handle_metadata(metadata),
            FromRadioPayload::Channel(channel) => self.handle_channel(channel),
            FromRadioPayload::Config(config) => {
                if let Some(ConfigPayload::Lora(lora)) = &config.payload {
                    self.lora = Some(lora.clone());
                }
            }
            _ => {}
        }
    }
}
