//! A scripted radio, and waits with a limit.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use compotastic_client::framing::{Deframer, Item, frame};
use compotastic_links::{RadioEvent, RadioHandle, RadioInfo};
use compotastic_messages::{
    AdminMessage, AdminPayload, Channel, ChannelRole, ChannelSettings, Config, ConfigPayload, Data,
    DeviceMetadata, FromRadio, FromRadioPayload, LoRaConfig, MeshPacket, MeshPacketPayload, Message,
    ModemPreset, MyNodeInfo, NodeInfo, PortNum, QueueStatus, RegionCode, ToRadio, ToRadioPayload, User,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Mutex, mpsc},
};

/// Number of the scripted radio.
pub const NUM: u32 = 0x433d_0c24;

/// What a test makes the radio do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Writes these bytes as they are.
    Bytes(Vec<u8>),
    /// Writes this message.
    Say(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Is started anew: says so.
    Reboot,
    /// Reads and writes nothing any more, until the connection is closed.
    Stall,
}

/// What a test is told of what the radio got.
pub type Got = Vec<u8>;

/// A radio's end of a link; it serves one connection after the other.
pub struct Script {
    pub orders: mpsc::Sender<Order>,
    pub got: mpsc::Receiver<Got>,
    /// Starts, as it counts them.
    pub starts: Arc<AtomicU32>,
    inner: Arc<Mutex<Inner>>,
}

pub struct Inner {
    orders: mpsc::Receiver<Order>,
    got: mpsc::Sender<Got>,
    starts: Arc<AtomicU32>,
}

impl Script {
    pub fn new() -> Self {
        let (orders, inbox) = mpsc::channel(64);
        let (outbox, got) = mpsc::channel(1024);
        let starts = Arc::new(AtomicU32::new(3));
        let inner = Inner { orders: inbox, got: outbox, starts: starts.clone() };
        Self { orders, got, starts, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Listens on a free port of the loopback.
    pub async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = self.inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(&mut *inner.lock().await, stream).await;
            }
        });
        port
    }

    /// Serves one stream.
    pub fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let inner = self.inner.clone();
        tokio::spawn(async move { serve(&mut *inner.lock().await, stream).await });
    }

    pub async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    /// The next packet that the radio was given.
    pub async fn packet(&mut self) -> Got {
        limited("a packet at the radio", self.got.recv()).await.unwrap()
    }
}

pub fn said(payload: FromRadioPayload<'_>) -> Vec<u8> {
    FromRadio::from(payload).to_vec::<512>().unwrap().to_vec()
}

/// The radio's state, as it answers a handshake.
pub fn state(nonce: u32, starts: u32) -> Vec<Vec<u8>> {
    let user = User {
        id: "!433d0c24".into(),
        long_name: "Scripted".into(),
        short_name: "SCR".into(),
        ..User::default()
    };
    let node = |num| NodeInfo { num, user: Some(user.clone()), ..NodeInfo::default() };
    let lora = LoRaConfig {
        use_preset: true,
        modem_preset: ModemPreset::LONG_FAST,
        region: RegionCode::EU_868,
        hop_limit: 3,
        tx_enabled: true,
        ..LoRaConfig::default()
    };
    let channel = |index, role, name: &'static str| Channel {
        index,
        role,
        settings: Some(ChannelSettings { name: name.into(), psk: &[1], ..ChannelSettings::default() }),
    };
    vec![
        said(FromRadioPayload::MyInfo(MyNodeInfo {
            my_node_num: NUM,
            reboot_count: starts,
            ..MyNodeInfo::default()
        })),
        said(FromRadioPayload::NodeInfo(node(NUM))),
        said(FromRadioPayload::Metadata(DeviceMetadata {
            firmware_version: "2.7.26.54e0d8d".into(),
            has_pkc: true,
            ..DeviceMetadata::default()
        })),
        said(FromRadioPayload::Channel(channel(0, ChannelRole::PRIMARY, ""))),
        said(FromRadioPayload::Channel(channel(1, ChannelRole::SECONDARY, "swarm"))),
        said(FromRadioPayload::Config(Config { payload: Some(ConfigPayload::Lora(lora)) })),
        said(FromRadioPayload::NodeInfo(node(0x1234_5678))),
        said(FromRadioPayload::ConfigCompleteId(nonce)),
    ]
}

pub fn status(free: u32) -> Vec<u8> {
    said(FromRadioPayload::QueueStatus(QueueStatus { free, maxlen: 16, ..QueueStatus::default() }))
}

/// What a radio that was started so often answers to a message.
pub fn answers(message: &[u8], starts: u32) -> Vec<Vec<u8>> {
    match ToRadio::decode(message).unwrap().payload {
        Some(ToRadioPayload::WantConfigId(nonce)) => state(nonce, starts),
        Some(ToRadioPayload::Heartbeat(_)) => vec![status(16)],
        Some(ToRadioPayload::Packet(packet)) => {
            let mut all = vec![status(15)];
            let data = packet.decoded().cloned().unwrap_or_default();
            if data.portnum == PortNum::ADMIN_APP
                && let Some(AdminPayload::GetChannelRequest(index)) =
                    AdminMessage::decode(data.payload).unwrap().payload
            {
                let channel =
                    Channel { index: index as i32 - 1, role: ChannelRole::SECONDARY, settings: None };
                let answer = AdminMessage {
                    payload: Some(AdminPayload::GetChannelResponse(channel)),
                    ..AdminMessage::default()
                };
                let payload = answer.to_vec::<256>().unwrap();
                let data = Data {
                    portnum: PortNum::ADMIN_APP,
                    payload: &payload,
                    request_id: packet.id,
                    ..Data::default()
                };
                all.push(said(FromRadioPayload::Packet(MeshPacket {
                    from: NUM,
                    to: NUM,
                    id: 77,
                    payload: Some(MeshPacketPayload::Decoded(data)),
                    ..MeshPacket::default()
                })));
            }
            all
        }
        _ => Vec::new(),
    }
}

async fn serve(inner: &mut Inner, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut deframer = Deframer::default();
    let mut buffer = [0; 1024];
    let mut stalled = false;
    loop {
        tokio::select! {
            order = inner.orders.recv() => match order {
                None | Some(Order::Close) => return,
                Some(Order::Bytes(bytes)) => stream.write_all(&bytes).await.unwrap_or_default(),
                Some(Order::Say(message)) => stream.write_all(&frame(&message).unwrap()).await.unwrap_or_default(),
                Some(Order::Reboot) => {
                    stream.write_all(b"boot\r\n").await.unwrap_or_default();
                    let rebooted = frame(&said(FromRadioPayload::Rebooted(true))).unwrap();
                    stream.write_all(&rebooted).await.unwrap_or_default();
                }
                Some(Order::Stall) => stalled = true,
            },
            length = stream.read(&mut buffer) => {
                let Ok(length @ 1..) = length else { return };
                let mut input = &buffer[..length];
                while let Some(item) = deframer.next(&mut input) {
                    let Item::Message(message) = item else { continue };
                    if matches!(ToRadio::decode(message).unwrap().payload, Some(ToRadioPayload::Packet(_))) {
                        inner.got.try_send(message.to_vec()).unwrap();
                    }
                    if stalled {
                        continue;
                    }
                    for answer in answers(message, inner.starts.load(Ordering::Relaxed)) {
                        if stream.write_all(&frame(&answer).unwrap()).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// The result, or a failed test after 20 s.
pub async fn limited<T>(what: &str, future: impl Future<Output = T>) -> T {
    limited_to(Duration::from_secs(20), what, future).await
}

pub async fn limited_to<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("no {what} within {limit:?}"))
}

/// Waits for the event that `pick` wants.
pub async fn event<T>(radio: &mut RadioHandle, what: &str, pick: impl FnMut(RadioEvent) -> Option<T>) -> T {
    event_within(Duration::from_secs(20), radio, what, pick).await
}

pub async fn event_within<T>(
    limit: Duration,
    radio: &mut RadioHandle,
    what: &str,
    mut pick: impl FnMut(RadioEvent) -> Option<T>,
) -> T {
    limited_to(limit, what, async {
        loop {
            let event = radio.events.recv().await.expect("the task has ended");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    })
    .await
}

pub async fn up(radio: &mut RadioHandle) -> RadioInfo {
    event(radio, "Up", |event| match event {
        RadioEvent::Up(info) => Some(*info),
        _ => None,
    })
    .await
}

pub async fn down(radio: &mut RadioHandle) -> compotastic_links::Fault {
    event_within(Duration::from_secs(90), radio, "Down", |event| match event {
        RadioEvent::Down { reason } => Some(reason),
        _ => None,
    })
    .await
}
