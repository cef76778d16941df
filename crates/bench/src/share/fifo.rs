//! The peer: one queue of 16 places for all clients, in order of arrival. A client whose packet finds it full is told so.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use compotastic_client::framing::{Deframer, Item, frame};
use compotastic_messages::{FromRadioPayload, Message as _, QueueStatus, ToRadio, ToRadioPayload};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep,
};

use super::{
    Mesh,
    radio::{PLACES, acknowledgement, airtime, message, state},
};

/// Messages that may wait for a client; more are lost.
const LIVE: usize = 32;
/// A packet that cannot get a place.
const QUEUE_FULL: i32 = 32;

/// A packet of a client's: who, its id, and the length of its payload.
type Packet = (u64, u32, usize);
type Clients = Arc<Mutex<BTreeMap<u64, mpsc::Sender<Vec<u8>>>>>;

fn tell(clients: &Clients, id: u64, bytes: Vec<u8>) {
    if let Some(client) = clients.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
        let _ = client.try_send(bytes);
    }
}

/// Listens, and sends what its clients send.
pub async fn spawn(address: SocketAddr) -> Result<(SocketAddr, Mesh)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let clients: Clients = Arc::default();
    let (queue, mut queued) = mpsc::channel::<Packet>(PLACES);
    let (tell_all, mut told) = mpsc::channel::<Vec<u8>>(PLACES);
    let next = AtomicU64::new(1);
    let all = Arc::clone(&clients);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let id = next.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, id, Arc::clone(&all), queue.clone()));
        }
    });
    let all = Arc::clone(&clients);
    let sending = tokio::spawn(async move {
        while let Some((client, id, payload)) = queued.recv().await {
            sleep(airtime(payload)).await;
            tell(&all, client, acknowledgement(id));
        }
    });
    let hearing = tokio::spawn(async move {
        while let Some(bytes) = told.recv().await {
            let ids: Vec<u64> =
                clients.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
            ids.into_iter().for_each(|id| tell(&clients, id, bytes.clone()));
        }
    });
    Ok((address, Mesh { tell: tell_all, tasks: vec![accepting, sending, hearing] }))
}

async fn serve(stream: TcpStream, id: u64, clients: Clients, queue: mpsc::Sender<Packet>) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let (outbox, mut waiting) = mpsc::channel::<Vec<u8>>(LIVE);
    clients.lock().unwrap_or_else(PoisonError::into_inner).insert(id, outbox.clone());
    let writing = async {
        while let Some(bytes) = waiting.recv().await {
            let Ok(frame) = frame(&bytes) else { continue };
            if writer.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut deframer = Deframer::default();
        let mut buffer = [0; 2_048];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            let mut rest = &buffer[..length];
            while let Some(item) = deframer.next(&mut rest) {
                let Item::Message(bytes) = item else { continue };
                match ToRadio::decode(bytes).ok().and_then(|message| message.payload) {
                    Some(ToRadioPayload::WantConfigId(nonce)) => {
                        let end = message(FromRadioPayload::ConfigCompleteId(nonce));
                        for bytes in state().into_iter().chain([end]) {
                            let _ = outbox.send(bytes).await;
                        }
                    }
                    Some(ToRadioPayload::Packet(packet)) => {
                        let payload = packet.decoded().map_or(0, |data| data.payload.len());
                        let taken = queue.try_send((id, packet.id, payload)).is_ok();
                        let status = QueueStatus {
                            res: if taken { 0 } else { QUEUE_FULL },
                            free: queue.capacity() as u32,
                            maxlen: PLACES as u32,
                            mesh_packet_id: packet.id,
                        };
                        let _ = outbox.try_send(message(FromRadioPayload::QueueStatus(status)));
                    }
                    _ => {}
                }
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
}
