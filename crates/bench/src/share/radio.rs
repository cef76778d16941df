//! An emulated radio: sends packets one after the other at the pace of SHORT_TURBO, and acknowledges each when it is out.

use std::time::Duration;

use compotastic_daemon::share::{ForRadio, RadioInput};
use compotastic_mesh::{
    lora::{Modem, Preset},
    packet::HEADER,
};
use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, Config, ConfigPayload, Data, DeviceMetadata, FromRadio,
    FromRadioPayload, LoRaConfig, MeshPacket, MeshPacketPayload, Message as _, ModemPreset, MyNodeInfo,
    NodeInfo, PortNum, RegionCode, Routing, RoutingError, User,
};
use tokio::{sync::mpsc, time::sleep};

use super::Mesh;

/// The radio's number.
pub const NUM: u32 = 0x1234_0001;
/// Another node's.
pub const OTHER: u32 = 0xAABB_CC21;
/// Packets that the radio has room for.
pub const PLACES: usize = 16;

const MODEM: Modem = Preset::ShortTurbo.modem(false);

/// Time on air of a frame with so many bytes of payload: with the fields around it and those of a public key.
pub fn airtime(payload: usize) -> Duration {
    Duration::from_micros(MODEM.time_on_air_us(HEADER + payload + 19))
}

/// A `FromRadio` message.
pub fn message(payload: FromRadioPayload<'_>) -> Vec<u8> {
    FromRadio::from(payload).to_vec::<512>().map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// What the radio tells at a handshake, without its end.
pub fn state() -> Vec<Vec<u8>> {
    let node = |num, long_name: &'static str| {
        let user = User { long_name: long_name.into(), short_name: "n".into(), ..User::default() };
        message(FromRadioPayload::NodeInfo(NodeInfo { num, user: Some(user), ..NodeInfo::default() }))
    };
    let metadata = DeviceMetadata { firmware_version: "2.7.26.bench".into(), ..DeviceMetadata::default() };
    let settings = ChannelSettings { psk: &[1], ..ChannelSettings::default() };
    let lora = LoRaConfig {
        use_preset: true,
        modem_preset: ModemPreset::SHORT_TURBO,
        region: RegionCode::US,
        ..LoRaConfig::default()
    };
    vec![
        message(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: NUM, ..MyNodeInfo::default() })),
        node(NUM, "shared radio"),
        message(FromRadioPayload::Metadata(metadata)),
        message(FromRadioPayload::Channel(Channel {
            index: 0,
            settings: Some(settings),
            role: ChannelRole::PRIMARY,
        })),
        message(FromRadioPayload::Config(Config { payload: Some(ConfigPayload::Lora(lora)) })),
        node(OTHER, "upper hut"),
    ]
}

/// The acknowledgement of a packet.
pub fn acknowledgement(id: u32) -> Vec<u8> {
    let Ok(payload) = Routing::from_error(RoutingError::NONE).to_vec::<8>() else { return Vec::new() };
    let data = Data { portnum: PortNum::ROUTING_APP, payload: &payload, request_id: id, ..Data::default() };
    message(FromRadioPayload::Packet(MeshPacket {
        from: OTHER,
        to: NUM,
        id: id ^ 1,
        payload: Some(MeshPacketPayload::Decoded(data)),
        ..MeshPacket::default()
    }))
}

/// The radio under the hub.
pub fn shared(hub: mpsc::Sender<RadioInput>, mut for_radio: mpsc::Receiver<ForRadio>) -> Mesh {
    let (tell, mut told) = mpsc::channel::<Vec<u8>>(PLACES);
    let (queue, mut queued) = mpsc::channel::<ForRadio>(PLACES);
    let (sender, listener) = (hub.clone(), hub.clone());
    let taking = tokio::spawn(async move {
        for bytes in state().into_iter().chain([message(FromRadioPayload::ConfigCompleteId(1))]) {
            if hub.send(RadioInput::Message(bytes)).await.is_err() {
                return;
            }
        }
        while let Some(message) = for_radio.recv().await {
            if queue.send(message).await.is_err() {
                return;
            }
        }
    });
    let sending = tokio::spawn(async move {
        while let Some(message) = queued.recv().await {
            sleep(Duration::from_micros(message.airtime_us)).await;
            if let Some(id) = message.id
                && sender.send(RadioInput::Message(acknowledgement(id))).await.is_err()
            {
                return;
            }
        }
    });
    let hearing = tokio::spawn(async move {
        while let Some(bytes) = told.recv().await {
            if listener.send(RadioInput::Message(bytes)).await.is_err() {
                return;
            }
        }
    });
    Mesh { tell, tasks: vec![taking, sending, hearing] }
}
