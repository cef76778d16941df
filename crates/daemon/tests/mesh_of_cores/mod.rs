//! Nodes without I/O on an imagined mesh: what one's radio is given the others' radios tell a second later. Time is a number.

#![allow(dead_code, reason = "each test uses a part")]

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration as StdDuration,
};

use anyhow::{Result, bail};
use compotastic_daemon::{
    runtime::{
        Core, CoreOptions, Output,
        clock::Wall,
        work::{Done, Product},
    },
    seam::{
        Brain, ChatMessage, Classified, Command, Event, JobKind, JobPriority, JobSpec, JobView, Snapshot,
    },
    store::Store,
};
use compotastic_links::{BROADCAST, Body, ChannelInfo, OwnedPacket, RadioEvent, RadioInfo, Telemetry};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_messages::{ModemPreset, RegionCode};
use compotastic_wire::{SwarmKey, records::enrolment::EnrolmentRecord};
use ed25519_dalek::SigningKey;
use tokio::sync::oneshot;

/// A folder that is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("compotastic-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says back what it is asked, and puts what has "fire" in it into class 1.
pub struct Echo;

impl Brain for Echo {
    fn model(&self, _kind: JobKind) -> Result<String, String> {
        Ok("echo".into())
    }
    fn classes(&self) -> Vec<String> {
        vec!["other".into(), "fire".into()]
    }
    fn classify(&self, text: &str) -> Result<Classified> {
        Ok(Classified { class: u8::from(text.contains("fire")), confidence: 0.9 })
    }
    fn chat(&self, messages: &[ChatMessage], max_chars: usize, _patience: StdDuration) -> Result<String> {
        let said = &messages.last().expect("a question").content;
        if said.contains("fail") {
            bail!("asked to fail");
        }
        Ok(format!("you said: {said}").chars().take(max_chars).collect())
    }
    fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut vector: Vec<f32> = text.bytes().take(8).map(|byte| f32::from(byte) - 100.0).collect();
        let norm = vector.iter().map(|entry| entry * entry).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|entry| *entry /= norm);
        Ok(vector)
    }
}

pub fn operator() -> SigningKey {
    SigningKey::from_bytes(&[0x11; 32])
}

pub fn swarm() -> EnrolmentRecord {
    EnrolmentRecord {
        swarm_id: [1; 8],
        channel_name: "hills".try_into().unwrap(),
        channel_key: heapless::Vec::from_slice(&[7; 32]).unwrap(),
        swarm_key: SwarmKey([3; 16]),
        epoch: 1,
        operator_keys: heapless::Vec::from_slice(&[operator().verifying_key().to_bytes()]).unwrap(),
        region: "EU_868".try_into().unwrap(),
        preset: "LONG_FAST".try_into().unwrap(),
        port: 448,
        hop_limit: 3,
    }
}

pub fn radio(num: u32) -> RadioInfo {
    let channel = |index, role, name: &str, psk: Vec<u8>| ChannelInfo {
        index,
        role,
        name: name.into(),
        psk,
        ..ChannelInfo::default()
    };
    RadioInfo {
        num,
        firmware: "2.7.26".into(),
        has_pkc: true,
        region: RegionCode::EU_868.0,
        use_preset: true,
        preset: ModemPreset::LONG_FAST.0,
        hop_limit: 3,
        tx_enabled: true,
        channels: vec![channel(0, 1, "", vec![1]), channel(1, 2, "hills", vec![7; 32])],
        ..RadioInfo::default()
    }
}

pub fn spec(kind: JobKind, text: &str) -> JobSpec {
    JobSpec { kind, text: text.into(), priority: JobPriority::Normal, deadline_s: None, max_chars: None }
}

/// One node.
pub struct Node {
    pub core: Core,
    pub store: Store,
    pub options: CoreOptions,
    pub radio: RadioInfo,
    pub brain: Option<Arc<dyn Brain>>,
    pub events: Vec<Event>,
    /// What its radio was given.
    pub given: Vec<(Instant, OwnedPacket)>,
    /// Slots that its radio was told to set, as `AdminMessage`s.
    pub admin: Vec<Vec<u8>>,
    /// It has no radio; links carry its packets.
    pub native: bool,
    /// There are links beside its radio that carry whole packets.
    pub beside: bool,
    /// Its radio hears nothing and is not heard.
    pub deaf: bool,
}

/// All of them.
pub struct World {
    pub nodes: Vec<Node>,
    pub now: Instant,
    ms: Arc<AtomicU64>,
    air: VecDeque<(Instant, usize, OwnedPacket)>,
    telemetry_at: Instant,
    /// Told by every radio once a minute, percent; none: no telemetry.
    pub utilization: Option<f32>,
    folder: Folder,
}

pub fn options(brain: Option<Arc<dyn Brain>>, joined: bool, seed: u64) -> CoreOptions {
    CoreOptions {
        swarm: joined.then(swarm),
        brain,
        task: 1,
        job_lifetime_s: 3600,
        quiet_hours: None,
        utc_offset_min: 0,
        mains_power: true,
        links: vec!["sim:".into()],
        seed,
    }
}

impl World {
    pub fn new(name: &str) -> Self {
        Self {
            nodes: Vec::new(),
            now: Instant::ZERO + Duration::from_secs(1000),
            ms: Arc::new(AtomicU64::new(1_790_000_000_000)),
            air: VecDeque::new(),
            telemetry_at: Instant::ZERO,
            utilization: Some(2.0),
            folder: Folder::new(name),
        }
    }

    pub fn wall(&self) -> Wall {
        let ms = self.ms.clone();
        Arc::new(move || ms.load(Relaxed))
    }

    /// Adds a node whose radio is up; its index.
    pub fn add(&mut self, brain: Option<Arc<dyn Brain>>, joined: bool) -> usize {
        let index = self.nodes.len();
        let options = options(brain, joined, 7 + index as u64);
        self.add_with(options, radio(0x0a00_0001 + index as u32))
    }

    pub fn add_with(&mut self, options: CoreOptions, radio: RadioInfo) -> usize {
        let index = self.nodes.len();
        let store = Store::open(self.folder.0.join(format!("{index}.store"))).unwrap();
        let core = Core::new(options.clone(), &store, &self.wall(), self.now).unwrap();
        let brain = options.brain.clone();
        let node = Node {
            core,
            store,
            options,
            radio,
            brain,
            events: Vec::new(),
            given: Vec::new(),
            admin: Vec::new(),
            native: false,
            beside: false,
            deaf: false,
        };
        self.nodes.push(node);
        self.up(index);
        index
    }

    /// Adds a node of its own, without a radio.
    pub fn add_native(&mut self, brain: Option<Arc<dyn Brain>>) -> usize {
        let seed = 7 + self.nodes.len() as u64;
        let index = self.add_with(options(brain, true, seed), RadioInfo { region: 0, ..radio(0) });
        let now = self.now;
        let node = &mut self.nodes[index];
        node.native = true;
        node.core.settle_native(now).unwrap();
        node.radio.num = node.core.num();
        self.drain(index);
        index
    }

    pub fn up(&mut self, index: usize) {
        let info = Box::new(self.nodes[index].radio.clone());
        self.nodes[index].core.handle_radio(self.now, RadioEvent::Up(info));
        self.drain(index);
    }

    /// The daemon is killed and started again: what is not in the store is gone.
    pub fn restart(&mut self, index: usize) {
        let wall = self.wall();
        let now = self.now;
        let node = &mut self.nodes[index];
        // The flash of the old core is free once it is dropped.
        let idle =
            Core::new(CoreOptions { swarm: None, ..node.options.clone() }, &node.store, &wall, now).unwrap();
        drop(std::mem::replace(&mut node.core, idle));
        node.core = Core::new(node.options.clone(), &node.store, &wall, now).unwrap();
        self.up(index);
    }

    /// The same for a node without a radio.
    pub fn restart_native(&mut self, index: usize) {
        self.restart(index);
        let now = self.now;
        self.nodes[index].core.settle_native(now).unwrap();
        self.drain(index);
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.ms.fetch_add(seconds * 1000, Relaxed);
    }

    fn drain(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        loop {
            let mut idle = true;
            while let Some(output) = node.core.poll_output() {
                idle = false;
                match output {
                    Output::Event(event) => node.events.push(event),
                    Output::Admin(message) => node.admin.push(message),
                    Output::Link(packet, channel) => {
                        assert!(channel == "hills" || channel == "PKI" || channel == "LongFast", "{channel}");
                        node.given.push((self.now, (*packet).clone()));
                        self.air.push_back((self.now + Duration::from_secs(1), index, *packet));
                    }
                    Output::Radio(packet) => {
                        let mut packet = *packet;
                        packet.from = node.radio.num;
                        packet.hop_start = packet.hop_limit;
                        node.given.push((self.now, packet.clone()));
                        if !node.deaf {
                            let at = self.now + Duration::from_secs(1);
                            self.air.push_back((at, index, packet));
                        }
                    }
                }
            }
            while let Some(work) = node.core.next_work() {
                idle = false;
                let brain = node.brain.as_ref().expect("only who has a model is asked");
                let product = match work.kind {
                    JobKind::Classify => brain.classify(&work.text).map(Product::Class),
                    JobKind::Chat => {
                        let asked = ChatMessage { role: "user".into(), content: work.text.clone() };
                        brain.chat(&[asked], work.max_chars, StdDuration::from_secs(1)).map(Product::Text)
                    }
                    JobKind::Embed => brain.embed(&work.text).map(Product::Vector),
                };
                let done = Done { key: work.key, product: product.map_err(|error| error.to_string()) };
                node.core.handle_done(self.now, done);
            }
            if idle {
                return;
            }
        }
    }

    /// Lets time pass until something is so; false if it is not so within `seconds`.
    pub fn run_until(&mut self, seconds: u64, mut so: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            if so(self) {
                return true;
            }
            let due = self.nodes.iter().map(|node| node.core.poll_timeout()).min();
            let arrival = self.air.front().map(|(at, ..)| *at);
            let telemetry = self.utilization.map(|_| self.telemetry_at);
            let next = [due, arrival, telemetry].into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next >= end {
                self.ms.fetch_add(end.saturating_duration_since(self.now).as_millis(), Relaxed);
                self.now = end;
                return so(self);
            }
            self.ms.fetch_add(next.saturating_duration_since(self.now).as_millis(), Relaxed);
            self.now = next;
            if let Some(utilization) = self.utilization.filter(|_| self.now >= self.telemetry_at) {
                self.telemetry_at = self.now + Duration::from_secs(60);
                let telemetry = Telemetry {
                    channel_utilization: Some(utilization),
                    air_util_tx: Some(0.1),
                    ..Telemetry::default()
                };
                for node in self.nodes.iter_mut().filter(|node| !node.native) {
                    node.core.handle_radio(self.now, RadioEvent::Telemetry(telemetry));
                }
            }
            while self.air.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, from, packet) = self.air.pop_front().unwrap();
                for (index, node) in self.nodes.iter_mut().enumerate() {
                    if index == from || node.deaf {
                        continue;
                    }
                    let whole = matches!(packet.body, Body::Encrypted(_));
                    if node.native || node.beside && whole {
                        node.core.handle_link_packet(self.now, &packet);
                    } else if [BROADCAST, node.radio.num].contains(&packet.to) {
                        node.core.handle_radio(self.now, RadioEvent::Packet(Box::new(packet.clone())));
                    }
                }
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].core.poll_timeout() <= self.now {
                    self.nodes[index].core.handle_timeout(self.now);
                }
                self.drain(index);
            }
        }
    }

    pub fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    pub fn command<T>(
        &mut self,
        index: usize,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.nodes[index].core.handle_command(self.now, command(reply));
        self.drain(index);
        answer
    }

    pub fn submit(&mut self, index: usize, spec: JobSpec) -> Result<JobView, String> {
        self.command(index, |reply| Command::Submit(spec, reply)).try_recv().unwrap()
    }

    pub fn snapshot(&mut self, index: usize) -> Snapshot {
        self.command(index, Command::Snapshot).try_recv().unwrap()
    }

    /// A job as it stands.
    pub fn job(&self, index: usize, id: u64) -> JobView {
        self.nodes[index].store.job(id).unwrap().expect("the job is in the store")
    }

    /// Runs until a job has ended.
    pub fn finish(&mut self, index: usize, id: u64, seconds: u64) -> JobView {
        assert!(
            self.run_until(seconds, |world| world.job(index, id).state.is_final()),
            "job {id} is still {:?}",
            self.job(index, id)
        );
        self.job(index, id)
    }
}
