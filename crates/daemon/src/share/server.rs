//! Sockets and clock around the hub: one task owns it; each client has one task that reads and one that writes.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use compotastic_client::framing::{self, Deframer, Item};
use compotastic_messages::{Message as _, ToRadio};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{ClientId, ForRadio, Hub, Outbox, RadioInput, ShareConfig, http, hub::notice};
use crate::device_http::Pages;

/// Messages from all clients together that may wait for the hub; each client has at most one more in hand, so none can crowd out others.
const INBOX: usize = 64;
/// Messages from the radio that may wait for the hub.
const RADIO: usize = 256;
/// Messages for the radio that may wait for its link. Few: the order is the hub's.
const TO_RADIO: usize = 2;
/// A client that does not take a message in this time is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// What comes to the hub from its clients.
pub enum FromClient {
    Come(oneshot::Sender<Option<(ClientId, Arc<Outbox>)>>),
    Said(ClientId, Vec<u8>),
    /// It has nothing to say, and is there: it polls.
    Lives(ClientId),
    Gone(ClientId),
}

/// What can be seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareState {
    /// Clients now.
    pub clients: usize,
    /// The radio's state is known.
    pub ready: bool,
    /// Packets that were handed to the radio.
    pub packets: u64,
    /// Their time on air, microseconds.
    pub airtime_us: u64,
}

/// The way to a shared radio. When it is dropped, its clients are closed.
#[derive(Debug)]
pub struct ShareHandle {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where web apps do.
    pub http: Option<SocketAddr>,
    /// What the radio says goes here; nothing of a handshake may be left out.
    pub radio: mpsc::Sender<RadioInput>,
    /// What is to be said to the radio.
    pub for_radio: mpsc::Receiver<ForRadio>,
    /// The state, for those who only look.
    pub state: watch::Receiver<ShareState>,
}

/// Listens for clients at `address` (port 0: any free one). Must be called inside a tokio runtime. All ends when the handle's sender
/// of radio messages and its clones are dropped.
///
/// # Errors
/// Where the address cannot be listened on, with what to do about it.
pub async fn spawn(address: SocketAddr, config: ShareConfig) -> Result<ShareHandle> {
    let (listener, address) = bind(address, "--share").await?;
    info!(%address, "the radio is shared");
    let web = match &config.http {
        Some(http) => {
            let (listener, address) = bind(http.address, "--share-http").await?;
            info!(%address, "the radio is shared with web apps");
            let pages = Pages::Some { sites: http.sites.clone(), loopback: address.ip().is_loopback() };
            Some((listener, address, pages))
        }
        None => None,
    };
    let (radio, from_radio) = mpsc::channel(RADIO);
    let (to_radio, for_radio) = mpsc::channel(TO_RADIO);
    let (inbox, from_clients) = mpsc::channel(INBOX);
    let (shown, state) = watch::channel(ShareState::default());
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    let hub = Hub::new(config, u64::from_le_bytes(seed));
    let mut accepting = vec![tokio::spawn(accept(listener, inbox.clone()))];
    let http = web.as_ref().map(|(_, address, _)| *address);
    if let Some((listener, _, pages)) = web {
        accepting.push(tokio::spawn(http::serve(listener, inbox, pages)));
    }
    tokio::spawn(run(hub, from_clients, from_radio, to_radio, shown, accepting));
    Ok(ShareHandle { address, http, radio, for_radio, state })
}

/// A listener and where it listens; `flag` named the address.
async fn bind(address: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot share the radio on {address}: is the port in use? Name another one with {flag} ADDRESS:PORT")
    })?;
    let address = listener.local_addr().context("the address of the shared radio")?;
    Ok((listener, address))
}

/// Owns the hub.
async fn run(
    mut hub: Hub,
    mut from_clients: mpsc::Receiver<FromClient>,
    mut from_radio: mpsc::Receiver<RadioInput>,
    to_radio: mpsc::Sender<ForRadio>,
    shown: watch::Sender<ShareState>,
    accepting: Vec<JoinHandle<()>>,
) {
    let start = Instant::now();
    let now_ms = || start.elapsed().as_millis() as u64;
    let mut state = ShareState::default();
    loop {
        // A message is taken out of its queue only when the link has a place for it, so that until then others can still overtake it.
        while let Ok(place) = to_radio.try_reserve() {
            let Some(message) = hub.poll_radio(now_ms()) else { break };
            state.packets += u64::from(message.id.is_some());
            state.airtime_us += message.airtime_us;
            place.send(message);
        }
        state.clients = hub.clients();
        state.ready = hub.is_ready();
        shown.send_if_modified(|old| std::mem::replace(old, state) != state);
        let full = to_radio.capacity() == 0;
        let due = hub.poll_timeout().map(|due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms())));
        tokio::select! {
            input = from_radio.recv() => match input {
                Some(input) => hub.handle_radio(now_ms(), &input),
                None => break,
            },
            Some(message) = from_clients.recv() => match message {
                FromClient::Come(answer) => {
                    if let Err(Some((id, _))) = answer.send(hub.connect(now_ms())) {
                        hub.disconnect(id);
                    }
                }
                FromClient::Said(id, bytes) => hub.handle_client(now_ms(), id, &bytes),
                FromClient::Lives(id) => hub.handle_life(now_ms(), id),
                FromClient::Gone(id) => hub.disconnect(id),
            },
            place = to_radio.reserve(), if full => {
                if place.is_err() {
                    break;
                }
            }
            () = sleep(due.unwrap_or(Duration::MAX)), if due.is_some() && !(full && due == Some(Duration::ZERO)) => {
                hub.handle_timeout(now_ms());
            }
        }
    }
    accepting.iter().for_each(JoinHandle::abort);
    hub.close();
    info!("the radio is not shared any more");
}

async fn accept(listener: TcpListener, hub: mpsc::Sender<FromClient>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, hub.clone()));
            }
            Err(error) => {
                warn!(%error, "a client could not be taken; too many open files?");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One client, from its first byte to its last.
async fn serve(stream: TcpStream, peer: SocketAddr, hub: mpsc::Sender<FromClient>) {
    // Messages are small and answers are waited for.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let (answer, come) = oneshot::channel();
    if hub.send(FromClient::Come(answer)).await.is_err() {
        return;
    }
    let Ok(Some((id, outbox))) = come.await else {
        info!(%peer, "no room for another client");
        if let Ok(frame) =
            framing::frame(&notice("the shared radio has no room for another client; try again later"))
        {
            let _ = timeout(WRITE_PATIENCE, writer.write_all(&frame)).await;
        }
        return;
    };
    debug!(%peer, client = id.0, "a client has come");
    tokio::select! {
        () = read(reader, id, &hub) => {}
        () = write(writer, &outbox) => {}
    }
    debug!(%peer, client = id.0, "a client has gone");
    let _ = hub.send(FromClient::Gone(id)).await;
}

async fn read(mut reader: tcp::OwnedReadHalf, id: ClientId, hub: &mpsc::Sender<FromClient>) {
    let mut deframer = Deframer::default();
    let mut buffer = [0; 2_048];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let mut rest = &buffer[..length];
        loop {
            let message = match deframer.next(&mut rest) {
                Some(Item::Message(message)) => message.to_vec(),
                Some(Item::Text(_)) => continue,
                None => break,
            };
            if ToRadio::decode(&message).is_err() {
                deframer.reject();
            } else if hub.send(FromClient::Said(id, message)).await.is_err() {
                return;
            }
        }
    }
}

async fn write(mut writer: tcp::OwnedWriteHalf, outbox: &Outbox) {
    while let Some(message) = outbox.next().await {
        // What is longer than a frame may be cannot come out of a message that came in one.
        let Ok(frame) = framing::frame(&message) else { continue };
        match timeout(WRITE_PATIENCE, writer.write_all(&frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = writer.shutdown().await;
}
