//! A radio for tests of the shared one: the device side of the client API, and a mesh that answers at once.
#![allow(dead_code)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use compotastic_client::device::{About, Device, Fresh, Nodes, OutPacket, Settings};
use compotastic_daemon::share::{ForRadio, RadioInput, ShareConfig, ShareHandle, ShareState, spawn};
use compotastic_messages::*;
use tokio::sync::{mpsc, watch};

/// The radio's number, and another node's that answers route requests and acknowledges.
pub const NUM: u32 = 0x1234_0001;
pub const OTHER: u32 = 0xAABB_CC21;

struct Known;

impl Nodes for Known {
    fn own(&self) -> NodeInfo<'static> {
        NodeInfo::default()
    }

    fn other(&self, index: usize, tell: &mut dyn FnMut(NodeInfo<'_>)) {
        if index == 0 {
            let user = User {
                id: "!aabbcc21".into(),
                long_name: "upper hut".into(),
                short_name: "uh".into(),
                ..User::default()
            };
            tell(NodeInfo { num: OTHER, user: Some(user), snr: 5.25, ..NodeInfo::default() });
        }
    }

    fn count(&self) -> usize {
        1
    }
}

/// A shared radio: where its clients connect, and what went out.
pub struct SharedRadio {
    pub address: SocketAddr,
    pub http: Option<SocketAddr>,
    pub sent: Arc<Mutex<Vec<OutPacket>>>,
    pub state: watch::Receiver<ShareState>,
    radio: mpsc::Sender<RadioInput>,
}

impl SharedRadio {
    pub async fn start(config: ShareConfig) -> Self {
        let handle = spawn(SocketAddr::from(([127, 0, 0, 1], 0)), config).await.expect("a free port");
        let ShareHandle { address, http, radio, for_radio, state } = handle;
        let sent = Arc::default();
        tokio::spawn(run(radio.clone(), for_radio, Arc::clone(&sent)));
        Self { address, http, sent, state, radio }
    }

    /// A packet comes from the mesh.
    pub async fn hears(&self, from: u32, id: u32, data: Data<'_>) {
        let packet = MeshPacket {
            from,
            to: BROADCAST,
            id,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        };
        let bytes = FromRadio::from(FromRadioPayload::Packet(packet)).to_vec::<512>().unwrap();
        self.radio.send(RadioInput::Message(bytes.to_vec())).await.expect("the hub is there");
    }
}

/// The radio and its link.
async fn run(
    hub: mpsc::Sender<RadioInput>,
    mut for_radio: mpsc::Receiver<ForRadio>,
    sent: Arc<Mutex<Vec<OutPacket>>>,
) {
    let about = About {
        num: NUM,
        hw_model: HardwareModel::PORTDUINO,
        firmware_version: "2.7.26.test",
        build: "test",
        device_id: [7; 16],
        reboot_count: 3,
        has_wifi: false,
        has_bluetooth: false,
        can_shutdown: true,
    };
    let lora = LoRaConfig {
        use_preset: true,
        modem_preset: ModemPreset::SHORT_TURBO,
        region: RegionCode::US,
        hop_limit: 3,
        tx_enabled: true,
        ..LoRaConfig::default()
    };
    let fresh = Fresh {
        long_name: "shared radio",
        short_name: "sr",
        role: Role::CLIENT,
        lora,
        keys: Some(([1; 32], [2; 32])),
    };
    let mut settings = Settings::fresh(&fresh);
    let mut device = Device::new(about, 1);
    let start = Instant::now();
    device.handle_connect();
    let ask = ToRadio::from(ToRadioPayload::WantConfigId(77)).to_vec::<16>().unwrap();
    device.handle_to_radio(0, &ask, &mut settings);
    loop {
        let now_ms = start.elapsed().as_millis() as u64;
        while let Some(packet) = device.poll_packet() {
            device.handle_sent(now_ms, packet.id, Ok(()), 16);
            answer(&mut device, now_ms, &packet);
            sent.lock().unwrap().push(packet);
        }
        while device.poll_event().is_some() {}
        let mut buffer = [0; 512];
        while let Some(length) = device.poll_from_radio(now_ms, &settings, &Known, &mut buffer) {
            if hub.send(RadioInput::Message(buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
        let message = for_radio.recv();
        match tokio::time::timeout(Duration::from_millis(20), message).await {
            Ok(Some(message)) => {
                let now_ms = start.elapsed().as_millis() as u64;
                device.handle_to_radio(now_ms, &message.bytes, &mut settings);
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// What the mesh does about a packet.
fn answer(device: &mut Device, now_ms: u64, packet: &OutPacket) {
    if packet.want_ack {
        device.handle_outcome(now_ms, packet.id, RoutingError::NONE);
    }
    if packet.port == PortNum::TRACEROUTE_APP && packet.to == OTHER {
        let data =
            Data { portnum: packet.port, payload: &[0x12, 1, 0], request_id: packet.id, ..Data::default() };
        device.handle_packet(MeshPacket {
            from: OTHER,
            to: NUM,
            id: packet.id ^ 1,
            hop_limit: 3,
            hop_start: 3,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        });
    }
}
