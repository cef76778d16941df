//! The HTTP form of the client API of a served node.
//!
//! A node has one client, over TCP or HTTP, and one queue for it: all that speak HTTP to it are that one client.
//! Whoever asks for the state takes the place of the one before; polls alone do not, so that a web app that is left
//! open does not put out a program over TCP: it is told so (409), and has the node back when that has gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use compotastic_messages::{ToRadio, ToRadioPayload};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};

use super::{
    connection::{IDLE, TO_CLIENT, next_session},
    world::{Command, ToClient},
};
use crate::device_http::{self, Asker, PATIENCE, Pages, Radio, Refusal, rebooted};

/// How often it is looked whether the client has been silent for too long.
const LOOK: Duration = Duration::from_secs(30);

/// The client of a node.
enum Client {
    /// None so far.
    None,
    /// It is connected until another comes, or it is silent for too long.
    Open { session: u64, from_world: mpsc::Receiver<ToClient>, heard: Instant },
    /// Another has taken its place, or it was silent for too long.
    Lost,
}

#[derive(Clone)]
struct Node {
    node: usize,
    commands: mpsc::Sender<Command>,
    client: Arc<Mutex<Client>>,
}

impl Node {
    /// Takes the node, from another client too unless `only_if_free`. False if there is another, or it restarts.
    async fn connect(&self, client: &mut Client, only_if_free: bool) -> Result<bool, Refusal> {
        let (to_client, from_world) = mpsc::channel(TO_CLIENT);
        let (answer, taken) = oneshot::channel();
        let session = next_session();
        let command = Command::Connect { node: self.node, session, to_client, only_if_free, answer };
        self.commands.send(command).await.map_err(|_| Refusal::Down)?;
        let taken = taken.await.map_err(|_| Refusal::Down)?;
        if taken {
            *client = Client::Open { session, from_world, heard: Instant::now() };
        }
        Ok(taken)
    }

    /// Lets go of a client that has been silent for too long.
    async fn let_go(&self, idle: Duration) {
        let mut client = self.client.lock().await;
        if let Client::Open { session, heard, .. } = &*client
            && heard.elapsed() > idle
        {
            let session = *session;
            *client = Client::Lost;
            // The world looks whether it is still this session's.
            let _ = self.commands.send(Command::Disconnect { node: self.node, session }).await;
        }
    }
}

impl Radio for Node {
    async fn put(&self, _: Asker, message: &ToRadio<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let asks_for_state = matches!(message.payload, Some(ToRadioPayload::WantConfigId(_)));
        let mut client = self.client.lock().await;
        if matches!(&*client, Client::Open { from_world, .. } if from_world.is_closed()) {
            *client = Client::Lost;
        }
        match &mut *client {
            Client::Open { heard, .. } => *heard = Instant::now(),
            // It does not know that its messages would not be answered.
            Client::Lost if !asks_for_state => return Err(Refusal::Taken),
            Client::Lost | Client::None => {
                if !self.connect(&mut client, false).await? {
                    return Err(Refusal::Down);
                }
            }
        }
        let Client::Open { session, .. } = *client else { return Err(Refusal::Down) };
        let command = Command::ToRadio { node: self.node, session, bytes: bytes.to_vec() };
        self.commands.send(command).await.map_err(|_| Refusal::Down)
    }

    async fn get(&self, _: Asker, most: usize) -> Result<Vec<u8>, Refusal> {
        let mut client = self.client.lock().await;
        let mut messages = Vec::new();
        if let Client::Open { from_world, heard, .. } = &mut *client {
            *heard = Instant::now();
            for _ in 0..most {
                match timeout(PATIENCE, from_world.recv()).await {
                    Ok(Some(ToClient::FromRadio(bytes))) => messages.extend_from_slice(&bytes),
                    // It is told `rebooted` when the node is up again.
                    Ok(Some(ToClient::Down)) | Err(_) => return Ok(messages),
                    Ok(None) => {
                        *client = Client::Lost;
                        break;
                    }
                }
            }
        }
        match *client {
            Client::Lost if messages.is_empty() => {
                if self.connect(&mut client, true).await? {
                    Ok(rebooted())
                } else {
                    Err(Refusal::Taken)
                }
            }
            _ => Ok(messages),
        }
    }
}

/// Answers until the task is ended.
pub(super) async fn serve(listener: TcpListener, node: usize, commands: mpsc::Sender<Command>) {
    let radio = Node { node, commands, client: Arc::new(Mutex::new(Client::None)) };
    let looks = async {
        loop {
            tokio::time::sleep(LOOK).await;
            radio.let_go(IDLE).await;
        }
    };
    tokio::select! {
        ended = device_http::serve(listener, radio.clone(), Pages::All) => {
            if let Err(error) = ended {
                tracing::warn!(node, "{error:#}");
            }
        }
        () = looks => {}
    }
}
