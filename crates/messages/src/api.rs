//! The client API: what an app and its radio say to each other.

use crate::{
    config::{Channel, Config, ModuleConfig},
    enums::{HardwareModel, LogLevel, Role, XModemControl},
    packet::{DeviceMetrics, MeshPacket, Position, User},
    table::{choices, messages},
};

/// Longest message in either direction.
pub const MAX_MESSAGE: usize = 512;
/// Value of `want_config_id` that asks for everything but the other nodes.
pub const NONCE_CONFIG_ONLY: u32 = 69_420;
/// Value of `want_config_id` that asks for the nodes alone.
pub const NONCE_NODES_ONLY: u32 = 69_421;

messages! {
    /// From an app to its radio.
    ToRadio<'a> {
        /// The content.
        0 payload: [oneof ToRadioPayload<'a>],
    }

    /// From a radio to its app.
    FromRadio<'a> {
        /// Counter; 2.7 leaves it 0.
        1 id: [uint32],
        /// The content.
        0 payload: [oneof FromRadioPayload<'a>],
    }

    /// A sign of life from an app.
    Heartbeat {
        /// 0: the radio answers with a queue status; 1: it broadcasts its node information, which costs air.
        1 nonce: [uint32],
    }

    /// The radio's own number and more.
    MyNodeInfo<'a> {
        /// Own node number.
        1 my_node_num: [uint32],
        /// Starts.
        8 reboot_count: [uint32],
        /// Least version of an app.
        11 min_app_version: [uint32],
        /// Unique id of the device.
        12 device_id: [bytes],
        /// Build environment.
        13 pio_env: [string],
        /// Edition of the firmware.
        14 firmware_edition: [uint32],
        /// Nodes that the radio knows.
        15 nodedb_count: [uint32],
    }

    /// A node that the radio knows.
    NodeInfo<'a> {
        /// Node number.
        1 num: [uint32],
        /// Who it is.
        2 user: [message User<'a>],
        /// Where it is.
        3 position: [message Position],
        /// Signal to noise ratio of what was last heard, dB.
        4 snr: [float],
        /// Seconds since 1970.
        5 last_heard: [fixed32],
        /// Battery and air.
        6 device_metrics: [message DeviceMetrics],
        /// Index of the channel that it was heard on.
        7 channel: [uint32],
        /// It was heard over MQTT.
        8 via_mqtt: [bool],
        /// Hops to it.
        9 hops_away: [optional uint32],
        /// Marked by a person.
        10 is_favorite: [bool],
        /// Marked by a person.
        11 is_ignored: [bool],
        /// A person compared its key.
        12 is_key_manually_verified: [bool],
        /// Marked by a person.
        13 is_muted: [bool],
        /// It was seen to sign.
        14 has_xeddsa_signed: [bool],
    }

    /// What became of a packet from the app, and the room in the queue. Never to be counted: the radio keeps two and drops the others.
    QueueStatus {
        /// 0, or why the packet was refused: a `Routing.Error`, 32 (queue full), 33 (no interface), 34 (radio off).
        1 res: [int32],
        /// Free places.
        2 free: [uint32],
        /// All places.
        3 maxlen: [uint32],
        /// The packet.
        4 mesh_packet_id: [uint32],
    }

    /// Something that the radio wants a person to know.
    ClientNotification<'a> {
        /// The packet that it is about.
        1 reply_id: [optional uint32],
        /// Seconds since 1970.
        2 time: [fixed32],
        /// How grave.
        3 level: [enumeration LogLevel],
        /// The text.
        4 message: [string],
        /// What it is about, where that has a form of its own.
        0 payload: [oneof NotificationPayload<'a>],
    }

    /// A line of the radio's log.
    LogRecord<'a> {
        /// The text.
        1 message: [string],
        /// Seconds since 1970.
        2 time: [fixed32],
        /// Which part of the firmware.
        3 source: [string],
        /// How grave.
        4 level: [enumeration LogLevel],
    }

    /// What the device is and can.
    DeviceMetadata<'a> {
        /// At most 17 bytes.
        1 firmware_version: [string],
        /// Version of its store.
        2 device_state_version: [uint32],
        /// It can switch itself off.
        3 can_shutdown: [bool],
        /// It has Wi-Fi.
        4 has_wifi: [bool],
        /// It has Bluetooth.
        5 has_bluetooth: [bool],
        /// It has Ethernet.
        6 has_ethernet: [bool],
        /// What it is for.
        7 role: [enumeration Role],
        /// Which fields its positions have.
        8 position_flags: [uint32],
        /// The device.
        9 hw_model: [enumeration HardwareModel],
        /// It has the remote hardware module.
        10 has_remote_hardware: [bool],
        /// It has public keys.
        11 has_pkc: [bool],
        /// Bits of modules that are left out.
        12 excluded_modules: [uint32],
        /// It signs and verifies.
        14 has_xeddsa: [bool],
    }

    /// A piece of a file between an app and its own radio.
    XModem<'a> {
        /// What it is.
        1 control: [enumeration XModemControl],
        /// Number of the piece.
        2 seq: [uint32],
        /// CRC-16/CCITT of the buffer.
        3 crc16: [uint32],
        /// At most 128 bytes.
        4 buffer: [bytes],
    }
}

choices! {
    /// Content of `ToRadio`.
    ToRadioPayload<'a> {
        /// A packet to send.
        1 Packet: [message MeshPacket<'a>],
        /// Asks for the whole state; it ends with the same number.
        3 WantConfigId: [uint32],
        /// The app goes away.
        4 Disconnect: [bool],
        /// A piece of a file.
        5 XmodemPacket: [message XModem<'a>],
        /// A message from MQTT, as it is.
        6 MqttClientProxyMessage: [bytes],
        /// A sign of life.
        7 Heartbeat: [message Heartbeat],
    }

    /// Content of `FromRadio`.
    FromRadioPayload<'a> {
        /// A packet that came, or an answer of the radio's own.
        2 Packet: [message MeshPacket<'a>],
        /// Start of the state.
        3 MyInfo: [message MyNodeInfo<'a>],
        /// A node.
        4 NodeInfo: [message NodeInfo<'a>],
        /// A part of the configuration.
        5 Config: [message Config<'a>],
        /// A line of its log.
        6 LogRecord: [message LogRecord<'a>],
        /// End of the state, with the number that asked for it.
        7 ConfigCompleteId: [uint32],
        /// The radio has started anew: ask for the state again.
        8 Rebooted: [bool],
        /// A module's configuration.
        9 ModuleConfig: [message ModuleConfig<'a>],
        /// A channel.
        10 Channel: [message Channel<'a>],
        /// What became of a packet.
        11 QueueStatus: [message QueueStatus],
        /// A piece of a file.
        12 XmodemPacket: [message XModem<'a>],
        /// What the device is.
        13 Metadata: [message DeviceMetadata<'a>],
        /// A message for MQTT, as it is.
        14 MqttClientProxyMessage: [bytes],
        /// A file on the device, as it is.
        15 FileInfo: [bytes],
        /// Something for a person.
        16 ClientNotification: [message ClientNotification<'a>],
        /// Settings of the device's screen, as they are.
        17 DeviceuiConfig: [bytes],
        /// Whether the device is locked, as it is.
        18 LockdownStatus: [bytes],
        /// Which presets the regions allow, as it is.
        19 RegionPresets: [bytes],
    }

    /// What a notification may be about. Kept as it is.
    NotificationPayload<'a> {
        /// A number is shown.
        11 KeyVerificationNumberInform: [bytes],
        /// A number is asked for.
        12 KeyVerificationNumberRequest: [bytes],
        /// The end of it.
        13 KeyVerificationFinal: [bytes],
        /// Two nodes have the same key.
        14 DuplicatedPublicKey: [bytes],
        /// The key is weak.
        15 LowEntropyKey: [bytes],
    }
}

impl<'a> From<ToRadioPayload<'a>> for ToRadio<'a> {
    fn from(payload: ToRadioPayload<'a>) -> Self {
        Self { payload: Some(payload) }
    }
}

impl<'a> From<FromRadioPayload<'a>> for FromRadio<'a> {
    fn from(payload: FromRadioPayload<'a>) -> Self {
        Self { id: 0, payload: Some(payload) }
    }
}
