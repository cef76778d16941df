//! One client of one node: frames from the stream to the world, and back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use compotastic_client::framing::{self, Deframer, Item};
use compotastic_messages::{Message as _, ToRadio};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::world::{Command, ToClient};

/// A connection on which nothing was said to the node for this time is closed, as the firmware does.
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);
/// A client that takes nothing for this long is gone.
const STALL: Duration = Duration::from_secs(60);
/// Frames that wait between the world and a stream; what more there is waits in the device's own queue.
pub(super) const TO_CLIENT: usize = 4;

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A number that no other client has had.
pub(super) fn next_session() -> u64 {
    SESSIONS.fetch_add(1, Ordering::Relaxed)
}

/// Serves a client until it goes, another takes its place, it is idle for too long, or the node goes down (`ends_with_node`: over TCP
/// that ends the connection, on a serial line it does not).
pub(super) async fn serve<S>(stream: S, node: usize, commands: mpsc::Sender<Command>, ends_with_node: bool)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let session = next_session();
    let (to_client, mut from_world) = mpsc::channel(TO_CLIENT);
    let (answer, taken) = oneshot::channel();
    let connect = Command::Connect { node, session, to_client, only_if_free: false, answer };
    if commands.send(connect).await.is_err() || !matches!(taken.await, Ok(true)) {
        return;
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut deframer = Deframer::default();
        let mut buffer = [0; 1024];
        loop {
            let Ok(Ok(length @ 1..)) = timeout(IDLE, reader.read(&mut buffer)).await else { return };
            let mut bytes = &buffer[..length];
            while let Some(item) = deframer.next(&mut bytes) {
                let Item::Message(message) = item else { continue };
                if ToRadio::decode(message).is_err() {
                    deframer.reject();
                    continue;
                }
                let command = Command::ToRadio { node, session, bytes: message.to_vec() };
                if commands.send(command).await.is_err() {
                    return;
                }
            }
        }
    };
    let write = async {
        while let Some(message) = from_world.recv().await {
            match message {
                ToClient::FromRadio(bytes) => {
                    let Ok(frame) = framing::frame(&bytes) else { continue };
                    if !matches!(timeout(STALL, writer.write_all(&frame)).await, Ok(Ok(()))) {
                        return;
                    }
                }
                ToClient::Down if ends_with_node => return,
                ToClient::Down => {}
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    // The world may be gone by now, and another client may have come: it looks at the session.
    let _ = commands.send(Command::Disconnect { node, session }).await;
}
