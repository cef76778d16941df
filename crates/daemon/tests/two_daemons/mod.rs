//! Whole daemons (`up`) in one swarm, each with a state folder and an HTTP API of its own; mostly two without radios, of which one has models.
//!
//! What they speak over (a broker, the network) is real; their clock runs fast, since beacons are minutes apart by the rules.

#![allow(dead_code, reason = "each test uses a part")]

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::Result;
use clap::Parser;
use compotastic_daemon::{
    seam::{Brain, JobKind, JobState, JobView, LinkView, Snapshot},
    store::StoredText,
    swarm,
    up::{self, UpArgs},
};
use compotastic_links::{LinkUrl, SessionConfig};
use serde::de::DeserializeOwned;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    fast_clock::quicken,
    mesh_of_cores::{self, Echo, Folder, spec},
};

/// The daemons are asked so often, by their clock.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    up: UpArgs,
}

/// A daemon.
pub struct Daemon {
    api: String,
    pub num: u32,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

/// Two of them: the first has models.
pub struct Pair {
    pub edge: Daemon,
    pub asker: Daemon,
    _folder: Folder,
}

async fn start(folder: &Folder, name: &str, url: &str, brain: Option<Arc<dyn Brain>>) -> Daemon {
    start_with(folder, name, &[url], &[], brain).await
}

/// Starts a daemon on these links, one of which may be a radio, with more flags; it joins the swarm first.
pub async fn start_with(
    folder: &Folder,
    name: &str,
    urls: &[&str],
    flags: &[&str],
    brain: Option<Arc<dyn Brain>>,
) -> Daemon {
    let state = folder.0.join(name);
    let urls: Vec<LinkUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
    {
        let store = up::open_store(Some(state.clone())).unwrap();
        match urls.iter().find(|url| url.is_radio()) {
            None => swarm::join_without_radio(&store, &mesh_of_cores::swarm()).unwrap(),
            Some(url) => {
                let mut handle = up::open_link(url, SessionConfig::default()).await.unwrap();
                swarm::join_radio(&store, &mesh_of_cores::swarm(), &mut handle, |_| true).await.unwrap();
                handle.sender.shutdown().await.unwrap();
            }
        }
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let words =
        [&["up", "--state", state.to_str().unwrap(), "--listen", &listen, "--no-people"], flags].concat();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(up::serve(Cli::parse_from(words).up, urls, brain, stopped));
    let mut daemon = Daemon { api: format!("http://{listen}/api"), num: 0, stop: Some(stop), task };
    daemon.num = daemon.until(60, "it runs, linked", |shot| is_up(&shot.links)).await.num;
    daemon
}

fn is_up(links: &[LinkView]) -> bool {
    !links.is_empty() && links.iter().all(|link| link.state == "up")
}

impl Daemon {
    async fn get<T: DeserializeOwned + Send + 'static>(&self, path: &str) -> Option<T> {
        let url = format!("{}{path}", self.api);
        let asked = tokio::task::spawn_blocking(move || {
            let text = ureq::get(&url).call().ok()?.into_body().read_to_string().ok()?;
            serde_json::from_str(&text).ok()
        });
        asked.await.unwrap()
    }

    /// The answer's status and body.
    async fn post(&self, path: &str, body: String) -> (u16, String) {
        let url = format!("{}{path}", self.api);
        let asked = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let answer = agent.post(&url).header("content-type", "application/json").send(&body).unwrap();
            (answer.status().as_u16(), answer.into_body().read_to_string().unwrap())
        });
        asked.await.unwrap()
    }

    /// Waits at most so many seconds of the daemons' clock until its state is such.
    pub async fn until(&self, most_s: u32, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut last = None;
        for _ in 0..most_s {
            last = self.get::<Snapshot>("/status").await;
            if let Some(shot) = last.take_if(|shot| wanted(shot)) {
                return shot;
            }
            assert!(!self.task.is_finished(), "the daemon has ended before {what}");
            tokio::time::sleep(LOOK).await;
        }
        panic!("not within {most_s} s: {what}; {last:?}");
    }

    /// Asks for a job and waits for its end.
    pub async fn ask(&self, kind: JobKind, text: &str) -> JobState {
        let (status, body) = self.post("/jobs", serde_json::to_string(&spec(kind, text)).unwrap()).await;
        assert_eq!(status, 201, "{body}");
        let id = serde_json::from_str::<JobView>(&body).unwrap().id;
        let mut state = JobState::Queued;
        for _ in 0..300 {
            tokio::time::sleep(LOOK).await;
            if let Some(job) = self.get::<JobView>(&format!("/jobs/{id}")).await {
                state = job.state;
            }
            if state.is_final() {
                break;
            }
        }
        state
    }

    /// Sends a text on the swarm's channel, to a node or to everybody. A node whose key is not known is asked for it first; then
    /// the same goes a minute later.
    pub async fn say(&self, to: Option<u32>, text: &str) {
        let to = to.unwrap_or(u32::MAX);
        let body = serde_json::json!({ "to": to, "channel": 1, "text": text }).to_string();
        let (mut status, mut said) = self.post("/messages", body.clone()).await;
        if status == 422 && said.contains("public key is not known") {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (status, said) = self.post("/messages", body).await;
        }
        assert_eq!(status, 201, "{said}");
    }

    /// Waits until a text has come.
    pub async fn hears(&self, text: &str) -> StoredText {
        for _ in 0..60 {
            let texts = self.get::<Vec<StoredText>>("/messages").await.unwrap_or_default();
            if let Some(found) = texts.into_iter().find(|stored| stored.message.text == text) {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("`{text}` has not come");
    }

    pub async fn end(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }
}

impl Pair {
    /// Starts both on this link, and waits until the one without models has heard of the other.
    pub async fn start(name: &str, url: &str) -> Self {
        quicken();
        let folder = Folder::new(name);
        let asker = start(&folder, "asker", url, None).await;
        let edge = start(&folder, "edge", url, Some(Arc::new(Echo))).await;
        assert_ne!(edge.num, asker.num, "each has a key of its own");
        let num = edge.num;
        // The first beacon comes 45 to 90 s after the start.
        let shot = asker.until(180, "a beacon of the node with the models", |shot| {
            shot.nodes.iter().any(|node| node.num == num && node.member && node.foundation_model)
        });
        assert_eq!(shot.await.mode, "native");
        Self { edge, asker, _folder: folder }
    }

    /// A chat is answered by the one with the models.
    pub async fn chat(&self) {
        let JobState::Done(answer) = self.asker.ask(JobKind::Chat, "where is the spring").await else {
            panic!("{:?}", self.asker.get::<Snapshot>("/status").await)
        };
        assert_eq!(answer.text.as_deref(), Some("you said: where is the spring"));
        assert_eq!(answer.by, self.edge.num);
    }

    /// A classification too.
    pub async fn classify(&self) {
        let JobState::Done(answer) = self.asker.ask(JobKind::Classify, "fire below the hut").await else {
            panic!("{:?}", self.asker.get::<Snapshot>("/status").await)
        };
        assert_eq!((answer.class.as_deref(), answer.by), (Some("class 1"), self.edge.num));
    }

    /// Texts to everybody go both ways, and one under public keys, which tell the names too.
    pub async fn texts(&self) {
        self.asker.say(None, "hello from the asker").await;
        let heard = self.edge.hears("hello from the asker").await.message;
        assert_eq!((heard.from, heard.to, heard.channel), (self.asker.num, u32::MAX, 1));
        self.edge.say(None, "hello from the edge").await;
        assert_eq!(self.asker.hears("hello from the edge").await.message.from, self.edge.num);
        self.asker.say(Some(self.edge.num), "for you alone").await;
        let heard = self.edge.hears("for you alone").await.message;
        assert_eq!((heard.from, heard.to, heard.proven), (self.asker.num, self.edge.num, true));
        let num = self.edge.num;
        self.asker
            .until(60, "the other's name", |shot| {
                shot.nodes.iter().any(|node| node.num == num && node.long_name.starts_with("Compotastic "))
            })
            .await;
    }

    /// Waits until both links are in this state.
    pub async fn both(&self, state: &str) -> [Snapshot; 2] {
        let wanted = |shot: &Snapshot| shot.links[0].state == state;
        [self.edge.until(120, state, wanted).await, self.asker.until(120, state, wanted).await]
    }

    pub async fn end(self) {
        self.edge.end().await;
        self.asker.end().await;
    }
}
