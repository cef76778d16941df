//! Configuration, channels, and the admin messages that read and set them.
//!
//! Parts whose fields are not needed here are kept as they came, so that nothing that a client sets is lost.

use crate::{
    api::DeviceMetadata,
    enums::{ChannelRole, ConfigType, ModemPreset, ModuleConfigType, RegionCode},
    packet::{Position, User},
    pb::{Field, Malformed, Message, Wire, Writer},
    table::{choices, messages},
};

messages! {
    /// One part of the configuration.
    Config<'a> {
        /// The part.
        0 payload: [oneof ConfigPayload<'a>],
    }

    /// The radio.
    LoRaConfig {
        /// `modem_preset` counts, not the three after it.
        1 use_preset: [bool],
        /// Speed against range.
        2 modem_preset: [enumeration ModemPreset],
        /// kHz, some shortened (62: 62.5).
        3 bandwidth: [uint32],
        /// 7..=12.
        4 spread_factor: [uint32],
        /// 5..=8.
        5 coding_rate: [uint32],
        /// MHz.
        6 frequency_offset: [float],
        /// Where it is.
        7 region: [enumeration RegionCode],
        /// Default of what the node sends, 1..=7.
        8 hop_limit: [uint32],
        /// It may send.
        9 tx_enabled: [bool],
        /// dBm; 0: what the region allows.
        10 tx_power: [int32],
        /// Slot, from 1; 0: by the primary channel's name.
        11 channel_num: [uint32],
        /// The duty cycle does not count.
        12 override_duty_cycle: [bool],
        /// More sensitive, more current.
        13 sx126x_rx_boosted_gain: [bool],
        /// MHz; 0: by the slot.
        14 override_frequency: [float],
        /// The amplifier's fan is off.
        15 pa_fan_disabled: [bool],
        /// Nodes that are not listened to.
        103 ignore_incoming: [packed uint32, 8],
        /// Packets from MQTT are not relayed.
        104 ignore_mqtt: [bool],
        /// Own packets may go to MQTT.
        105 config_ok_to_mqtt: [bool],
        /// The amplifier for receiving.
        106 fem_lna_mode: [uint32],
        /// Serial hardware only.
        107 serial_hal_only: [bool],
    }

    /// A channel's slot.
    Channel<'a> {
        /// 0..=7.
        1 index: [int32],
        /// Name, key and the rest.
        2 settings: [message ChannelSettings<'a>],
        /// Whether and as what it is used.
        3 role: [enumeration ChannelRole],
    }

    /// A channel.
    ChannelSettings<'a> {
        /// Not used any more.
        1 channel_num: [uint32],
        /// Key: empty, one byte that names a known one, 16 or 32 bytes.
        2 psk: [bytes],
        /// At most 11 bytes.
        3 name: [string],
        /// A number for it.
        4 id: [fixed32],
        /// Its packets go to MQTT.
        5 uplink_enabled: [bool],
        /// Packets from MQTT are sent on it.
        6 downlink_enabled: [bool],
        /// What modules do on it.
        7 module_settings: [message ModuleSettings],
    }

    /// What modules do on a channel.
    ModuleSettings {
        /// Bits of the position that are told; 0: none.
        1 position_precision: [uint32],
        /// No sound for its messages.
        2 is_muted: [bool],
    }

    /// Reads and sets what a node holds; the payload of `ADMIN_APP`.
    AdminMessage<'a> {
        /// The content.
        0 payload: [oneof AdminPayload<'a>],
        /// Proof of a session, 8 bytes: from an answer, for the next setting from afar.
        101 session_passkey: [bytes],
    }
}

choices! {
    /// Parts of the configuration.
    ConfigPayload<'a> {
        /// Role and buttons.
        1 Device: [bytes],
        /// GPS.
        2 Position: [bytes],
        /// Battery.
        3 Power: [bytes],
        /// Wi-Fi, Ethernet, UDP.
        4 Network: [bytes],
        /// Screen.
        5 Display: [bytes],
        /// Radio.
        6 Lora: [message LoRaConfig],
        /// Bluetooth.
        7 Bluetooth: [bytes],
        /// Keys.
        8 Security: [bytes],
        /// A session's key is asked for.
        9 Sessionkey: [bytes],
        /// The screen's settings.
        10 DeviceUi: [bytes],
    }

    /// What an admin message asks, answers or sets.
    AdminPayload<'a> {
        /// Index of the channel, plus one.
        1 GetChannelRequest: [uint32],
        /// The channel.
        2 GetChannelResponse: [message Channel<'a>],
        /// The names.
        3 GetOwnerRequest: [bool],
        /// The names.
        4 GetOwnerResponse: [message User<'a>],
        /// A part of the configuration.
        5 GetConfigRequest: [enumeration ConfigType],
        /// A part of the configuration.
        6 GetConfigResponse: [message Config<'a>],
        /// A module's configuration.
        7 GetModuleConfigRequest: [enumeration ModuleConfigType],
        /// A module's configuration.
        8 GetModuleConfigResponse: [message ModuleConfig<'a>],
        /// Prepared messages.
        10 GetCannedMessageModuleMessagesRequest: [bool],
        /// Prepared messages.
        11 GetCannedMessageModuleMessagesResponse: [string],
        /// What the device is.
        12 GetDeviceMetadataRequest: [bool],
        /// What the device is.
        13 GetDeviceMetadataResponse: [message DeviceMetadata<'a>],
        /// Tune.
        14 GetRingtoneRequest: [bool],
        /// Tune.
        15 GetRingtoneResponse: [string],
        /// Links of the device.
        16 GetDeviceConnectionStatusRequest: [bool],
        /// Links of the device, as it is.
        17 GetDeviceConnectionStatusResponse: [bytes],
        /// Amateur radio, as it is.
        18 SetHamMode: [bytes],
        /// Pins.
        19 GetNodeRemoteHardwarePinsRequest: [bool],
        /// Pins, as they are.
        20 GetNodeRemoteHardwarePinsResponse: [bytes],
        /// Wait for a new firmware.
        21 EnterDfuModeRequest: [bool],
        /// Deletes a file.
        22 DeleteFileRequest: [string],
        /// Scale of a sensor.
        23 SetScale: [uint32],
        /// Where to.
        24 BackupPreferences: [uint32],
        /// Where from.
        25 RestorePreferences: [uint32],
        /// Where.
        26 RemoveBackupPreferences: [uint32],
        /// A key press, as it is.
        27 SendInputEvent: [bytes],
        /// The names.
        32 SetOwner: [message User<'a>],
        /// A channel.
        33 SetChannel: [message Channel<'a>],
        /// A part of the configuration.
        34 SetConfig: [message Config<'a>],
        /// A module's configuration.
        35 SetModuleConfig: [message ModuleConfig<'a>],
        /// Prepared messages.
        36 SetCannedMessageModuleMessages: [string],
        /// Tune.
        37 SetRingtoneMessage: [string],
        /// Forgets a node.
        38 RemoveByNodenum: [uint32],
        /// Marks a node.
        39 SetFavoriteNode: [uint32],
        /// Takes the mark away.
        40 RemoveFavoriteNode: [uint32],
        /// A position that stays.
        41 SetFixedPosition: [message Position],
        /// Takes it away.
        42 RemoveFixedPosition: [bool],
        /// Seconds since 1970.
        43 SetTimeOnly: [fixed32],
        /// The screen's settings.
        44 GetUiConfigRequest: [bool],
        /// The screen's settings, as they are.
        45 GetUiConfigResponse: [bytes],
        /// The screen's settings, as they are.
        46 StoreUiConfig: [bytes],
        /// Listens to a node no more.
        47 SetIgnoredNode: [uint32],
        /// Listens again.
        48 RemoveIgnoredNode: [uint32],
        /// No sound for its messages.
        49 ToggleMutedNode: [uint32],
        /// Settings follow that shall take effect together.
        64 BeginEditSettings: [bool],
        /// Now.
        65 CommitEditSettings: [bool],
        /// A node's names and key, as it is.
        66 AddContact: [bytes],
        /// Two people compare keys, as it is.
        67 KeyVerification: [bytes],
        /// Everything to how it was made.
        94 FactoryResetDevice: [int32],
        /// Not used any more.
        95 RebootOtaSeconds: [int32],
        /// Ends a simulated node.
        96 ExitSimulator: [bool],
        /// Seconds until it starts anew; negative: not.
        97 RebootSeconds: [int32],
        /// Seconds until it switches off; negative: not.
        98 ShutdownSeconds: [int32],
        /// The configuration to how it was made.
        99 FactoryResetConfig: [int32],
        /// Forgets the nodes.
        100 NodedbReset: [bool],
        /// A new firmware over the network, as it is.
        102 OtaRequest: [bytes],
        /// A sensor's settings, as they are.
        103 SensorConfig: [bytes],
        /// Locks or unlocks, as it is.
        104 LockdownAuth: [bytes],
    }
}

/// Most channels of a node.
pub const MAX_CHANNELS: usize = 8;

/// One module's configuration, as it is: the number of its field and the bytes of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModuleConfig<'a> {
    /// Field number: one more than its [`ModuleConfigType`]; 0 where there is none.
    pub field: u32,
    /// The message; often empty, which stands for all defaults.
    pub body: &'a [u8],
}

impl ModuleConfig<'_> {
    /// Which module's it is.
    pub const fn kind(&self) -> Option<ModuleConfigType> {
        match self.field.checked_sub(1) {
            Some(value) => Some(ModuleConfigType(value)),
            None => None,
        }
    }
}

impl<'a> Message<'a> for ModuleConfig<'a> {
    const FIELDS: &'static [Field] = &[];

    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        for field in crate::pb::Fields::new(bytes) {
            if let (number, Wire::Bytes(body)) = field? {
                *self = Self { field: number, body };
            }
        }
        Ok(())
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        if self.field != 0 {
            writer.bytes_field(self.field, self.body);
        }
    }
}

impl ConfigPayload<'_> {
    /// Which part it is.
    pub const fn kind(&self) -> ConfigType {
        match self {
            Self::Device(_) => ConfigType::DEVICE_CONFIG,
            Self::Position(_) => ConfigType::POSITION_CONFIG,
            Self::Power(_) => ConfigType::POWER_CONFIG,
            Self::Network(_) => ConfigType::NETWORK_CONFIG,
            Self::Display(_) => ConfigType::DISPLAY_CONFIG,
            Self::Lora(_) => ConfigType::LORA_CONFIG,
            Self::Bluetooth(_) => ConfigType::BLUETOOTH_CONFIG,
            Self::Security(_) => ConfigType::SECURITY_CONFIG,
            Self::Sessionkey(_) => ConfigType::SESSIONKEY_CONFIG,
            Self::DeviceUi(_) => ConfigType::DEVICEUI_CONFIG,
        }
    }
}

impl<'a> From<AdminPayload<'a>> for AdminMessage<'a> {
    fn from(payload: AdminPayload<'a>) -> Self {
        Self { payload: Some(payload), session_passkey: &[] }
    }
}
