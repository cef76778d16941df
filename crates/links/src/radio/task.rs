//! The task of a link: opens it, runs the app's session on it, opens it again when it breaks.
//!
//! The session (in the client crate, without I/O) knows when a radio is ready, silent or started anew. Here is what it cannot
//! know: bytes that are no messages, sides that close, waits between tries, and a host that is slow.

use std::{collections::VecDeque, io, time::Duration};

use compotastic_client::{
    app::{DeadReason, Event, Failure, SendError, Session},
    framing::{Deframer, Item},
};
use compotastic_messages::{AdminMessage, FromRadioPayload, Message};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    LinkState, Phase, RadioCommand, RadioEvent, SessionConfig, Telemetry, WAITING,
    info::{Nodes, info},
    transport::{Step, Transport},
};
use crate::{
    Connector, Fault, FaultKind, OwnedPacket,
    backoff::{Backoff, Draws},
    outbox::{LinkEvent, Outbox},
};

/// Commands that wait here while the session's queue is full.
const BACKLOG: usize = 32;
/// First bytes that are kept to tell what speaks there.
const FIRST: usize = 64;
/// So much nonsense, and not mostly text, is a wrong baud rate after [`SessionConfig::nonsense`].
const NONSENSE: usize = 48;
/// A link that breaks sooner after it was up counts as pushed out.
const PUSHED_WITHIN: Duration = Duration::from_secs(60);
/// So many times in a row is no accident.
const PUSHED: u32 = 3;
/// Time for the last word.
const GOODBYE: Duration = Duration::from_millis(500);

impl LinkEvent for RadioEvent {
    fn is_lesser(&self) -> bool {
        matches!(
            self,
            Self::Packet(_)
                | Self::Raw(_)
                | Self::Telemetry(_)
                | Self::Node(_)
                | Self::QueueStatus { .. }
                | Self::Notice(_)
        )
    }

    fn lagged(dropped: u64) -> Self {
        Self::Lagged { dropped }
    }
}

/// Why a connection ended.
enum Ended {
    Shutdown,
    Again,
    Broken(Fault),
}

type AdminReply = oneshot::Sender<Result<Vec<u8>, Fault>>;

/// State that outlives a connection.
struct Task {
    config: SessionConfig,
    session: Session,
    inbox: mpsc::Receiver<RadioCommand>,
    outbox: Outbox<RadioEvent>,
    shown: watch::Sender<LinkState>,
    nodes: Nodes,
    backlog: VecDeque<RadioCommand>,
    admin: Vec<(u32, AdminReply)>,
    started: Instant,
    up_since: Option<Instant>,
    was_up: bool,
    pushed: u32,
    name: String,
    /// Number and starts of the radio that was there before.
    before: Option<(u32, u32)>,
    /// The session has given the link up.
    dead: Option<DeadReason>,
}

/// What is known of a connection that has not yet brought a message.
#[derive(Default)]
struct Strange {
    count: usize,
    first: Vec<u8>,
    /// A message came: it is a radio.
    known: bool,
}

impl Strange {
    fn handle(&mut self, bytes: &[u8]) {
        self.count += bytes.len();
        let room = FIRST - self.first.len();
        self.first.extend(bytes.iter().take(room));
    }

    /// Mostly no text: a baud rate that does not fit looks so.
    fn is_noise(&self) -> bool {
        let text = self.first.iter().filter(|byte| (b' '..0x7F).contains(*byte) || b"\r\n\t".contains(*byte));
        self.count >= NONSENSE && text.count() * 10 < self.first.len() * 8
    }

    fn is_http(&self) -> bool {
        self.first.starts_with(b"HTTP/") || self.first.starts_with(b"<!DOCTYPE")
    }
}

/// Runs a link until its host wants no more.
pub async fn run(
    mut connector: impl Connector,
    config: SessionConfig,
    inbox: mpsc::Receiver<RadioCommand>,
    events: mpsc::Sender<RadioEvent>,
    shown: watch::Sender<LinkState>,
) {
    let mut draws = Draws::new(config.seed);
    let mut backoff = Backoff::new(config.backoff_min, config.backoff_max, Some(draws.draw()));
    let mut task = Task {
        session: Session::new(config.session.clone(), draws.draw()),
        config,
        inbox,
        outbox: Outbox::new(events, WAITING),
        shown,
        nodes: Nodes::default(),
        backlog: VecDeque::new(),
        admin: Vec::new(),
        started: Instant::now(),
        up_since: None,
        was_up: false,
        pushed: 0,
        name: connector.name(),
        before: None,
        dead: None,
    };
    let mut last = None;
    loop {
        task.shown.send_modify(|state| state.phase = Phase::Connecting);
        let ended = task.connect(&mut connector).await;
        task.fail_open("the link broke");
        let lived = task.up_since.take();
        if lived.is_some() {
            backoff.reset();
            last = None;
        }
        let fault = match ended {
            Ended::Shutdown => break,
            Ended::Again => Fault::new(FaultKind::Closed, "the link was closed", "it is opened anew"),
            Ended::Broken(fault) => task.pushed_out(lived, fault),
        };
        task.shown.send_modify(|state| {
            state.phase = Phase::Down;
            state.detail = fault.to_string();
        });
        // A link that stays down for the same reason says so once.
        if last.as_ref() != Some(&fault) {
            tracing::warn!(link = connector.name(), %fault, "link down");
            task.outbox.push(RadioEvent::Down { reason: fault.clone() });
            last = Some(fault);
        }
        if !task.wait(backoff.wait()).await {
            break;
        }
    }
    task.shown.send_modify(|state| state.phase = Phase::Ended);
}

impl Task {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn tell_drops(&mut self) {
        let dropped = self.outbox.dropped;
        self.shown.send_if_modified(|state| std::mem::replace(&mut state.dropped, dropped) != dropped);
    }

    /// Two programs on one radio push each other out in turns; a person can only mend that if told.
    fn pushed_out(&mut self, lived: Option<Instant>, fault: Fault) -> Fault {
        let soon =
            lived.is_some_and(|since| since.elapsed() < PUSHED_WITHIN) && fault.kind == FaultKind::Closed;
        self.pushed = if soon { self.pushed + 1 } else { 0 };
        if self.pushed < PUSHED {
            return fault;
        }
        Fault::new(
            FaultKind::Busy,
            format!(
                "{} closes soon after each start: another program connects to it too, and it serves one",
                self.name
            ),
            "close that program, or let it use ours: `compotastic up --share 0.0.0.0:4403`",
        )
    }

    /// Opens the link and runs the session on it.
    async fn connect(&mut self, connector: &mut impl Connector) -> Ended {
        let limit = self.config.open;
        let pipe = {
            let opening = tokio::time::timeout(limit, connector.open());
            tokio::pin!(opening);
            loop {
                tokio::select! {
                    opened = &mut opening => match opened {
                        Ok(Ok(pipe)) => break pipe,
                        Ok(Err(fault)) => return Ended::Broken(fault),
                        Err(_) => {
                            let what = format!("{} did not open within {} s", self.name, limit.as_secs());
                            let mend = "see whether it is switched on and in reach";
                            return Ended::Broken(Fault::new(FaultKind::Unreachable, what, mend));
                        }
                    },
                    () = self.outbox.flush(), if !self.outbox.is_empty() => self.tell_drops(),
                    command = self.inbox.recv() => match self.refuse(command) {
                        Some(Ended::Again) | None => {}
                        Some(ended) => return ended,
                    },
                }
            }
        };
        let transport = Transport::new(pipe, connector.wake_up());
        self.nodes.clear();
        let now_ms = self.now_ms();
        self.session.handle_connected(now_ms);
        let ended = self.converse(transport, connector).await;
        self.session.handle_disconnected();
        self.drain();
        self.dead = None;
        ended
    }

    async fn converse(&mut self, mut transport: Transport, connector: &impl Connector) -> Ended {
        let opened = Instant::now();
        let mut strange = Strange::default();
        let mut deframer = Deframer::default();
        let mut buffer = [0; 2048];
        loop {
            self.feed();
            self.tell_drops();
            while transport.has_room() {
                let now_ms = self.now_ms();
                let Some(message) = self.session.poll_transmit(now_ms) else { break };
                transport.push(&message);
            }
            self.drain();
            if let Some(reason) = self.dead.take() {
                return Ended::Broken(death(reason, &strange, connector));
            }
            let due = self.session.poll_timeout().map(|due_ms| self.started + Duration::from_millis(due_ms));
            let noise_due = (!strange.known && strange.is_noise()).then_some(opened + self.config.nonsense);
            let due = [due, noise_due].into_iter().flatten().min();
            tokio::select! {
                step = transport.step(&mut buffer) => match step {
                    Ok(Step::Bytes(length)) => self.handle_bytes(&mut deframer, &buffer[..length], &mut strange),
                    Ok(Step::Message(message)) => drop(self.handle_message(&message, &mut strange)),
                    Ok(Step::Wrote) => {}
                    Ok(Step::Closed) => return Ended::Broken(closed(&strange, connector)),
                    Err(error) => return Ended::Broken(broken(&error, &strange, connector)),
                },
                () = self.outbox.flush(), if !self.outbox.is_empty() => self.tell_drops(),
                command = self.inbox.recv(), if self.backlog.len() < BACKLOG => match command {
                    Some(RadioCommand::Reconnect) => return Ended::Again,
                    Some(RadioCommand::Shutdown) | None => {
                        self.say_goodbye(&mut transport).await;
                        return Ended::Shutdown;
                    }
                    Some(command) => self.backlog.push_back(command),
                },
                () = until(due) => {
                    if !strange.known && strange.is_noise() && opened.elapsed() >= self.config.nonsense {
                        return Ended::Broken(connector.nonsense(&strange.first));
                    }
                    let now_ms = self.now_ms();
                    self.session.handle_timeout(now_ms);
                }
            }
            if !strange.known && strange.is_http() {
                return Ended::Broken(connector.nonsense(&strange.first));
            }
        }
    }

    async fn say_goodbye(&mut self, transport: &mut Transport) {
        self.session.say_goodbye();
        let now_ms = self.now_ms();
        while let Some(message) = self.session.poll_transmit(now_ms) {
            transport.push(&message);
        }
        let flushed = async {
            let mut buffer = [0; 512];
            while !transport.is_flushed() {
                match transport.step(&mut buffer).await {
                    Ok(Step::Closed) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE, flushed).await;
    }

    fn handle_bytes(&mut self, deframer: &mut Deframer, mut input: &[u8], strange: &mut Strange) {
        loop {
            // The message is taken out first: whether it is one decides how the search goes on.
            let message = match deframer.next(&mut input) {
                None => break,
                Some(Item::Text(text)) => {
                    strange.handle(text);
                    continue;
                }
                Some(Item::Message(message)) => message.to_vec(),
            };
            if !self.handle_message(&message, strange) {
                deframer.reject();
            }
        }
    }

    /// Takes a message; false where it is none.
    fn handle_message(&mut self, bytes: &[u8], strange: &mut Strange) -> bool {
        let now_ms = self.now_ms();
        let taken = match self.session.handle_message(now_ms, bytes) {
            Ok(taken) => taken,
            Err(_) => {
                strange.handle(bytes);
                return false;
            }
        };
        strange.known = true;
        if self.config.raw {
            self.outbox.push(RadioEvent::Raw(bytes.to_vec()));
        }
        match &taken.message.payload {
            Some(FromRadioPayload::Packet(packet)) => match (taken.answers, packet.decoded()) {
                (Some(id), Some(data)) => {
                    if let Some(at) = self.admin.iter().position(|(open, _)| *open == id) {
                        let _ = self.admin.swap_remove(at).1.send(Ok(data.payload.to_vec()));
                    }
                }
                _ => {
                    if let Some(packet) = OwnedPacket::from_message(packet) {
                        self.outbox.push(RadioEvent::Packet(Box::new(packet)));
                    }
                }
            },
            Some(FromRadioPayload::MyInfo(_)) => self.nodes.clear(),
            Some(FromRadioPayload::NodeInfo(node)) => {
                let node = self.nodes.handle(node);
                if self.up_since.is_some() {
                    self.outbox.push(RadioEvent::Node(Box::new(node)));
                }
            }
            Some(FromRadioPayload::QueueStatus(status)) => self.outbox.push(RadioEvent::QueueStatus {
                res: status.res,
                free: status.free,
                maxlen: status.maxlen,
                id: status.mesh_packet_id,
            }),
            Some(FromRadioPayload::ClientNotification(notice)) => {
                self.outbox.push(RadioEvent::Notice(notice.message.to_string()));
            }
            Some(FromRadioPayload::LogRecord(record)) => tracing::debug!(message = %record.message, "radio"),
            _ => {}
        }
        // One read may hold more messages than the session keeps events.
        self.drain();
        true
    }

    /// Hands waiting commands to the session, as far as it has room.
    fn feed(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            let now_ms = self.now_ms();
            let taken = match &command {
                RadioCommand::Send(packet) => self.session.send(&packet.message()).map(|_| ()),
                RadioCommand::SendRaw(message) => self.session.send_raw(message),
                RadioCommand::Admin { message, want_reply, .. } => match AdminMessage::decode(message) {
                    Ok(request) => match self.session.admin(now_ms, &request, *want_reply) {
                        Ok(id) => {
                            if let RadioCommand::Admin { reply, .. } = command {
                                self.admin.push((id, reply));
                            }
                            continue;
                        }
                        Err(error) => Err(error),
                    },
                    Err(_) => Err(SendError::NotForward),
                },
                RadioCommand::Reconnect | RadioCommand::Shutdown => Ok(()),
            };
            match taken {
                Ok(()) => {}
                // The radio's queue is full: it waits here, and the host behind it.
                Err(SendError::Busy) => {
                    self.backlog.push_front(command);
                    return;
                }
                Err(error) => self.fail(command, &error.to_string(), Failure::LinkLost),
            }
        }
    }

    /// A command that cannot be carried out.
    fn fail(&mut self, command: RadioCommand, what: &str, why: Failure) {
        match command {
            RadioCommand::Send(packet) => self.outbox.push(RadioEvent::Failed { id: packet.id, why }),
            RadioCommand::SendRaw(_) => tracing::debug!(what, "a message for the radio is not passed on"),
            RadioCommand::Admin { reply, .. } => {
                let _ = reply.send(Err(Fault::new(FaultKind::Closed, what, "try again when the link is up")));
            }
            RadioCommand::Reconnect | RadioCommand::Shutdown => {}
        }
    }

    /// What waits and what is open fails with the link.
    fn fail_open(&mut self, what: &str) {
        while let Some(command) = self.backlog.pop_front() {
            self.fail(command, what, Failure::LinkLost);
        }
        for (_, reply) in std::mem::take(&mut self.admin) {
            let _ = reply.send(Err(Fault::new(FaultKind::Closed, what, "try again when the link is up")));
        }
    }

    /// A command while the link is down.
    fn refuse(&mut self, command: Option<RadioCommand>) -> Option<Ended> {
        match command {
            None | Some(RadioCommand::Shutdown) => Some(Ended::Shutdown),
            Some(RadioCommand::Reconnect) => Some(Ended::Again),
            Some(command) => {
                self.fail(command, "the link is down", Failure::LinkLost);
                None
            }
        }
    }

    /// Waits before the next try. False if the host wants no more.
    async fn wait(&mut self, time: Duration) -> bool {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return true,
                () = self.outbox.flush(), if !self.outbox.is_empty() => self.tell_drops(),
                command = self.inbox.recv() => match self.refuse(command) {
                    Some(Ended::Shutdown) => return false,
                    Some(_) => return true,
                    None => {}
                },
            }
        }
    }

    /// Passes the session's events on.
    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Ready { .. } => self.handle_ready(),
                Event::Restarted => {
                    self.up_since = None;
                    self.before = None;
                    self.shown.send_modify(|state| {
                        state.phase = Phase::Connecting;
                        state.detail = "the radio was started anew".into();
                    });
                    self.outbox.push(RadioEvent::Restarted);
                }
                Event::NumberChanged { old, new } => self.outbox.push(RadioEvent::NumberChanged { old, new }),
                Event::Dead(reason) => self.dead = Some(reason),
                Event::Delivered { id, by } => match self.admin.iter().position(|(open, _)| *open == id) {
                    Some(at) => drop(self.admin.swap_remove(at).1.send(Ok(Vec::new()))),
                    None => self.outbox.push(RadioEvent::Delivered { id, by }),
                },
                Event::Failed { id, why } => match self.admin.iter().position(|(open, _)| *open == id) {
                    Some(at) => {
                        let what = format!("the radio does not do what it was asked: {why:?}");
                        let fault =
                            Fault::new(FaultKind::Refusal, what, "see whether it is managed or locked");
                        let _ = self.admin.swap_remove(at).1.send(Err(fault));
                    }
                    None => self.outbox.push(RadioEvent::Failed { id, why }),
                },
                Event::Queue { free, .. } => {
                    self.shown.send_if_modified(|state| state.queue_free.replace(free) != Some(free));
                }
                Event::Metrics { time, metrics } => {
                    self.outbox.push(RadioEvent::Telemetry(Telemetry { time, ..(&metrics).into() }));
                }
                Event::Stats { time, stats } => {
                    self.outbox.push(RadioEvent::Telemetry(Telemetry { time, ..(&stats).into() }));
                }
            }
        }
    }

    fn handle_ready(&mut self) {
        let again = std::mem::replace(&mut self.was_up, true);
        self.up_since = Some(Instant::now());
        let info = info(self.session.radio(), &self.nodes);
        // Its power was off while the link was down: nobody could tell.
        let before = self.before.replace((info.num, info.reboot_count));
        if before.is_some_and(|(num, starts)| num == info.num && starts != info.reboot_count) {
            self.outbox.push(RadioEvent::Restarted);
        }
        let detail = format!("!{:08x}, firmware {}", info.num, info.firmware);
        tracing::info!(link = self.name, detail, "link up");
        self.shown.send_modify(|state| {
            state.phase = Phase::Up;
            state.detail = detail;
            state.reconnects += u64::from(again);
        });
        self.outbox.push(RadioEvent::Up(Box::new(info)));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn death(reason: DeadReason, strange: &Strange, connector: &impl Connector) -> Fault {
    let name = connector.name();
    match reason {
        DeadReason::NoHandshake if strange.count > 0 => connector.nonsense(&strange.first),
        DeadReason::NoHandshake => connector.silence(),
        DeadReason::HandshakeTooLong => Fault::new(
            FaultKind::Unsupported,
            format!("{name} does not come to the end of its state"),
            "restart the radio; if it stays so, see whether its firmware is 2.5 or newer",
        ),
        DeadReason::Silent => {
            Fault::new(FaultKind::Silent, format!("{name} has fallen silent"), "it is opened anew")
        }
    }
}

fn closed(strange: &Strange, connector: &impl Connector) -> Fault {
    match (strange.known, strange.count) {
        (true, _) => {
            let what = format!("{} closed the connection", connector.name());
            let mend =
                "another program took it, since it serves one, or it was started anew; it is opened anew";
            Fault::new(FaultKind::Closed, what, mend)
        }
        (false, 0) => connector.closed(),
        (false, _) => connector.nonsense(&strange.first),
    }
}

fn broken(error: &io::Error, strange: &Strange, connector: &impl Connector) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            closed(strange, connector)
        }
        // A serial adapter that is pulled out gives EIO or ENXIO.
        _ => Fault::new(
            FaultKind::Other,
            format!("{} broke: {error}", connector.name()),
            "see whether the cable and the radio are still there; it is opened anew",
        ),
    }
}
