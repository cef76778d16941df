//! The clients: one greedy, the others with one packet under way each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use compotastic_client::framing::{Deframer, Item, frame};
use compotastic_messages::{
    BROADCAST, Data, FromRadio, FromRadioPayload, MeshPacket, MeshPacketPayload, Message as _, PortNum,
    ToRadio, ToRadioPayload,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::mpsc,
    time::{interval, sleep, timeout},
};

use super::{
    ShareArgs,
    radio::{OTHER, message},
};

/// A client that is told that there is no room tries again after this time.
const AGAIN: Duration = Duration::from_millis(200);
/// Packets from the mesh for all clients, and their distance.
const FANNED: u32 = 600;
const FANNED_EVERY: Duration = Duration::from_millis(5);

/// What a client got.
#[derive(Debug, Default)]
pub struct Outcome {
    pub delivered: u64,
    pub waits_ms: Vec<u64>,
}

/// What came of packets for all.
#[derive(Debug)]
pub struct Fanned {
    pub expected: usize,
    /// Sorted.
    pub late_us: Vec<u64>,
    pub took: Duration,
}

struct Reader {
    half: OwnedReadHalf,
    deframer: Deframer,
    held: Vec<u8>,
}

impl Reader {
    /// The next message for which `find` finds something.
    async fn until<T>(&mut self, mut find: impl FnMut(FromRadioPayload<'_>) -> Option<T>) -> Result<T> {
        loop {
            let held = std::mem::take(&mut self.held);
            let mut rest = &held[..];
            while let Some(item) = self.deframer.next(&mut rest) {
                let Item::Message(bytes) = item else { continue };
                let payload = FromRadio::decode(bytes).ok().and_then(|message| message.payload);
                if let Some(found) = payload.and_then(&mut find) {
                    self.held = rest.to_vec();
                    return Ok(found);
                }
            }
            let mut buffer = [0; 4_096];
            match self.half.read(&mut buffer).await.context("reading as a client")? {
                0 => bail!("a client was closed"),
                length => self.held.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// A client that has been told the state.
async fn connect(address: SocketAddr) -> Result<(Reader, OwnedWriteHalf)> {
    let stream = TcpStream::connect(address).await.context("connecting as a client")?;
    stream.set_nodelay(true)?;
    let (half, mut writer) = stream.into_split();
    let mut reader = Reader { half, deframer: Deframer::default(), held: Vec::new() };
    say(&mut writer, ToRadioPayload::WantConfigId(7)).await?;
    reader.until(|payload| matches!(payload, FromRadioPayload::ConfigCompleteId(7)).then_some(())).await?;
    Ok((reader, writer))
}

async fn say(writer: &mut OwnedWriteHalf, payload: ToRadioPayload<'_>) -> Result<()> {
    let Ok(bytes) = ToRadio::from(payload).to_vec::<512>() else { bail!("a message is too long") };
    let Ok(frame) = frame(&bytes) else { bail!("a message is too long") };
    writer.write_all(&frame).await.context("writing as a client")
}

async fn send(writer: &mut OwnedWriteHalf, id: u32, length: usize) -> Result<()> {
    let bytes = [7; 200];
    let data = Data { portnum: PortNum::PRIVATE_APP, payload: &bytes[..length], ..Data::default() };
    let payload = Some(MeshPacketPayload::Decoded(data));
    say(
        writer,
        ToRadioPayload::Packet(MeshPacket { to: OTHER, id, hop_limit: 3, payload, ..MeshPacket::default() }),
    )
    .await
}

/// What a message says of packets: acknowledged, or refused.
fn fate(payload: FromRadioPayload<'_>) -> Option<(u32, bool)> {
    match payload {
        FromRadioPayload::Packet(packet) => {
            let data = packet.decoded().filter(|data| data.portnum == PortNum::ROUTING_APP)?;
            Some((data.request_id, true))
        }
        FromRadioPayload::QueueStatus(status) if status.res != 0 => Some((status.mesh_packet_id, false)),
        _ => None,
    }
}

async fn modest(address: SocketAddr, first: u32, length: usize, end: Instant) -> Result<Outcome> {
    let (mut reader, mut writer) = connect(address).await?;
    let mut outcome = Outcome::default();
    for id in first.. {
        let since = Instant::now();
        let mut at = id;
        loop {
            send(&mut writer, at, length).await?;
            let left = end.saturating_duration_since(Instant::now());
            let found = reader.until(|payload| fate(payload).filter(|(about, _)| *about == at));
            let Ok(found) = timeout(left, found).await else { return Ok(outcome) };
            let (_, arrived) = found?;
            if arrived {
                break;
            }
            sleep(AGAIN).await;
            // A radio drops what comes twice under one id.
            at = at.wrapping_add(1 << 24);
        }
        outcome.delivered += 1;
        outcome.waits_ms.push(since.elapsed().as_millis() as u64);
    }
    Ok(outcome)
}

async fn greedy(address: SocketAddr, args: ShareArgs, end: Instant) -> Result<Outcome> {
    let (mut reader, mut writer) = connect(address).await?;
    let mut outcome = Outcome::default();
    let sending = async {
        let mut ticks = interval(Duration::from_micros(1_000_000 / args.greedy));
        for id in 1.. {
            ticks.tick().await;
            if send(&mut writer, id, args.payload).await.is_err() {
                break;
            }
        }
    };
    let counting = async {
        while let Ok((_, arrived)) = reader.until(fate).await {
            outcome.delivered += u64::from(arrived);
        }
    };
    tokio::select! {
        () = sending => {}
        () = counting => {}
        () = sleep(end.saturating_duration_since(Instant::now())) => {}
    }
    Ok(outcome)
}

/// All clients at once; the greedy one first. Also how long it took until all had been told the state.
pub async fn run(args: &ShareArgs, address: SocketAddr) -> Result<(Vec<Outcome>, Duration)> {
    let start = Instant::now();
    let told: Vec<_> = (0..args.clients).map(|_| tokio::spawn(connect(address))).collect();
    for client in told {
        client.await.context("a client")??;
    }
    let handshakes = start.elapsed();
    // Those are gone before the others come.
    sleep(Duration::from_millis(500)).await;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut clients = vec![tokio::spawn(greedy(address, args.clone(), end))];
    for n in 1..args.clients as u32 {
        clients.push(tokio::spawn(modest(address, n << 12, args.payload, end)));
    }
    let mut outcomes = Vec::new();
    for client in clients {
        outcomes.push(client.await.context("a client")??);
    }
    sleep(Duration::from_millis(500)).await;
    Ok((outcomes, handshakes))
}

/// Packets from the mesh, to all clients.
pub async fn fan_out(clients: usize, address: SocketAddr, tell: &mpsc::Sender<Vec<u8>>) -> Result<Fanned> {
    let epoch = Instant::now();
    let mut listening = Vec::new();
    for _ in 0..clients {
        let (mut reader, writer) = connect(address).await?;
        listening.push(tokio::spawn(async move {
            let mut late_us = Vec::new();
            loop {
                let found = reader.until(|payload| match payload {
                    FromRadioPayload::Packet(packet) => {
                        let data = packet.decoded().filter(|data| data.portnum == PortNum::PRIVATE_APP)?;
                        Some(u64::from_le_bytes(data.payload.try_into().ok()?))
                    }
                    _ => None,
                });
                let Ok(Ok(sent_us)) = timeout(Duration::from_secs(2), found).await else { break };
                late_us.push((epoch.elapsed().as_micros() as u64).saturating_sub(sent_us));
            }
            drop(writer);
            late_us
        }));
    }
    let start = Instant::now();
    let mut ticks = interval(FANNED_EVERY);
    for id in 1..=FANNED {
        ticks.tick().await;
        let payload = (epoch.elapsed().as_micros() as u64).to_le_bytes();
        let data = Data { portnum: PortNum::PRIVATE_APP, payload: &payload, ..Data::default() };
        let packet = MeshPacket {
            from: OTHER,
            to: BROADCAST,
            id,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        };
        if tell.send(message(FromRadioPayload::Packet(packet))).await.is_err() {
            bail!("the radio has gone");
        }
    }
    let took = start.elapsed();
    let mut late_us = Vec::new();
    for client in listening {
        late_us.extend(client.await.context("a client")?);
    }
    late_us.sort_unstable();
    Ok(Fanned { expected: clients * FANNED as usize, late_us, took })
}
