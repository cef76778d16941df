//! The agent: one node's share of the swarm.
//!
//! # Calling contract
//!
//! The agent does no I/O, reads no clock and draws no randomness of its own. Its host repeats three steps:
//!
//! 1. **Mutate**: hand in what happened, with the time: [`Agent::handle_frame`], [`Agent::submit`],
//!    [`Agent::complete`], [`Agent::handle_timeout`] and the others.
//! 2. **Drain**: [`Agent::poll_transmit`] until it gives nothing, [`Agent::poll_event`] until it gives nothing.
//! 3. **Wait** until the time that [`Agent::poll_timeout`] names, or until something happens.
//!
//! Time never runs backwards. Extra calls are harmless.

use compotastic_bundle::{ComponentKind, Refusal, Slots, TrustStore};
use compotastic_mesh::{
    modules::{NODEINFO_PORT, POSITION_PORT, TELEMETRY_PORT},
    packet::NodeNum,
    rng::Rng,
    router::{Gate, Priority as QueuePriority, ROUTING_PORT},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_wire::{self as wire, Beacon, Frame, IdBlocks, KeyRing, MAX_PAYLOAD, ReplayTable};
use embedded_storage::nor_flash::NorFlash;
use heapless::{Deque, Vec};

use crate::{
    beacons::Beacons,
    firmware::Upkeep,
    governor::Governor,
    jobs::{CodedText, Fallback, Job, JobId, Jobs, TEXT_MAX},
    keys::Rekeying,
    letters::Letters,
    near::{NEAR, Near},
    outbox::Outbox,
    policy::{Destination, Form, MissionProfile, Priority},
    promises::{Outcome, Promises, State, Ticket, Trouble},
    quiet::Restraint,
    registry::Registry,
    reports::Seen,
    requester::Reply,
    round_trip::RoundTrip,
    spread::Objects,
    state::StateLog,
    sync::Sync,
    talk::{OUT_PARTS, OutPart, TextAnswer},
    update::{COMPONENTS, MODEL, Update},
};

/// Longest report that a node takes, in bytes of UTF-8. Longer ones are refused with an error, not cut.
pub const REPORT_MAX: usize = 320;
/// Frames of answers and receipts that may wait at a time; one more is refused by silence and asked again.
const REPLIES: usize = 16;
/// Reminders that may wait; without one the request itself is repeated.
const REMINDERS: usize = 4;
/// Events that may wait for the host. When the host does not drain, the oldest is lost.
const EVENTS: usize = 32;
/// Replay windows: senders remembered.
const REPLAY_SENDERS: usize = 256;

/// What a node is told when it is commissioned.
pub struct AgentConfig<'a> {
    /// Own node number.
    pub num: NodeNum,
    /// Device class of the capability record, 0..=31.
    pub device_class: u8,
    /// Hash of the capability record.
    pub record_hash: u32,
    /// Swarm keys (two epochs at most).
    pub keys: KeyRing,
    /// Operator keys, and what they delegated.
    pub trust: TrustStore,
    /// The base encoder in its flash partition, when there is one.
    pub base: Option<BaseEncoder<'a>>,
    /// Task that the mission's reports are for.
    pub task: u8,
    /// What answers set in motion.
    pub profile: MissionProfile,
    /// Where reports go.
    pub command_post: Option<NodeNum>,
    /// This node runs a foundation model; its host answers [`AgentEvent::Execute`].
    pub foundation_model: bool,
    /// Version of that model, as shown with its answers.
    pub foundation_version: u8,
    /// Runs on mains power.
    pub mains_power: bool,
    /// A job without an answer ends with a reason after this time.
    pub job_lifetime: Duration,
    /// Hops that floods of this node may take.
    pub hop_limit: u8,
}

/// What the host knows of the radio when it asks for the next frame.
#[derive(Clone, Copy, Debug)]
pub struct LinkState {
    /// Channel utilisation, permille.
    pub utilization_permille: u16,
    /// Packets that wait in the radio's queue.
    pub queued: usize,
    /// A bulk frame of this node is still in that queue.
    pub bulk_queued: bool,
    /// About how long a flood takes to cross the mesh.
    pub flood_time: Duration,
    /// Time on air of a payload of [`BULK_LEN`] bytes, for the governor.
    pub bulk_airtime: Duration,
}

/// Payload length of a full symbol.
pub const BULK_LEN: usize = 222;

impl LinkState {
    /// About the time on air of a payload on our port: a bulk frame's, in proportion, and never less than a third.
    pub(crate) fn time_on_air(&self, payload_len: usize) -> Duration {
        let part = self.bulk_airtime.as_micros() * payload_len as u64 / BULK_LEN as u64;
        Duration::from_micros(part.max(self.bulk_airtime.as_micros() / 3))
    }
}

/// A payload to be sent on our port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFrame {
    /// Destination in the packet header.
    pub to: NodeNum,
    /// Packet id, which is also the replay counter and in the MAC.
    pub id: u32,
    /// Hop limit; 0 = direct neighbours.
    pub hop_limit: u8,
    /// Last hop repeats until it hears the answer.
    pub want_ack: bool,
    /// Gate that holds it back.
    pub gate: Gate,
    /// Place in the radio's queue.
    pub priority: QueuePriority,
    /// The sealed frame.
    pub payload: Vec<u8, MAX_PAYLOAD>,
}

/// A packet on our port, as the router delivers it.
#[derive(Clone, Copy, Debug)]
pub struct InFrame<'a> {
    /// Sender.
    pub from: NodeNum,
    /// Destination: this node, everybody, or (overheard) another node.
    pub to: NodeNum,
    /// Packet id.
    pub id: u32,
    /// Hops that it took, when known.
    pub hops_away: Option<u8>,
    /// Time on air of the frame as heard: overheard bulk is paid for too.
    pub airtime: Duration,
    /// The sealed frame.
    pub payload: &'a [u8],
}

/// Why a job ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFailure {
    /// Nobody who could answer was heard of before the deadline.
    NoExecutor,
    /// Somebody was asked, and no answer came before the deadline.
    NoAnswer,
    /// The executor does not offer this task.
    Unsupported,
    /// It tried, and has no answer.
    Failed(Trouble),
}

/// An answer to a job of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub by: NodeNum,
    /// Class index.
    pub class: u8,
    /// How sure, 0..=15.
    pub confidence: u8,
    /// Which model (low 8 bits of its version).
    pub model_version: u8,
    /// The model would rather not be believed, and nobody better answered in time.
    pub unsure: bool,
    /// From submission to answer.
    pub latency: Duration,
    /// Requests that it took; 0 = answered by this node itself.
    pub attempts: u8,
}

/// What the host has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// A job of this node was answered.
    Answered {
        /// Its name.
        job: JobId,
        /// The answer.
        answer: Answer,
    },
    /// A job of this node was answered in words or numbers: [`Agent::answer_text`], [`Agent::answer_vector`].
    AnsweredText {
        /// Its name.
        job: JobId,
        /// What is known of the answer.
        answer: TextAnswer,
    },
    /// A job of this node ended without an answer.
    JobFailed {
        /// Its name.
        job: JobId,
        /// Why.
        reason: JobFailure,
    },
    /// The host's foundation model is asked; see [`Agent::ticket_kind`] and [`Agent::ticket_long_text`], then
    /// [`Agent::complete`], [`Agent::complete_text`], [`Agent::complete_vector`] or [`Agent::complete_failed`].
    Execute(Ticket),
    /// The command post confirmed a report.
    ReportDelivered {
        /// The job whose answer set it in motion.
        job: JobId,
    },
    /// A report could not be delivered.
    ReportLost {
        /// The job whose answer set it in motion.
        job: JobId,
    },
    /// This node is the command post and received a report.
    ReportReceived {
        /// Who reported.
        from: NodeNum,
        /// Class index.
        class: u8,
        /// Service order.
        priority: Priority,
        /// Form in which it came.
        form: Form,
        /// Age in minutes, saturating.
        age_min: u8,
    },
    /// A signed manifest was accepted; its pieces are collected when its turn comes.
    ObjectWanted {
        /// Object tag.
        tag: u32,
    },
    /// A node that carries objects ([`Agent::carry_objects`]) was offered one of a component that it does not have, with a good
    /// signature: [`Agent::add_component`], at once, gives it a place.
    ObjectUnplaced {
        /// Its kind.
        kind: ComponentKind,
        /// Its task.
        task: u8,
    },
    /// All pieces of an object are here and verified.
    ObjectComplete {
        /// Object tag.
        tag: u32,
    },
    /// A model part was installed, tried and is now in use.
    ModelActivated {
        /// Its version.
        version: u16,
    },
    /// A member told its X25519 key.
    NodeKey {
        /// Whose.
        from: NodeNum,
        /// The key.
        public: [u8; 32],
    },
    /// The keys of the next epoch are here ([`Agent::pending_keys`]): the host keeps them over restarts.
    KeysPending {
        /// Their epoch.
        epoch: u8,
    },
    /// They are in force: the host keeps them, and gives the radio the channel's new key.
    KeysSwitched {
        /// Their epoch.
        epoch: u8,
        /// Key of the channel.
        channel_key: [u8; 32],
    },
    /// A member has the keys of a rotation.
    KeyReceipt {
        /// Who.
        from: NodeNum,
        /// Their epoch.
        epoch: u8,
        /// Number of the rotation.
        number: u32,
    },
    /// A bundle was refused.
    BundleRefused(BundleRefusal),
    /// New firmware is in place: the host restarts the device when it suits, and the boot loader tries it
    /// ([`crate::firmware`]).
    RestartForTrial {
        /// Its version.
        version: u32,
    },
    /// The firmware that runs has passed its trial.
    FirmwareConfirmed {
        /// Its version.
        version: u32,
    },
    /// The firmware that runs has failed its trial: the host restarts the device, and the boot loader brings the one before back.
    RestartToRevert {
        /// Its version.
        version: u32,
    },
    /// The object here made firmware that has failed its trial; told at each start while the object is here.
    FirmwareFailed {
        /// Its version.
        version: u32,
    },
}

/// Why a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleRefusal {
    /// Signature, key, policy or version: the manifest's verdict.
    Manifest(Refusal),
    /// The delegation of its signer is not in order.
    Delegation,
    /// The content is no task part, or not for our base encoder.
    Content,
    /// Flash refused an operation.
    Storage,
    /// New firmware waits for a restart, or for the end of its trial; this one is considered again in a while.
    OnTrial,
}

/// Why a report was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// Empty text.
    Empty,
    /// More than [`REPORT_MAX`] bytes, or more than fit one frame even when coded.
    TooLong,
    /// [`crate::jobs::CAPACITY`] jobs are open; try again when one has ended.
    Busy,
}

/// One node's agent, over the flash `F` that holds its slots and its object store.
pub struct Agent<'a, F: NorFlash> {
    pub(crate) config: AgentConfig<'a>,
    pub(crate) rng: Rng,
    pub(crate) ids: IdBlocks,
    pub(crate) replay: ReplayTable<REPLAY_SENDERS>,
    pub(crate) registry: Registry,
    pub(crate) beacons: Beacons,
    pub(crate) jobs: Jobs,
    pub(crate) round_trip: RoundTrip,
    /// The link repeats what is lost on a hop.
    pub(crate) link_repeats: bool,
    pub(crate) promises: Promises,
    pub(crate) outbox: Outbox,
    pub(crate) seen: Seen,
    pub(crate) objects: Objects,
    pub(crate) update: Update<F>,
    pub(crate) governor: Governor,
    pub(crate) replies: Deque<Reply, REPLIES>,
    /// Questions and answers that are longer than a frame.
    pub(crate) letters: Letters,
    pub(crate) out_parts: Deque<OutPart, OUT_PARTS>,
    /// Without a part for so long, the missing ones are asked for.
    pub(crate) part_gap: Duration,
    /// Time on air of a part, and when the next may follow.
    pub(crate) part_air: Duration,
    pub(crate) part_at: Instant,
    /// Requests and reports whose answers are missed.
    pub(crate) reminders: Deque<(NodeNum, u32), REMINDERS>,
    pub(crate) events: Deque<AgentEvent, EVENTS>,
    pub(crate) near: Vec<Near, NEAR>,
    /// All members' capability records, once this node has told its own.
    pub(crate) sync: Option<Sync>,
    /// When the agent started: it listens before it calls into the mesh.
    pub(crate) started: Instant,
    /// Open calls in a row that nobody offered to take; no further one goes out before that time.
    pub(crate) calls: (u8, Instant),
    /// Frames that were refused (bad MAC, replayed, malformed, unknown), for the status record.
    pub(crate) refused_frames: u32,
    pub(crate) restraint: Restraint,
    /// Keys of the next epoch, where the host has told who this node is.
    pub(crate) rekeying: Option<Rekeying>,
    pub(crate) upkeep: Upkeep,
}

impl<'a, F: NorFlash> Agent<'a, F> {
    /// An agent over opened flash. `None` when the mark of used packet ids cannot be read: without it the node would
    /// reuse nonces.
    pub fn new(
        mut config: AgentConfig<'a>,
        slots: Slots<F>,
        state: StateLog<F>,
        seed: u64,
        now: Instant,
    ) -> Option<Self> {
        let mut rng = Rng::from_seed(seed).child(0x6167_656e);
        let mut update = Update::new(slots, state, config.base.as_ref(), config.task);
        let ids = IdBlocks::new(update.id_mark().ok()?);
        update.recall_trust(&mut config.trust).ok()?;
        let beacons = Beacons::new(now, config.foundation_model, config.record_hash, &mut rng);
        let objects = Objects::new(rng.child(1));
        let mut agent = Self {
            config,
            rng,
            ids,
            replay: ReplayTable::new(),
            registry: Registry::default(),
            beacons,
            jobs: Jobs::new(),
            round_trip: RoundTrip::default(),
            link_repeats: true,
            promises: Promises::default(),
            outbox: Outbox::default(),
            seen: Seen::default(),
            objects,
            update,
            governor: Governor::new(now),
            replies: Deque::new(),
            letters: Letters::default(),
            out_parts: Deque::new(),
            part_gap: Duration::from_secs(15),
            part_air: Duration::from_secs(2),
            part_at: now,
            reminders: Deque::new(),
            events: Deque::new(),
            near: Vec::new(),
            sync: None,
            started: now,
            calls: (0, Instant::ZERO),
            refused_frames: 0,
            restraint: Restraint::default(),
            rekeying: None,
            upkeep: Upkeep::default(),
        };
        // What is in use can be passed on after a restart too.
        agent.hold_active(MODEL);
        Some(agent)
    }

    /// Another component than the model, in flash of its own: objects of this kind and task are collected, kept and passed on, and
    /// the host uses them ([`Self::content`]). False if there is such a component, or no room for one.
    pub fn add_component(&mut self, kind: ComponentKind, task: u8, slots: Slots<F>) -> bool {
        let added = self.update.add_component(kind, task, slots);
        if added {
            self.hold_active(self.update.components() - 1);
        }
        added
    }

    /// The version of a component that is in force.
    pub fn component_version(&self, kind: ComponentKind, task: u8) -> Option<u32> {
        self.update.component_version(self.update.component_for(kind, task)?)
    }

    /// Reads a component's content that is in force from `offset` on, with zeros behind its end; its length.
    pub fn content(&mut self, kind: ComponentKind, task: u8, offset: u32, out: &mut [u8]) -> Option<u32> {
        let component = self.update.component_for(kind, task)?;
        self.update.read_content(component, offset, out)
    }

    /// How much of the newest object of a component is here, 0 to 255; none if there is none.
    pub fn object_progress(&self, kind: ComponentKind, task: u8) -> Option<u8> {
        let component = self.update.component_for(kind, task)?;
        let known = self.objects.all[component].manifest.complete;
        known.then(|| self.update.progress(component))
    }

    /// The sender repeats a packet that was delivered: our answer did not reach it.
    pub fn handle_duplicate(&mut self, from: NodeNum, id: u32) {
        let ticket = Ticket { requester: from, reference: id as u16 };
        let promise = self.promises.get(ticket);
        let is_talk = promise.is_some_and(|promise| promise.kind.is_talk());
        match promise.map(|promise| promise.state) {
            // Its further parts are asked for where they are missing.
            Some(State::Done(outcome)) if is_talk => self.reply_again(ticket, outcome),
            Some(State::Done(outcome)) => self.reply(ticket, outcome.status(), outcome),
            Some(State::Failed(trouble)) => self.reply_failed(ticket, trouble),
            _ => {}
        }
    }

    /// What was submitted is classified here if this node has a model that is sure, else asked of an executor. The
    /// outcome comes as [`AgentEvent::Answered`] or [`AgentEvent::JobFailed`].
    pub fn submit(&mut self, now: Instant, text: &str) -> Result<JobId, SubmitError> {
        self.submit_classification(now, text, Priority::Routine, self.config.job_lifetime)
    }

    /// The same with an order of service, which an unsure answer of our own may raise, and another lifetime.
    pub(crate) fn submit_classification(
        &mut self,
        now: Instant,
        text: &str,
        priority: Priority,
        lifetime: Duration,
    ) -> Result<JobId, SubmitError> {
        let text_trimmed = text.trim();
        if text_trimmed.is_empty() {
            return Err(SubmitError::Empty);
        }
        let coded = code_text(text_trimmed)?;
        let local = self.update.classify(self.config.base.as_ref(), text_trimmed);
        if let Some(local) = local.filter(|local| !local.unsure) {
            let id = self.jobs.name_local();
            let answer = Answer {
                by: self.config.num,
                class: local.class,
                confidence: local.confidence >> 4,
                model_version: local.model_version as u8,
                unsure: false,
                latency: Duration::from_micros(0),
                attempts: 0,
            };
            self.settle(now, id, &coded, answer);
            return Ok(id);
        }
        let fallback = local.map(|local| Fallback {
            class: local.class,
            confidence: local.confidence,
            model_version: local.model_version,
        });
        let priority = match fallback {
            // An unsure "this may be urgent" is asked first.
            Some(fallback) => self.config.profile.of(fallback.class).priority.max(priority),
            None => priority,
        };
        self.jobs.submit(now, coded, priority, lifetime, fallback).ok_or(SubmitError::Busy)
    }

    /// An answer is there: tell the host, and let the class decide what becomes of the report.
    pub(crate) fn settle(&mut self, now: Instant, id: JobId, text: &CodedText, answer: Answer) {
        self.push_event(AgentEvent::Answered { job: id, answer });
        let policy = self.config.profile.of(answer.class);
        let Some(post) = self.config.command_post else { return };
        // The command post has the text already if it gave the answer, and needs no frame if it is this node.
        if policy.destination != Destination::Command || answer.by == post || self.config.num == post {
            return;
        }
        let carried = match policy.form {
            Form::Code => None,
            Form::Summary => summarise(text),
            Form::FullText => Some(text.clone()),
        };
        let form = if carried.is_some() { policy.form } else { Form::Code };
        // A number that does not come again after a restart, or the post would take the report for one before. Without
        // packet ids nothing is sent anyway.
        let origin = self.next_id().unwrap_or(id.0) as u16;
        let given_up = self.outbox.push(
            now,
            id,
            origin,
            answer.class,
            answer.confidence,
            answer.model_version,
            policy.priority,
            form,
            carried,
        );
        if let Some(job) = given_up {
            self.push_event(AgentEvent::ReportLost { job });
        }
    }

    /// The job ends here without an answer, or with our own unsure one.
    pub(crate) fn give_up(&mut self, now: Instant, job: Job, reason: JobFailure) {
        match job.fallback {
            Some(fallback) => {
                let answer = Answer {
                    by: self.config.num,
                    class: fallback.class,
                    confidence: fallback.confidence >> 4,
                    model_version: fallback.model_version as u8,
                    unsure: true,
                    latency: now.saturating_duration_since(job.submitted),
                    attempts: job.attempts,
                };
                self.settle(now, job.id, &job.text, answer);
            }
            None => self.push_event(AgentEvent::JobFailed { job: job.id, reason }),
        }
    }

    /// A packet on our port was heard. What is forged, replayed or malformed is counted and ignored; true for all else.
    pub fn handle_frame(&mut self, now: Instant, incoming: &InFrame<'_>) -> bool {
        self.consider_new_epoch(now, incoming);
        let open = |to: NodeNum| {
            let address = wire::Address { from: incoming.from.0, to: to.0, id: incoming.id };
            wire::open(incoming.payload, &self.config.keys, &address).map(|(frame, _)| (frame, to))
        };
        let mut opened = open(incoming.to);
        if opened == Err(wire::OpenError::BadMac) && incoming.to == NodeNum::BROADCAST {
            // A hosted node's radio sends no unicast that we could read; it broadcasts what is sealed for us alone.
            opened = open(self.config.num);
        }
        let Ok((frame, to)) = opened else {
            self.refused_frames = self.refused_frames.saturating_add(1);
            return false;
        };
        let incoming = &InFrame { to, ..*incoming };
        if incoming.from == self.config.num || !self.replay.accept(incoming.from.0, incoming.id) {
            self.refused_frames = self.refused_frames.saturating_add(1);
            return false;
        }
        self.firmware_hears(now);
        let for_us = incoming.to == self.config.num || incoming.to == NodeNum::BROADCAST;
        if incoming.hops_away == Some(0) && !matches!(frame, Frame::Beacon(_)) {
            self.registry.handle_near(now, incoming.from);
        }
        match frame {
            Frame::Beacon(beacon) => self.handle_beacon(now, incoming, &beacon),
            Frame::Request(request) if for_us => self.handle_request(now, incoming, &request),
            Frame::Offer(offer) => self.handle_offer(now, incoming, &offer),
            Frame::Award(award) => self.handle_award(now, incoming, &award),
            Frame::Result(result) if for_us => self.handle_result(now, incoming, &result),
            Frame::Part(part) => self.handle_part(now, incoming, &part),
            Frame::PartRequest(request) => self.handle_part_request(now, incoming, &request),
            Frame::Report(report) if for_us => self.handle_report(now, incoming, &report),
            Frame::Symbol(symbol) => self.handle_symbol(now, incoming, &symbol),
            Frame::SymbolRequest(request) => self.handle_symbol_request(now, incoming, &request),
            Frame::Record(record) if for_us && self.handle_key_record(now, incoming, &record) => {}
            Frame::Record(record) => self.handle_record(now, incoming, &record),
            Frame::Advert(advert) => self.handle_advert(now, incoming, &advert),
            Frame::RecordRequest(request) if for_us && request.record_type == wire::RecordType::NodeKey => {
                self.handle_key_request(now);
            }
            Frame::RecordRequest(request) if for_us => self.handle_record_request(now, incoming, &request),
            // Whoever answers others is there.
            Frame::Result(_) => {
                self.registry.handle_answer(now, incoming.from);
                self.wake_jobs(now);
            }
            Frame::SyncDigest(_) | Frame::SyncList(_) | Frame::SyncRecords(_) => {
                self.handle_sync(now, incoming, &frame)
            }
            Frame::Request(_) | Frame::Report(_) | Frame::RecordRequest(_) => {}
        }
        true
    }

    /// A packet of somebody else was heard, on another port than ours. Periodic broadcasts are no company.
    pub fn handle_others(&mut self, now: Instant, port: u16) {
        if ![NODEINFO_PORT, POSITION_PORT, TELEMETRY_PORT, ROUTING_PORT].contains(&port) {
            self.governor.handle_company(now);
        }
    }

    /// The router gave up on a packet: the next hop did not repeat it. The first time the job is sent again soon, after that
    /// in its own time: the air may be the reason.
    pub fn handle_undelivered(&mut self, now: Instant, packet: u32) {
        if let Some(job) = self.jobs.by_packet(packet)
            && matches!(job.phase, crate::jobs::Phase::Asked(_))
            && job.attempts_here <= 1
        {
            let soon = now + Duration::from_secs(15);
            if job.next_at > soon {
                job.next_at = soon;
            }
            job.need_not_remind();
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_keys(now);
        self.expire_jobs(now);
        while let Some(entry) = self.outbox.expire(now) {
            self.push_event(AgentEvent::ReportLost { job: entry.job });
        }
        self.promises.expire(now);
        self.expire_letters();
        self.handle_object_timeout(now);
        self.handle_firmware_timeout(now);
    }

    /// The next frame to send, most urgent first: answers, then requests and reports, then beacons, then bulk.
    pub fn poll_transmit(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        self.governor.update(now, link.utilization_permille);
        // The radio's queue holds 16 packets and relays need it too; what waits here can still change its mind.
        if link.queued >= 6 {
            return None;
        }
        if self.is_quiet() {
            return self.poll_urgent(now, link);
        }
        self.poll_reply(now)
            .or_else(|| self.poll_part(now, link))
            .or_else(|| self.poll_offer(now))
            .or_else(|| self.poll_request(now, link))
            .or_else(|| self.poll_report(now, link))
            .or_else(|| self.poll_keys(now))
            .or_else(|| self.poll_beacon(now, link))
            .or_else(|| self.poll_bulk(now, link))
            .or_else(|| self.poll_sync(now, link))
    }

    /// A packet whose answer is missed: its destination and its id. The link asks the neighbours for the answer,
    /// where it can ([`compotastic_mesh::router::Router::remind`]).
    pub fn poll_reminder(&mut self) -> Option<(NodeNum, u32)> {
        self.reminders.pop_front()
    }

    /// The next event for the host.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.jobs.poll_timeout(),
            self.outbox.poll_timeout(),
            self.promises.poll_timeout(),
            Some(self.beacons.poll_timeout()),
            self.object_timeout(),
            self.sync_timeout(),
            self.keys_timeout(),
            self.talk_timeout(),
            self.firmware_timeout(),
            (!self.replies.is_empty()).then_some(Instant::ZERO),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Seals a frame under a fresh packet id. `None` when ids cannot be reserved (flash failed): a node that cannot
    /// keep its ids rising stays silent rather than reuse one.
    pub(crate) fn seal(
        &mut self,
        frame: &Frame<'_>,
        to: NodeNum,
        hop_limit: u8,
        want_ack: bool,
        gate: Gate,
        priority: QueuePriority,
    ) -> Option<OutFrame> {
        let id = self.next_id()?;
        self.seal_as(id, frame, to, hop_limit, want_ack, gate, priority)
    }

    /// Seals a frame under a packet id that was taken before, since the frame itself names it.
    #[allow(clippy::too_many_arguments, reason = "the fields of one packet")]
    pub(crate) fn seal_as(
        &mut self,
        id: u32,
        frame: &Frame<'_>,
        to: NodeNum,
        hop_limit: u8,
        want_ack: bool,
        gate: Gate,
        priority: QueuePriority,
    ) -> Option<OutFrame> {
        let address = wire::Address { from: self.config.num.0, to: to.0, id };
        let mut buffer = [0; MAX_PAYLOAD];
        let length = wire::seal(frame, &self.config.keys, &address, &mut buffer).ok()?;
        let payload = Vec::from_slice(&buffer[..length]).ok()?;
        Some(OutFrame { to, id, hop_limit, want_ack, gate, priority, payload })
    }

    /// A fresh packet id; also for packets of the stock modules, which share the sequence.
    pub fn next_id(&mut self) -> Option<u32> {
        if let Some(id) = self.ids.next() {
            return Some(id);
        }
        let reserved = self.ids.reserve();
        self.update.store_id_mark(reserved).ok()?;
        self.ids.confirm(reserved);
        self.ids.next()
    }

    pub(crate) fn push_event(&mut self, event: AgentEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// Own air time that counts as spent at a start, ms.
    pub(crate) fn airtime_mark_ms(&mut self) -> Option<u32> {
        self.update.airtime_mark_ms()
    }

    /// Notes it; false if flash refuses.
    pub(crate) fn store_airtime_mark_ms(&mut self, mark_ms: u32) -> bool {
        self.update.store_airtime_mark_ms(mark_ms).is_ok()
    }

    /// The link sends each packet once: what is lost on the way is repeated by this agent alone.
    pub(crate) fn set_link_without_repetition(&mut self) {
        self.link_repeats = false;
    }

    /// This node's number.
    pub fn num(&self) -> NodeNum {
        self.config.num
    }

    /// Gives the flash back (of each component, the model's first, and of the state), for a restart in tests and simulations.
    pub fn into_flash(self) -> (Vec<F, COMPONENTS>, F) {
        self.update.into_flash()
    }

    /// The registry, for people and tests.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Version of the model part in use.
    pub fn model_version(&self) -> Option<u16> {
        self.update.active_version()
    }

    /// The model part in use; empty without one.
    pub fn model_part(&self) -> &[u8] {
        self.update.part()
    }

    /// Symbols of objects that this node sent since its start.
    pub fn symbols_sent(&self) -> u32 {
        self.objects.symbols_sent
    }

    /// Frames that were refused since the start.
    pub fn refused_frames(&self) -> u32 {
        self.refused_frames
    }
}

/// Codes a text for the air.
pub(crate) fn code_text(text: &str) -> Result<CodedText, SubmitError> {
    if text.len() > REPORT_MAX {
        return Err(SubmitError::TooLong);
    }
    let mut buffer = [0; REPORT_MAX];
    let (codec, length) = compotastic_text::encode(text, &mut buffer).map_err(|_| SubmitError::TooLong)?;
    let bytes: Vec<u8, TEXT_MAX> = Vec::from_slice(&buffer[..length]).map_err(|_| SubmitError::TooLong)?;
    Ok(CodedText { codec, bytes })
}

/// Reads a coded text.
pub(crate) fn read_text<'b>(text: &CodedText, buffer: &'b mut [u8; REPORT_MAX]) -> Option<&'b str> {
    compotastic_text::decode(text.codec, &text.bytes, buffer).ok()
}

/// The first words of a text, [`SUMMARY_MAX`] bytes at most, cut at a word where there is one.
fn summarise(text: &CodedText) -> Option<CodedText> {
    /// Bytes of UTF-8 in a summary.
    const SUMMARY_MAX: usize = 40;
    let mut buffer = [0; REPORT_MAX];
    let whole = read_text(text, &mut buffer)?;
    if whole.len() <= SUMMARY_MAX {
        return Some(text.clone());
    }
    let mut end = SUMMARY_MAX;
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    let cut = whole[..end].rfind(' ').filter(|at| *at > SUMMARY_MAX / 2).unwrap_or(end);
    code_text(&whole[..cut]).ok()
}

/// The flags of this node's beacon.
pub(crate) fn beacon_flags(foundation_model: bool, mains_power: bool, student: bool) -> u8 {
    let mut flags = 0;
    if foundation_model {
        flags |= Beacon::EXECUTES | Beacon::FOUNDATION_MODEL;
    }
    if mains_power {
        flags |= Beacon::MAINS_POWER;
    }
    if student {
        flags |= Beacon::EXECUTES | Beacon::STUDENT;
    }
    flags
}

/// What a promise came to, as the result frame carries it.
impl Outcome {
    pub(crate) const fn status(&self) -> wire::ResultStatus {
        if self.unsure { wire::ResultStatus::Unsure } else { wire::ResultStatus::Ok }
    }
}
