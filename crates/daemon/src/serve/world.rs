//! The thread that owns the simulated world.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use compotastic_sim::{
    scenario::Scenario,
    serve::{ServeSettings, Served},
};
use tokio::sync::{mpsc, oneshot};

use super::NodeRow;

/// Commands that may wait for the world.
const COMMANDS: usize = 256;
/// The world is looked at this often at least, while somebody waits for room in a stream.
const LOOK: Duration = Duration::from_millis(20);
/// Nothing happens: sleep for so long.
const REST: Duration = Duration::from_secs(60);

/// How a scenario is served.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Simulated seconds per second.
    pub speed: f64,
    /// Simulated time before the first client, seconds; `None`: until all nodes have told who they are.
    pub warm_up_s: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, speed: 1.0, warm_up_s: None }
    }
}

/// What a connection asks of the world.
pub(super) enum Command {
    /// A client is there; the one before it is closed, or it has none if `only_if_free`. Answers whether it is taken.
    Connect {
        node: usize,
        session: u64,
        to_client: mpsc::Sender<ToClient>,
        only_if_free: bool,
        answer: oneshot::Sender<bool>,
    },
    /// A `ToRadio` message.
    ToRadio { node: usize, session: u64, bytes: Vec<u8> },
    /// The client is gone.
    Disconnect { node: usize, session: u64 },
}

/// What the world tells a connection.
pub(super) enum ToClient {
    /// A `FromRadio` message.
    FromRadio(Vec<u8>),
    /// The node has gone down, to restart or for good.
    Down,
}

/// Builds the world in a thread of its own; answers once it has warmed up.
pub(super) async fn spawn(
    scenario: Scenario,
    options: Options,
) -> Result<(mpsc::Sender<Command>, Vec<NodeRow>)> {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (ready, built) = oneshot::channel();
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(anyhow!("no runtime for the world: {error}")))),
        };
        match build(&scenario, options) {
            Ok(served) => {
                if ready.send(Ok(rows(&served))).is_ok() {
                    runtime.block_on(Host::new(served, options.speed, inbox).run());
                }
            }
            Err(what) => drop(ready.send(Err(anyhow!(what)))),
        }
    };
    std::thread::Builder::new().name("world".to_string()).spawn(work)?;
    let nodes = built.await.map_err(|_| anyhow!("the simulated world ended while it was built"))??;
    Ok((commands, nodes))
}

fn build(scenario: &Scenario, options: Options) -> Result<Served, String> {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let warm_up_s = options.warm_up_s.unwrap_or_else(|| Served::settled_s(scenario));
    let settings = ServeSettings {
        seed: options.seed,
        // The clock is right when the first client comes.
        unix_s: unix_s.saturating_sub(warm_up_s) as u32,
    };
    let mut served = Served::build(scenario, settings)?;
    served.run_for_us(warm_up_s * 1_000_000);
    Ok(served)
}

fn rows(served: &Served) -> Vec<NodeRow> {
    let places = served.places().into_iter().enumerate();
    places
        .map(|(index, place)| NodeRow {
            index,
            num: place.num,
            name: place.name,
            role: place.role,
            place: (place.latitude, place.longitude),
            served: place.served,
        })
        .collect()
}

struct Session {
    id: u64,
    to_client: mpsc::Sender<ToClient>,
}

/// The world, and who is connected to which of its nodes.
struct Host {
    served: Served,
    speed: f64,
    inbox: mpsc::Receiver<Command>,
    sessions: Vec<Option<Session>>,
    /// This moment of the clock is that of the world.
    anchor: (Instant, u64),
}

impl Host {
    fn new(served: Served, speed: f64, inbox: mpsc::Receiver<Command>) -> Self {
        let sessions = served.places().iter().map(|_| None).collect();
        let anchor = (Instant::now(), served.now_us());
        Self { served, speed, inbox, sessions, anchor }
    }

    /// Until nobody can send commands any more.
    async fn run(mut self) {
        loop {
            self.catch_up();
            let blocked = self.deliver();
            let wait = self.until_next(blocked);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => {
                        self.catch_up();
                        self.handle(command);
                        // All that came together is handled before the world goes on.
                        while let Ok(command) = self.inbox.try_recv() {
                            self.handle(command);
                        }
                    }
                    None => return,
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The world goes on to where the clock is. Where it is too large for that, it falls behind; nothing is skipped.
    fn catch_up(&mut self) {
        let passed_us = (self.anchor.0.elapsed().as_micros() as f64 * self.speed) as u64;
        let target_us = self.anchor.1 + passed_us;
        let started = Instant::now();
        while self.served.now_us() < target_us {
            let step_us = (target_us - self.served.now_us()).min(1_000_000);
            self.served.run_for_us(step_us);
            if started.elapsed() > Duration::from_millis(200) {
                self.anchor = (Instant::now(), self.served.now_us());
                return;
            }
        }
    }

    /// Hands out what devices have for their clients; true if a stream had no room.
    fn deliver(&mut self) -> bool {
        let mut blocked = false;
        let mut buffer = [0; 512];
        for node in 0..self.sessions.len() {
            let Some(session) = &self.sessions[node] else { continue };
            loop {
                let permit = match session.to_client.try_reserve() {
                    Ok(permit) => permit,
                    Err(mpsc::error::TrySendError::Full(())) => {
                        blocked = true;
                        break;
                    }
                    // Its last words may still be on their way; after them comes word that it is gone.
                    Err(mpsc::error::TrySendError::Closed(())) => break,
                };
                if let Some(length) = self.served.poll_from_radio(node, &mut buffer) {
                    permit.send(ToClient::FromRadio(buffer[..length].to_vec()));
                } else if self.served.poll_down(node) {
                    permit.send(ToClient::Down);
                } else {
                    break;
                }
            }
        }
        blocked
    }

    fn until_next(&self, blocked: bool) -> Duration {
        if blocked {
            return LOOK;
        }
        let Some(next_us) = self.served.next_event_us() else { return REST };
        let due_us = next_us.saturating_sub(self.anchor.1) as f64 / self.speed;
        Duration::from_micros(due_us as u64).saturating_sub(self.anchor.0.elapsed()).min(REST)
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Connect { node, session, to_client, only_if_free, answer } => {
                let there = self.sessions[node].as_ref().is_some_and(|it| !it.to_client.is_closed());
                // One that restarts takes nobody: the stream ends.
                let taken = !(only_if_free && there) && self.served.connect(node);
                if taken || !only_if_free {
                    self.sessions[node] = taken.then_some(Session { id: session, to_client });
                }
                // It may be gone by now.
                let _ = answer.send(taken);
            }
            Command::ToRadio { node, session, bytes } if self.is(node, session) => {
                self.served.handle_to_radio(node, &bytes);
            }
            Command::Disconnect { node, session } if self.is(node, session) => {
                self.served.disconnect(node);
                self.sessions[node] = None;
            }
            Command::ToRadio { .. } | Command::Disconnect { .. } => {}
        }
    }

    fn is(&self, node: usize, session: u64) -> bool {
        self.sessions[node].as_ref().is_some_and(|current| current.id == session)
    }
}
