//! The shared radio over TCP: many clients, slow ones, those that talk nonsense, and an address in use.

mod share_radio;

use std::{net::SocketAddr, time::Duration};

use compotastic_client::framing::{Deframer, Item, frame};
use compotastic_daemon::share::{ShareConfig, spawn};
use compotastic_messages::*;
use share_radio::{OTHER, SharedRadio};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    stream: TcpStream,
    deframer: Deframer,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap();
        Self { stream, deframer: Deframer::default(), buffer: Vec::new() }
    }

    /// Through the handshake.
    async fn ready(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        client.says(ToRadioPayload::WantConfigId(9)).await;
        client.until(|payload| matches!(payload, FromRadioPayload::ConfigCompleteId(9)).then_some(())).await;
        client
    }

    async fn says(&mut self, payload: ToRadioPayload<'_>) {
        let message = ToRadio::from(payload).to_vec::<512>().unwrap();
        self.stream.write_all(&frame(&message).unwrap()).await.unwrap();
    }

    async fn sends(&mut self, id: u32, payload: &[u8]) {
        let data = Data { portnum: PortNum::PRIVATE_APP, payload, ..Data::default() };
        let payload = Some(MeshPacketPayload::Decoded(data));
        let packet =
            MeshPacket { to: OTHER, id, hop_limit: 3, want_ack: true, payload, ..MeshPacket::default() };
        self.says(ToRadioPayload::Packet(packet)).await;
    }

    /// Reads until something is found.
    async fn until<T>(&mut self, mut find: impl FnMut(FromRadioPayload<'_>) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let taken = std::mem::take(&mut self.buffer);
                let mut rest = &taken[..];
                while let Some(item) = self.deframer.next(&mut rest) {
                    let Item::Message(message) = item else { continue };
                    if let Some(found) = FromRadio::decode(message).unwrap().payload.and_then(&mut find) {
                        self.buffer = rest.to_vec();
                        return found;
                    }
                }
                let mut buffer = [0; 4_096];
                let length = self.stream.read(&mut buffer).await.unwrap();
                assert!(length > 0, "closed");
                self.buffer.extend_from_slice(&buffer[..length]);
            }
        })
        .await
        .expect("in time")
    }

    /// Reads until a packet is acknowledged.
    async fn acknowledged(&mut self, id: u32) {
        self.until(|payload| match payload {
            FromRadioPayload::Packet(packet) => {
                let data = packet.decoded()?;
                (data.portnum == PortNum::ROUTING_APP && data.request_id == id).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_under_the_same_ids_each_get_their_own_answers() {
    let radio = SharedRadio::start(ShareConfig { airtime_permille: 1_000, ..ShareConfig::default() }).await;
    let clients = (0..50).map(|n| {
        tokio::spawn(async move {
            let mut client = Client::ready(radio.address).await;
            for id in 1..=2 {
                client.sends(id, &[n; 8]).await;
                client.acknowledged(id).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let sent = radio.sent.lock().unwrap();
    let mut ids: Vec<u32> = sent.iter().map(|packet| packet.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((sent.len(), ids.len()), (100, 100), "each packet went out once, under an id of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_does_not_hold_up_others() {
    let radio = SharedRadio::start(ShareConfig::default()).await;
    let mut slow = Client::connect(radio.address).await;
    slow.says(ToRadioPayload::WantConfigId(9)).await;
    let mut quick = Client::ready(radio.address).await;
    // More than socket buffers hold.
    for id in 1..40_000u32 {
        let data = Data { portnum: PortNum::PRIVATE_APP, payload: &[7; 230], ..Data::default() };
        radio.hears(OTHER, id, data).await;
        if id % 16 == 0 {
            quick
                .until(|payload| match payload {
                    FromRadioPayload::Packet(packet) if packet.id == id => Some(()),
                    _ => None,
                })
                .await;
        }
    }
    quick.sends(5, b"still here").await;
    quick.acknowledged(5).await;
    slow.until(|payload| matches!(payload, FromRadioPayload::ConfigCompleteId(9)).then_some(())).await;
}

#[tokio::test]
async fn nonsense_before_and_between_frames_is_passed_over() {
    let radio = SharedRadio::start(ShareConfig::default()).await;
    let mut client = Client::connect(radio.address).await;
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\n\r\n\x94\xC3\xFF\xFF\x94\xC3\x00\x03\xFF\xFF\xFF")
        .await
        .unwrap();
    client.says(ToRadioPayload::WantConfigId(3)).await;
    client.until(|payload| matches!(payload, FromRadioPayload::ConfigCompleteId(3)).then_some(())).await;
}

#[tokio::test]
async fn one_too_many_is_told_and_closed() {
    let radio = SharedRadio::start(ShareConfig { clients: 1, ..ShareConfig::default() }).await;
    let _first = Client::ready(radio.address).await;
    let mut second = Client::connect(radio.address).await;
    let word = second
        .until(|payload| match payload {
            FromRadioPayload::ClientNotification(word) => Some(word.message.to_string()),
            _ => None,
        })
        .await;
    assert!(word.contains("no room"), "{word}");
    assert_eq!(timeout(PATIENCE, second.stream.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn an_address_in_use_is_told_with_what_to_do() {
    let radio = SharedRadio::start(ShareConfig::default()).await;
    let error = format!("{:#}", spawn(radio.address, ShareConfig::default()).await.unwrap_err());
    assert!(error.contains("--share") && error.contains(&radio.address.to_string()), "{error}");
}
