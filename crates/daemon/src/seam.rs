//! What the parts of the daemon say to each other: the node's task on one side, the HTTP API, people's messages and the
//! shared radio on the other.
//!
//! One task owns the node. All others hold a [`NodeHandle`]: they send it [`Command`]s, whose answers come back by themselves, and
//! listen to its [`Event`]s. Both ways are bounded: a full command queue makes its sender wait, and a listener that is too slow
//! loses the oldest events and is told how many.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot};
use utoipa::ToSchema;

/// Commands that may wait for the node's task.
pub const COMMANDS: usize = 64;
/// Events that a listener may be behind.
pub const EVENTS: usize = 256;

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// One class of the mission's task.
    Classify,
    /// An answer in words.
    Chat,
    /// A vector of numbers.
    Embed,
}

/// Service order; also decides who yields when the air is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobPriority {
    /// Whenever there is room.
    Low,
    /// The usual one.
    #[default]
    Normal,
    /// Before others.
    High,
    /// A matter of life.
    Urgent,
}

/// A job as it is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSpec {
    /// What is asked for.
    pub kind: JobKind,
    /// The text.
    pub text: String,
    /// Service order.
    #[serde(default)]
    pub priority: JobPriority,
    /// The job ends with a reason after this many seconds; the mission's default where it is missing.
    #[serde(default)]
    pub deadline_s: Option<u32>,
    /// Most characters of an answer in words, where the one who asks can take no more.
    #[serde(default)]
    pub max_chars: Option<u16>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Asked at a node, or at work here.
    Running {
        /// Node number of the executor, when it is known.
        by: Option<u32>,
    },
    /// Answered.
    Done(JobAnswer),
    /// Ended without an answer.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// Taken back by its submitter.
    Cancelled,
}

impl JobState {
    /// True if nothing more will happen.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Running { .. })
    }
}

/// An answer, with who gave it and how sure it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobAnswer {
    /// Node number of who answered.
    pub by: u32,
    /// The model, as far as it is known.
    pub model: String,
    /// From submission to answer, milliseconds.
    pub latency_ms: u64,
    /// Frames of requests that it took; 0 = answered by this node itself.
    pub attempts: u32,
    /// The class, of a classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// 0..=1, of a classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// The words, of a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The vector, of an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
}

/// A job as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its number on this node: never used again, also not after a restart.
    pub id: u64,
    /// What was asked.
    pub spec: JobSpec,
    /// When, milliseconds since 1970 by this machine's clock.
    pub submitted_ms: u64,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
}

/// A node of the mesh, or of the swarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Node number.
    pub num: u32,
    /// `!` and eight hexadecimal digits.
    pub id: String,
    /// Names that the node tells, empty where unknown.
    pub long_name: String,
    /// Up to four characters.
    pub short_name: String,
    /// Seconds since it was last heard, where it ever was.
    pub heard_s_ago: Option<u64>,
    /// Hops to it, where known.
    pub hops_away: Option<u8>,
    /// Signal to noise ratio of what was last heard directly, dB.
    pub snr_db: Option<f32>,
    /// Percent, where the node tells it.
    pub battery_percent: Option<u8>,
    /// It is a member of our swarm.
    pub member: bool,
    /// It answers with a foundation model.
    pub foundation_model: bool,
    /// Version of the student that it runs.
    pub model_version: Option<u16>,
    /// Jobs in its queue as it tells, 0..=15.
    pub load: Option<u8>,
    /// Device class of the swarm's record.
    pub device_class: Option<u8>,
    /// Kinds of jobs that it takes, as its beacons tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<JobKind>,
    /// Members that it hears directly, as its last beacon names them: ids, or `?` and four hexadecimal digits (the halves of the
    /// number XORed) where no such node is known here. Beacons name 24 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Vec<String>>,
}

/// An object that is held or collected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObjectView {
    /// Object tag, eight hexadecimal digits.
    pub tag: String,
    /// Component kind: model, policy, logic, firmware.
    pub kind: String,
    /// Task of the component.
    pub task: u8,
    /// Version.
    pub version: u32,
    /// Bytes.
    pub bytes: u32,
    /// Share of the pieces here, percent.
    pub progress_percent: u8,
    /// This node published it.
    pub published_here: bool,
    /// Paused here.
    pub paused: bool,
    /// Members that have it, as far as beacons tell.
    pub complete_at: Vec<u32>,
    /// Of firmware: members on which it runs and has passed its trial, as far as beacons tell; absent for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_at: Option<Vec<u32>>,
}

/// The air, and what this node may still use of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AirtimeView {
    /// All air time of the last 60 s, percent, as far as it is known.
    pub channel_utilization_percent: f32,
    /// False where it is not known: no radio has told, in the first minute of the node.
    #[serde(default = "is_known")]
    pub known: bool,
    /// Utilisation from which bulk waits, percent; 0 where it is not told.
    #[serde(default)]
    pub polite_percent: f32,
    /// Utilisation from which all but alerts waits, percent; 0 where it is not told.
    #[serde(default)]
    pub hard_percent: f32,
    /// Own air time of the last hour, percent.
    pub air_util_tx_percent: f32,
    /// What the region allows, percent.
    pub duty_cycle_percent: f32,
    /// Share of the air that bulk may use now, percent.
    pub bulk_share_percent: f32,
    /// Which gate holds: `open`, `polite` (no bulk), `hard` (alerts only), `starting` (alerts only, for the first minute), `duty-cycle`, `quiet-hours`, `no-telemetry`,
    /// `lan-share` (the air behind the links is used up).
    pub gate: String,
    /// Factor by which periodic sends are stretched for a crowded mesh.
    pub congestion_factor: f32,
    /// Packets and their air time in milliseconds, by what they were for.
    pub by_purpose: Vec<PurposeView>,
}

/// A daemon that does not say so tells what it knows.
fn is_known() -> bool {
    true
}

/// Packets of one purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurposeView {
    /// beacons, jobs, results, symbols, people, shared-clients, mesh, relays, bridged, ...
    pub purpose: String,
    /// Packets since the start.
    pub packets: u64,
    /// Their time on air, milliseconds.
    pub airtime_ms: u64,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// As it was given, without passwords.
    pub url: String,
    /// `up`, `connecting` or `down`.
    pub state: String,
    /// Why it is down, or what was found.
    pub detail: String,
    /// Times that it was connected anew.
    pub reconnects: u64,
    /// What of other nodes does not go from the other links to this one, and why; empty where there is nothing to say.
    #[serde(default)]
    pub not_bridged: String,
}

/// The whole state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// This node's number.
    pub num: u32,
    /// `!` and eight hexadecimal digits.
    pub id: String,
    /// Name of the swarm, where one was joined.
    pub swarm: Option<String>,
    /// `hosted`, `native` or `listening`.
    pub mode: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Region and preset, as their usual names.
    pub region: String,
    /// Preset.
    pub preset: String,
    /// The model that answers here, where there is one.
    pub model: Option<String>,
    /// Links.
    pub links: Vec<LinkView>,
    /// Nodes, most lately heard first.
    pub nodes: Vec<NodeView>,
    /// Objects.
    pub objects: Vec<ObjectView>,
    /// Air.
    pub airtime: AirtimeView,
    /// Jobs that are open.
    pub open_jobs: usize,
}

/// How new keys go out to the members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationView {
    /// The epoch that comes.
    pub epoch: u8,
    /// `planned` (this node sends nothing yet), `asking` (members are asked for their keys) or `bringing` (they get the new ones).
    pub phase: String,
    /// The keys come into force at the latest after so many seconds.
    pub deadline_s: u64,
    /// Nodes that get none.
    pub without: Vec<String>,
    /// Members whose receipt has come.
    pub received: Vec<String>,
}

/// The joined swarm, without its keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwarmView {
    /// Name of the swarm and of its channel.
    pub name: String,
    /// Epoch of its keys.
    pub epoch: u8,
    /// The operator's key is on this machine: it may rotate the keys.
    pub operator: bool,
    /// Members that were heard, most lately heard first.
    pub members: Vec<NodeView>,
    /// New keys that are under way, where there are any.
    pub rotation: Option<RotationView>,
}

/// A text message between people, as it came over the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TextMessage {
    /// Sender.
    pub from: u32,
    /// Receiver: this node's number, or 4294967295 for everybody.
    pub to: u32,
    /// Packet id, to reply to.
    pub id: u32,
    /// Index of the channel.
    pub channel: u8,
    /// The text.
    pub text: String,
    /// It came under the sender's public key, or with its verified signature: `from` is proven.
    pub proven: bool,
    /// Packet id of the message that it replies to.
    #[serde(default)]
    pub reply_to: Option<u32>,
}

/// A text message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutText {
    /// Receiver, or 0xFFFF_FFFF for everybody.
    pub to: u32,
    /// Index of the channel.
    pub channel: u8,
    /// The text, at most 200 bytes.
    pub text: String,
    /// Packet id of the message that this replies to.
    pub reply_to: Option<u32>,
}

/// Where a pushed bundle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "to", rename_all = "lowercase")]
pub enum PushTarget {
    /// All nodes of the bundle's class.
    Class {
        /// Device class.
        class: u8,
    },
    /// One node.
    Node {
        /// Node number.
        num: u32,
    },
}

/// What the node's task is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Takes a job; the answer is its view, or why it is not taken.
    Submit(JobSpec, oneshot::Sender<Result<JobView, String>>),
    /// Takes a job back; false where it is unknown or has ended.
    Cancel(u64, oneshot::Sender<bool>),
    /// Sends a text message through the governor; the answer is its packet id, or why it does not go.
    SendText(OutText, oneshot::Sender<Result<u32, String>>),
    /// Publishes a signed bundle file; the answer is the object, or why it is refused.
    Push(Vec<u8>, PushTarget, oneshot::Sender<Result<ObjectView, String>>),
    /// Pauses (true) or resumes an object that is published here, named by its tag.
    Pause(String, bool, oneshot::Sender<Result<(), String>>),
    /// Withdraws an object that is published here.
    Withdraw(String, oneshot::Sender<Result<(), String>>),
    /// The whole state.
    Snapshot(oneshot::Sender<Snapshot>),
    /// The joined swarm; none where there is none.
    Swarm(oneshot::Sender<Option<SwarmView>>),
    /// New keys for all members but these, in force after so many hours at the latest; the answer is the swarm, or why not.
    Rotate(Vec<u32>, u32, oneshot::Sender<Result<SwarmView, String>>),
    /// Gives a rotation up that has not come into force.
    GiveUpRotation(oneshot::Sender<Result<(), String>>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A job was submitted, moved on or ended.
    Job(JobView),
    /// A node was heard of for the first time, or changed.
    Node(NodeView),
    /// A text message came.
    Text(TextMessage),
    /// A link went up or down.
    Link(LinkView),
    /// An object moved on.
    Object(ObjectView),
}

/// The way to the node's task. Clones are cheap.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Event>,
}

/// Why a command had no answer.
#[derive(Debug, thiserror::Error)]
#[error("the node's task has ended; see the log for why, and start the daemon again")]
pub struct NodeGone;

impl NodeHandle {
    /// A handle, and what the node's task reads and tells.
    pub fn new() -> (Self, mpsc::Receiver<Command>, broadcast::Sender<Event>) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        (Self { commands, events: events.clone() }, inbox, events)
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NodeGone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| NodeGone)?;
        answer.await.map_err(|_| NodeGone)
    }

    /// Submits a job.
    pub async fn submit(&self, spec: JobSpec) -> Result<Result<JobView, String>, NodeGone> {
        self.ask(|reply| Command::Submit(spec, reply)).await
    }

    /// Takes a job back.
    pub async fn cancel(&self, job: u64) -> Result<bool, NodeGone> {
        self.ask(|reply| Command::Cancel(job, reply)).await
    }

    /// Sends a text message.
    pub async fn send_text(&self, text: OutText) -> Result<Result<u32, String>, NodeGone> {
        self.ask(|reply| Command::SendText(text, reply)).await
    }

    /// Publishes a bundle.
    pub async fn push(
        &self,
        bundle: Vec<u8>,
        to: PushTarget,
    ) -> Result<Result<ObjectView, String>, NodeGone> {
        self.ask(|reply| Command::Push(bundle, to, reply)).await
    }

    /// Pauses or resumes a published object.
    pub async fn pause(&self, tag: String, paused: bool) -> Result<Result<(), String>, NodeGone> {
        self.ask(|reply| Command::Pause(tag, paused, reply)).await
    }

    /// Withdraws a published object.
    pub async fn withdraw(&self, tag: String) -> Result<Result<(), String>, NodeGone> {
        self.ask(|reply| Command::Withdraw(tag, reply)).await
    }

    /// The whole state.
    pub async fn snapshot(&self) -> Result<Snapshot, NodeGone> {
        self.ask(Command::Snapshot).await
    }

    /// The joined swarm.
    pub async fn swarm(&self) -> Result<Option<SwarmView>, NodeGone> {
        self.ask(Command::Swarm).await
    }

    /// Begins a rotation of the swarm's keys.
    pub async fn rotate(&self, without: Vec<u32>, hours: u32) -> Result<Result<SwarmView, String>, NodeGone> {
        self.ask(|reply| Command::Rotate(without, hours, reply)).await
    }

    /// Gives a rotation up.
    pub async fn give_up_rotation(&self) -> Result<Result<(), String>, NodeGone> {
        self.ask(Command::GiveUpRotation).await
    }
}

/// One part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// A class and how sure it is, 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// Index in the task.
    pub class: u8,
    /// Calibrated confidence.
    pub confidence: f32,
}

/// The models of this machine. Calls may take long: the daemon makes them on threads of their own.
pub trait Brain: Send + Sync {
    /// Name of the model that answers jobs of this kind, or why there is none and what to do about it.
    fn model(&self, kind: JobKind) -> Result<String, String>;
    /// Names of the task's classes, by index.
    fn classes(&self) -> Vec<String>;
    /// One class of the mission's task.
    fn classify(&self, text: &str) -> anyhow::Result<Classified>;
    /// An answer of at most `max_chars` characters that ends at a whole word.
    fn chat(&self, messages: &[ChatMessage], max_chars: usize, patience: Duration) -> anyhow::Result<String>;
    /// A vector of unit length.
    fn embed(&self, text: &str) -> anyhow::Result<Vec<f32>>;
}

/// Models of this machine, where there are any.
pub type SharedBrain = Option<Arc<dyn Brain>>;
