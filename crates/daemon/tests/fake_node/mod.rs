//! A node's task that answers the same each time, for tests of what talks to one: the API and the commands.
#![allow(dead_code)] // Each test takes what it needs.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use compotastic_daemon::{
    http::{Api, HttpArgs, control::Control, now_ms},
    seam::{
        AirtimeView, Brain, ChatMessage, Classified, Command, Event, JobAnswer, JobKind, JobSpec, JobState,
        JobView, LinkView, NodeHandle, NodeView, ObjectView, PurposeView, RotationView, SharedBrain,
        Snapshot, SwarmView,
    },
    store::Store,
};
use tokio::sync::{broadcast, mpsc, oneshot};

/// The node that answers jobs.
pub const EXECUTOR: u32 = 0x0f00_0007;
/// Tag of the object that is there.
pub const TAG: &str = "00c0ffee";
/// Between two steps of a job.
const STEP: Duration = Duration::from_millis(30);

/// A folder that goes when its owner goes.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("compotastic-{name}-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the fake node shows.
pub fn snapshot() -> Snapshot {
    let node = |num: u32, long_name: &str, heard: u64| NodeView {
        num,
        id: format!("!{num:08x}"),
        long_name: long_name.to_string(),
        short_name: long_name.chars().take(4).collect(),
        heard_s_ago: Some(heard),
        hops_away: Some(1),
        snr_db: Some(-7.25),
        battery_percent: Some(81),
        member: true,
        foundation_model: num == EXECUTOR,
        model_version: Some(3),
        load: Some(2),
        device_class: Some(1),
        answers: if num == EXECUTOR { vec![JobKind::Classify, JobKind::Chat] } else { Vec::new() },
        neighbours: None,
    };
    Snapshot {
        num: 0x0f00_0001,
        id: "!0f000001".to_string(),
        swarm: Some("hill".to_string()),
        mode: "hosted".to_string(),
        uptime_s: 93_784,
        region: "EU_868".to_string(),
        preset: "LONG_FAST".to_string(),
        model: None,
        links: vec![LinkView {
            url: "serial:/dev/ttyUSB0".to_string(),
            state: "up".to_string(),
            detail: "firmware 2.7.15".to_string(),
            reconnects: 2,
            not_bridged: "packets of other nodes".to_string(),
        }],
        nodes: vec![node(EXECUTOR, "Edge on the hill", 12), node(0x0f00_0003, "Kitchen", 4000)],
        objects: vec![ObjectView {
            tag: TAG.to_string(),
            kind: "firmware".to_string(),
            task: 0,
            version: 7,
            bytes: 65_536,
            progress_percent: 100,
            published_here: true,
            paused: false,
            complete_at: vec![EXECUTOR],
            runs_at: Some(vec![EXECUTOR]),
        }],
        airtime: AirtimeView {
            channel_utilization_percent: 12.5,
            known: true,
            polite_percent: 15.0,
            hard_percent: 20.0,
            air_util_tx_percent: 0.75,
            duty_cycle_percent: 10.0,
            bulk_share_percent: 5.0,
            gate: "open".to_string(),
            congestion_factor: 1.0,
            by_purpose: vec![PurposeView { purpose: "jobs".to_string(), packets: 41, airtime_ms: 30_500 }],
        },
        open_jobs: 1,
    }
}

fn swarm_view(rotation: Option<RotationView>) -> SwarmView {
    SwarmView { name: "hill".to_string(), epoch: 3, operator: true, members: snapshot().nodes, rotation }
}

fn answer(spec: &JobSpec) -> JobAnswer {
    let answer = JobAnswer {
        by: EXECUTOR,
        model: "fake-1".to_string(),
        latency_ms: 60,
        attempts: 1,
        ..JobAnswer::default()
    };
    match spec.kind {
        JobKind::Classify => {
            JobAnswer { class: Some("medical".to_string()), confidence: Some(0.93), ..answer }
        }
        JobKind::Chat => JobAnswer { text: Some(format!("You asked: {}", spec.text)), ..answer },
        JobKind::Embed => JobAnswer { embedding: Some(vec![0.6, -0.8, spec.text.len() as f32]), ..answer },
    }
}

async fn work(store: Store, events: broadcast::Sender<Event>, job: JobView) {
    let tell = |state| {
        if store.job(job.id).unwrap().is_some_and(|job| job.state.is_final()) {
            return; // It was taken back meanwhile.
        }
        let job = JobView { state, ..job.clone() };
        store.put_job(&job).unwrap();
        let _ = events.send(Event::Job(job));
    };
    tokio::time::sleep(STEP).await;
    tell(JobState::Running { by: Some(EXECUTOR) });
    tokio::time::sleep(STEP).await;
    match &job.spec.text {
        text if text.contains("wait") => {}
        text if text.contains("fail") => tell(JobState::Failed { reason: "nobody answered".to_string() }),
        _ => tell(JobState::Done(answer(&job.spec))),
    }
}

fn handle(command: Command, store: &Store, events: &broadcast::Sender<Event>) {
    fn known(tag: &str, reply: oneshot::Sender<Result<(), String>>) {
        let answer = if tag == TAG { Ok(()) } else { Err(format!("object {tag} was not published here")) };
        let _ = reply.send(answer);
    }
    match command {
        Command::Submit(spec, reply) if spec.text.contains("refuse") => {
            let _ = reply.send(Err("eight jobs are open, no more are taken".to_string()));
        }
        Command::Submit(spec, reply) => {
            let job = store.add_job(&spec, now_ms()).unwrap();
            let _ = events.send(Event::Job(job.clone()));
            tokio::spawn(work(store.clone(), events.clone(), job.clone()));
            let _ = reply.send(Ok(job));
        }
        Command::Cancel(id, reply) => {
            let open = store.job(id).unwrap().filter(|job| !job.state.is_final());
            let _ = reply.send(open.is_some());
            if let Some(job) = open {
                let job = JobView { state: JobState::Cancelled, ..job };
                store.put_job(&job).unwrap();
                let _ = events.send(Event::Job(job));
            }
        }
        Command::SendText(text, reply) if text.text.contains("refuse") => {
            let _ = reply.send(Err("the air is full".to_string()));
        }
        Command::SendText(_, reply) => {
            let _ = reply.send(Ok(77));
        }
        Command::Push(bundle, _, reply) if bundle.starts_with(b"BAD") => {
            let _ = reply.send(Err("its signature is nobody's that this node trusts".to_string()));
        }
        Command::Push(bundle, _, reply) => {
            let mut object = snapshot().objects.remove(0);
            object.bytes = bundle.len() as u32;
            object.complete_at.clear();
            object.runs_at = Some(Vec::new());
            let _ = reply.send(Ok(object));
            let events = events.clone();
            tokio::spawn(async move {
                let all = [EXECUTOR, 0x0f00_0003];
                for (done, runs) in [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)] {
                    tokio::time::sleep(STEP).await;
                    let mut object = snapshot().objects.remove(0);
                    object.complete_at = all[..done].to_vec();
                    object.runs_at = Some(all[..runs].to_vec());
                    let _ = events.send(Event::Object(object));
                }
            });
        }
        Command::Pause(tag, _, reply) | Command::Withdraw(tag, reply) => known(&tag, reply),
        Command::Snapshot(reply) => {
            let mut shown = snapshot();
            shown.open_jobs = store.open_jobs().unwrap().len();
            let _ = reply.send(shown);
        }
        Command::Swarm(reply) => {
            let _ = reply.send(Some(swarm_view(None)));
        }
        Command::Rotate(without, _, reply) if without.contains(&EXECUTOR) => {
            let _ = reply.send(Err("a rotation to epoch 4 is under way".to_string()));
        }
        Command::Rotate(without, hours, reply) => {
            let rotation = RotationView {
                epoch: 4,
                phase: "asking".to_string(),
                deadline_s: u64::from(hours) * 3600,
                without: without.iter().map(|num| format!("!{num:08x}")).collect(),
                received: Vec::new(),
            };
            let _ = reply.send(Ok(swarm_view(Some(rotation))));
        }
        Command::GiveUpRotation(reply) => {
            let _ = reply.send(Ok(()));
        }
    }
}

/// Answers commands until all handles are gone.
pub async fn node(mut inbox: mpsc::Receiver<Command>, events: broadcast::Sender<Event>, store: Store) {
    while let Some(command) = inbox.recv().await {
        handle(command, &store, &events);
    }
}

/// A model that answers the same each time.
pub struct FakeBrain;

impl Brain for FakeBrain {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        match kind {
            JobKind::Classify => Err("no task was given".to_string()),
            JobKind::Chat | JobKind::Embed => Ok("brain-0.1".to_string()),
        }
    }

    fn classes(&self) -> Vec<String> {
        Vec::new()
    }

    fn classify(&self, _: &str) -> anyhow::Result<Classified> {
        anyhow::bail!("no task was given")
    }

    fn chat(&self, messages: &[ChatMessage], max_chars: usize, _: Duration) -> anyhow::Result<String> {
        let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        Ok(format!("{} messages, {max_chars} characters: {}", said.len(), said.join(" | ")))
    }

    fn embed(&self, text: &str) -> anyhow::Result<Vec<f32>> {
        Ok(vec![1.0, text.len() as f32])
    }
}

/// A fake node with the real API before it.
pub struct Server {
    pub address: SocketAddr,
    pub store: Store,
    pub events: broadcast::Sender<Event>,
    /// The secret for what concerns the swarm's keys.
    pub control: String,
    pub folder: Folder,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// On loopback without a token.
    pub fn start() -> Self {
        Self::with(None, |_| {})
    }

    /// With a model of its own, or other arguments.
    pub fn with(brain: SharedBrain, change: impl FnOnce(&mut HttpArgs)) -> Self {
        let folder = Folder::new("api");
        let store = Store::open(folder.0.join("state.redb")).unwrap();
        let mut args = HttpArgs { listen: "127.0.0.1:0".parse().unwrap(), ..HttpArgs::default() };
        change(&mut args);
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let store = store.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async move {
                    let (node_handle, inbox, events) = NodeHandle::new();
                    tokio::spawn(node(inbox, events.clone(), store.clone()));
                    let listener = compotastic_daemon::http::bind(args.listen).await.unwrap();
                    let control = Control::new(listener.local_addr().unwrap()).unwrap();
                    let api = Api::new(node_handle, store, brain, &args).unwrap().with_control(&control);
                    ready.send((listener.local_addr().unwrap(), events, control.token)).unwrap();
                    api.serve(listener, async { drop(stopped.await) }).await.unwrap();
                });
            }
        });
        let (address, events, control) = started.recv().unwrap();
        Self { address, store, events, control, folder, stop: Some(stop), thread: Some(thread) }
    }

    /// With the fake model.
    pub fn with_brain() -> Self {
        Self::with(Some(Arc::new(FakeBrain)), |_| {})
    }

    /// Where a path lies.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops serving and waits for the end.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
