//! The shared radio over HTTP, for web apps.
//!
//! HTTP knows no connections, so a client of the hub is here who has the same address and names itself alike (`User-Agent`): a browser and
//! a program on one machine are two, the tabs of one browser are one, and share a queue. A client
//! begins with the first message that it sends, mostly its wish for the state; polls alone make none. One that asks for nothing for
//! [`SILENT`] is gone, and is told `rebooted` when it comes back, so that it asks for the state anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use compotastic_messages::{ToRadio, ToRadioPayload};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::debug;

use super::{ClientId, Outbox, server::FromClient};
use crate::device_http::{self, Asker, PATIENCE, Pages, Radio, Refusal, rebooted};

/// A client that asks for nothing for so long is gone. Browsers let hidden pages poll once a minute.
const SILENT: Duration = Duration::from_secs(5 * 60);
/// Where there is no room, a client that was silent for so long makes some: apps poll every few seconds.
const SPARED: Duration = Duration::from_secs(90);
/// How often it is looked who is silent.
const LOOK: Duration = Duration::from_secs(30);
/// Clients that are gone and not told so yet, the newest.
const LOST: usize = 64;

struct Session {
    id: ClientId,
    outbox: Arc<Outbox>,
    heard: Instant,
}

/// All clients over HTTP: never more than the hub takes.
#[derive(Default)]
struct Sessions {
    open: HashMap<Asker, Session>,
    lost: VecDeque<Asker>,
}

impl Sessions {
    fn lose(&mut self, asker: Asker) {
        if self.lost.len() == LOST {
            self.lost.pop_front();
        }
        self.lost.push_back(asker);
    }

    /// True once for a client that is gone.
    fn was_lost(&mut self, asker: Asker) -> bool {
        let before = self.lost.len();
        self.lost.retain(|lost| *lost != asker);
        self.lost.len() < before
    }

    /// The session, if the hub has not closed it.
    fn get(&mut self, asker: Asker) -> Option<&mut Session> {
        if self.open.get(&asker).is_some_and(|session| session.outbox.is_closed()) {
            self.open.remove(&asker);
            self.lose(asker);
        }
        self.open.get_mut(&asker)
    }

    /// The one that was silent the longest, at least so long.
    fn most_silent(&self, least: Duration) -> Option<Asker> {
        let silent = self.open.iter().filter(|(_, session)| session.heard.elapsed() > least);
        silent.min_by_key(|(_, session)| session.heard).map(|(asker, _)| *asker)
    }
}

#[derive(Clone)]
struct Hub {
    inbox: mpsc::Sender<FromClient>,
    sessions: Arc<Mutex<Sessions>>,
}

impl Hub {
    async fn say(&self, what: FromClient) -> Result<(), Refusal> {
        self.inbox.send(what).await.map_err(|_| Refusal::Down)
    }

    async fn come(&self) -> Result<Option<(ClientId, Arc<Outbox>)>, Refusal> {
        let (answer, come) = oneshot::channel();
        self.say(FromClient::Come(answer)).await?;
        come.await.map_err(|_| Refusal::Down)
    }

    /// Lets go of one that was silent for so long, if there is one.
    async fn let_go(&self, sessions: &mut Sessions, least: Duration) -> bool {
        let Some(asker) = sessions.most_silent(least) else { return false };
        if let Some(Session { id, .. }) = sessions.open.remove(&asker) {
            debug!(client = id.0, address = %asker.address, "a client over HTTP is silent and let go");
            sessions.lose(asker);
            return self.say(FromClient::Gone(id)).await.is_ok();
        }
        false
    }
}

impl Radio for Hub {
    async fn put(&self, asker: Asker, message: &ToRadio<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let mut sessions = self.sessions.lock().await;
        let id = match sessions.get(asker) {
            Some(session) => {
                session.heard = Instant::now();
                session.id
            }
            None => {
                let mut come = self.come().await?;
                if come.is_none() && self.let_go(&mut sessions, SPARED).await {
                    come = self.come().await?;
                }
                let (id, outbox) = come.ok_or(Refusal::NoRoom)?;
                debug!(client = id.0, address = %asker.address, "a client over HTTP has come");
                // It has to ask for the state before it is told anything, and would not know without a word: neither after it was
                // let go, nor after this program has started anew.
                sessions.was_lost(asker);
                let asks = matches!(
                    message.payload,
                    Some(ToRadioPayload::WantConfigId(_) | ToRadioPayload::Disconnect(_))
                );
                if !asks {
                    sessions.lose(asker);
                }
                sessions.open.insert(asker, Session { id, outbox, heard: Instant::now() });
                id
            }
        };
        if matches!(message.payload, Some(ToRadioPayload::Disconnect(_))) {
            sessions.open.remove(&asker);
        }
        self.say(FromClient::Said(id, bytes.to_vec())).await
    }

    async fn get(&self, asker: Asker, most: usize) -> Result<Vec<u8>, Refusal> {
        let (id, outbox) = {
            let mut sessions = self.sessions.lock().await;
            let found = sessions.get(asker).map(|session| {
                session.heard = Instant::now();
                (session.id, session.outbox.clone())
            });
            if sessions.was_lost(asker) {
                return Ok(rebooted());
            }
            match found {
                Some(found) => found,
                None => return Ok(Vec::new()),
            }
        };
        self.say(FromClient::Lives(id)).await?;
        let mut messages = Vec::new();
        if let Ok(Some(first)) = timeout(PATIENCE, outbox.next()).await {
            messages.extend_from_slice(&first);
            for _ in 1..most {
                let Some(next) = outbox.take() else { break };
                messages.extend_from_slice(&next);
            }
        }
        Ok(messages)
    }
}

/// Answers until the task is ended.
pub async fn serve(listener: TcpListener, inbox: mpsc::Sender<FromClient>, pages: Pages) {
    let hub = Hub { inbox, sessions: Arc::default() };
    let looks = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut sessions = hub.sessions.lock().await;
            while hub.let_go(&mut sessions, SILENT).await {}
        }
    };
    tokio::select! {
        ended = device_http::serve(listener, hub.clone(), pages) => {
            if let Err(error) = ended {
                tracing::warn!("{error:#}");
            }
        }
        () = looks => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use compotastic_messages::Message as _;

    use super::*;
    use crate::share::{self, ShareConfig};

    /// The hub behind its queue, without a radio: it knows no state, and takes clients all the same.
    fn hub(clients: usize) -> Hub {
        let (inbox, mut from_clients) = mpsc::channel(8);
        tokio::spawn(async move {
            let mut hub = share::Hub::new(ShareConfig { clients, ..ShareConfig::default() }, 1);
            while let Some(message) = from_clients.recv().await {
                match message {
                    FromClient::Come(answer) => drop(answer.send(hub.connect(0))),
                    FromClient::Said(id, bytes) => hub.handle_client(0, id, &bytes),
                    FromClient::Lives(_) => {}
                    FromClient::Gone(id) => hub.disconnect(id),
                }
            }
        });
        Hub { inbox, sessions: Arc::default() }
    }

    const fn asker(program: u8) -> Asker {
        Asker { address: IpAddr::V4(Ipv4Addr::LOCALHOST), program: [program; 16] }
    }

    async fn asks_for_state(hub: &Hub, asker: Asker) -> Result<(), Refusal> {
        let message = ToRadio::from(ToRadioPayload::WantConfigId(1));
        hub.put(asker, &message, &message.to_vec::<16>().unwrap()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_makes_room_and_is_told_so_when_it_comes_back() {
        let hub = hub(2);
        asks_for_state(&hub, asker(1)).await.unwrap();
        tokio::time::advance(Duration::from_secs(80)).await;
        asks_for_state(&hub, asker(2)).await.unwrap();
        assert_eq!(asks_for_state(&hub, asker(3)).await, Err(Refusal::NoRoom), "both are there");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(hub.get(asker(2), 1).await.unwrap().is_empty());
        asks_for_state(&hub, asker(3)).await.unwrap();
        assert_eq!(hub.get(asker(1), 1).await.unwrap(), rebooted());
        assert!(hub.get(asker(1), 1).await.unwrap().is_empty(), "once");
        assert_eq!(hub.sessions.lock().await.open.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_poll_stay_and_others_go_after_five_minutes() {
        let hub = hub(8);
        for program in 1..=3 {
            asks_for_state(&hub, asker(program)).await.unwrap();
        }
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(40)).await;
            assert!(hub.get(asker(2), 1).await.unwrap().is_empty());
            let mut sessions = hub.sessions.lock().await;
            while hub.let_go(&mut sessions, SILENT).await {}
        }
        let sessions = hub.sessions.lock().await;
        assert_eq!(sessions.open.keys().collect::<Vec<_>>(), [&asker(2)]);
        assert_eq!(sessions.lost.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_of_those_who_went_is_bounded() {
        let mut sessions = Sessions::default();
        for program in 0..=255 {
            sessions.lose(asker(program));
        }
        assert_eq!(sessions.lost.len(), LOST);
        assert!(sessions.was_lost(asker(255)) && !sessions.was_lost(asker(0)));
    }
}
