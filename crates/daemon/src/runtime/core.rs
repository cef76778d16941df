//! The node without its I/O: radio events, commands and finished work in; packets, events and work out.
//!
//! It follows the agent's calling contract: mutate (`handle_*`), drain ([`Core::poll_output`], [`Core::next_work`]), wait until
//! [`Core::poll_timeout`]. Until a swarm is joined and the radio has its channel it only listens.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::{Geometry, Slots, TrustStore};
use compotastic_links::{Body, OwnedData, OwnedPacket, RadioEvent, RadioInfo, Telemetry};
use compotastic_mesh::{
    lora::Modem,
    packet::NodeNum,
    router::Gate,
    time::{Duration, Instant},
};
use compotastic_messages::PortNum;
use compotastic_node::{
    Agent, AgentConfig, HostedStation,
    hosted::{FromRadio, HostedConfig, RadioTelemetry, ToRadio, frame_len},
    manners::{Hold, Manners, Purpose, Wish},
    policy::MissionProfile,
    state::{Key, StateLog},
};
use compotastic_wire::records::enrolment::EnrolmentRecord;

use super::{
    book::{Book, Way, node_id},
    clock::Wall,
    facts,
    jobs::JobBook,
    native::NativeNode,
    objects::{self, Objects},
    quiet::QuietHours,
    rotation,
    texts::Texts,
    work::{Offers, Work, WorkQueue},
};
use crate::{
    seam::{Command, Event, JobKind, LinkView, SharedBrain, TextMessage},
    store::{AirtimeMark, Store, StoreFlash},
};

/// Flash of the model's slots, bytes.
const SLOTS_LEN: usize = 32 * 1024;
/// Flash of the state log, bytes: two pages.
const STATE_LEN: usize = 8 * 1024;
/// Longest content of a model's slot, its pieces, and symbols that wait for decoding.
const MODEL_SLOT: (u32, u16, u16) = (4096, 176, 2);
/// Looks at what is held back, at quiet hours and deadlines at least so often.
const LOOK: Duration = Duration::from_secs(30);

/// The hosted station of this daemon.
pub type HostedNode = HostedStation<'static, StoreFlash>;

/// What the node is told once.
#[derive(Clone)]
pub struct CoreOptions {
    /// The swarm, where one was joined.
    pub swarm: Option<EnrolmentRecord>,
    /// Models of this machine.
    pub brain: SharedBrain,
    /// Task of the mission.
    pub task: u8,
    /// A job without an answer ends with a reason after this time, unless it says another.
    pub job_lifetime_s: u32,
    /// Only alerts and urgent matters go then.
    pub quiet_hours: Option<QuietHours>,
    /// Minutes that local time is ahead of UTC, for quiet hours.
    pub utc_offset_min: i32,
    /// This machine hangs on mains power.
    pub mains_power: bool,
    /// The links as they are shown.
    pub links: Vec<String>,
    /// Seed of the agent's random numbers: drawn from the system at each start.
    pub seed: u64,
}

/// What the node has for others.
#[derive(Debug)]
pub enum Output {
    /// A packet for the radio.
    Radio(Box<OwnedPacket>),
    /// An encrypted packet for all links that carry such, and the name of its channel.
    Link(Box<OwnedPacket>, String),
    /// An `AdminMessage` for the radio itself.
    Admin(Vec<u8>),
    /// Something happened.
    Event(Event),
}

/// Where the node stands.
pub(super) enum Mode {
    /// It sends nothing; why.
    Listening(String),
    /// Agent behind a stock radio.
    Hosted(Box<HostedNode>),
    /// A node of our own over links that carry whole packets.
    Native(Box<NativeNode>),
}

/// The node.
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) store: Store,
    pub(super) wall: Wall,
    pub(super) started: Instant,
    /// Own number; 0 before it is known.
    pub(super) own: u32,
    pub(super) mode: Mode,
    /// What the radio told at its last handshake.
    pub(super) radio: Option<RadioInfo>,
    /// The link is open and the handshake done.
    pub(super) up: bool,
    /// By index.
    pub(super) links: Vec<LinkView>,
    /// Index of the radio among them.
    pub(super) radio_link: usize,
    /// There are links beside the radio that carry whole packets.
    pub(super) beside: bool,
    pub(super) offers: Offers,
    pub(super) rotation: Option<rotation::Running>,
    pub(super) book: Book,
    pub(super) jobs: JobBook,
    pub(super) texts: Texts,
    pub(super) objects: Objects,
    pub(super) work: WorkQueue,
    /// The governor while no station has one.
    listening: Option<(Modem, Manners)>,
    /// Looks then at what nobody tells: quiet hours, deadlines, who is online.
    look_at: Instant,
    outputs: VecDeque<Output>,
}

impl Core {
    /// The node as the last run left it. Open jobs go on with the time that they have left.
    pub fn new(options: CoreOptions, store: &Store, wall: &Wall, now: Instant) -> Result<Self> {
        let why = match &options.swarm {
            None => "no swarm is joined: `compotastic swarm join FILE` joins one".to_owned(),
            Some(_) => "waits for the radio".to_owned(),
        };
        let link =
            |url: &String| LinkView { url: url.clone(), state: "connecting".into(), ..LinkView::default() };
        let links = options.links.iter().map(link).collect();
        let mut core = Self {
            offers: Offers::of(&options.brain),
            rotation: None,
            book: Book::open(store, wall)?,
            jobs: JobBook::default(),
            texts: Texts::new(now),
            objects: Objects::default(),
            store: store.clone(),
            wall: wall.clone(),
            started: now,
            own: 0,
            mode: Mode::Listening(why),
            radio: None,
            up: false,
            links,
            radio_link: 0,
            beside: false,
            work: WorkQueue::default(),
            listening: None,
            look_at: now,
            outputs: VecDeque::new(),
            options,
        };
        core.reopen_jobs(now)?;
        core.settle(now);
        Ok(core)
    }

    /// This node's number; 0 before the first handshake.
    pub fn num(&self) -> u32 {
        self.own
    }

    /// Something happened at the radio.
    pub fn handle_radio(&mut self, now: Instant, event: RadioEvent) {
        match event {
            RadioEvent::Up(info) => self.handle_up(now, *info),
            RadioEvent::Down { reason } => {
                self.up = false;
                self.show_link(self.radio_link, "down", reason.to_string());
            }
            RadioEvent::Packet(packet) => self.handle_packet(now, &packet),
            RadioEvent::Telemetry(telemetry) => self.handle_telemetry(now, &telemetry),
            RadioEvent::Node(info) if info.num != self.num() => {
                self.book.handle_known(&info);
                self.tell_node(info.num);
            }
            RadioEvent::NumberChanged { old, new } => {
                tracing::warn!(
                    old = node_id(old),
                    new = node_id(new),
                    "the radio is another one, or was reset"
                );
            }
            RadioEvent::Failed { id, why } => {
                tracing::debug!(id, ?why, "the radio could not deliver a packet");
                if let Mode::Hosted(station) = &mut self.mode {
                    station.handle_failed(now, compotastic_mesh::packet::PacketId(id));
                }
            }
            RadioEvent::Restarted => {
                tracing::info!("the radio was started anew");
                match (&mut self.mode, &mut self.listening) {
                    (Mode::Hosted(station), _) => station.handle_radio_restarted(now),
                    (_, Some((_, manners))) => manners.handle_radio_restarted(),
                    _ => {}
                }
            }
            RadioEvent::Notice(text) => tracing::warn!("the radio says: {text}"),
            RadioEvent::Lagged { dropped } => tracing::warn!(dropped, "packets of the radio were missed"),
            RadioEvent::Node(_)
            | RadioEvent::Delivered { .. }
            | RadioEvent::QueueStatus { .. }
            | RadioEvent::Raw(_) => {}
        }
        self.settle(now);
    }

    /// The link's own state, for those who look.
    pub fn handle_reconnects(&mut self, index: usize, reconnects: u64) {
        if let Some(link) = self.links.get_mut(index) {
            link.reconnects = reconnects;
        }
    }

    fn handle_up(&mut self, now: Instant, info: RadioInfo) {
        for node in info.nodes.iter().filter(|node| node.num != info.num) {
            self.book.handle_known(node);
        }
        if let Ok((_, region, modem)) = facts::modem_of(&info) {
            let fits = self.listening.as_ref().is_some_and(|(known, _)| *known == modem);
            if !fits {
                self.listening = Some((modem, Manners::new(modem, region.duty_cycle_permille(), now)));
            }
        }
        let mut info = info;
        match self.bring_radio_after(&info) {
            Ok(true) => {
                // The key that it has been given just now.
                if let Some(swarm) = &self.options.swarm {
                    let name = swarm.channel_name.as_str();
                    for channel in
                        info.channels.iter_mut().filter(|channel| channel.name == name && channel.index > 0)
                    {
                        channel.psk = swarm.channel_key.to_vec();
                    }
                }
            }
            Ok(false) => {}
            Err(error) => tracing::error!("{error:#}"),
        }
        let way = match &self.options.swarm {
            None => Err("no swarm is joined: `compotastic swarm join FILE` joins one".to_owned()),
            Some(swarm) => facts::way_to(&info, swarm).map_err(|obstacle| obstacle.to_string()),
        };
        let way = way.and_then(|(preset, region, channel)| {
            let config = HostedConfig {
                preset,
                region,
                own_port: self.options.swarm.as_ref().map_or(compotastic_wire::PORT, |swarm| swarm.port),
                channel,
                channel_unicasts: !info.has_pkc,
            };
            self.host(now, info.num, config).map_err(|error| format!("{error:#}"))
        });
        self.own = info.num;
        let id = node_id(info.num);
        let found =
            format!("{id}, firmware {}", if info.firmware.is_empty() { "unknown" } else { &info.firmware });
        self.radio = Some(info);
        self.up = true;
        match way {
            Ok(()) => {
                tracing::info!("the radio is {found}; the swarm is reached through it");
                self.show_link(self.radio_link, "up", found);
            }
            Err(why) => {
                tracing::warn!("the radio is {found}; it only listens: {why}");
                self.mode = Mode::Listening(why.clone());
                self.show_link(self.radio_link, "up", format!("{found}; only listens: {why}"));
            }
        }
    }

    /// A station for this radio: the one there is, where it is the same radio.
    fn host(&mut self, now: Instant, num: u32, config: HostedConfig) -> Result<()> {
        if let Mode::Hosted(station) = &mut self.mode
            && station.agent_ref().num().0 == num
            && station.set_config(now, config.clone())
        {
            return Ok(());
        }
        // The flash of the station before must be free first.
        self.mode = Mode::Listening("starts".into());
        self.jobs.forget_agent();
        let mut agent = Box::new(self.agent(now, num)?);
        self.set_offers(now, &mut agent);
        let mut station = Box::new(HostedStation::new(config, *agent, now));
        let now_ms = (self.wall)();
        if let Some(mark) = self.store.airtime()?
            && now_ms.saturating_sub(mark.at_ms) < 3_600_000
        {
            station.assume_spent(now, Duration::from_millis(mark.spent_ms.into()));
        }
        if self.beside {
            station.set_beside();
        }
        self.mode = Mode::Hosted(station);
        self.enrol(now)?;
        self.resume_objects(now)
    }

    pub(super) fn set_offers(&self, now: Instant, agent: &mut Agent<'static, StoreFlash>) {
        agent.set_offers(now, self.offers.has(JobKind::Chat), self.offers.has(JobKind::Embed));
    }

    /// Models have come or gone.
    pub fn handle_offers(&mut self, now: Instant, offers: Offers) {
        if offers == self.offers {
            return;
        }
        tracing::info!(?offers, "the models here have changed");
        self.offers = offers;
        let (chat, embed) = (self.offers.has(JobKind::Chat), self.offers.has(JobKind::Embed));
        if let Some(agent) = self.mode.agent() {
            agent.set_offers(now, chat, embed);
        }
        self.settle(now);
    }

    pub(super) fn agent(&self, now: Instant, num: u32) -> Result<Agent<'static, StoreFlash>> {
        let swarm = self.options.swarm.as_ref().context("no swarm is joined")?;
        let trust = TrustStore::new(&swarm.operator_keys)
            .context("an operator key of the enrolment is no key: get a new one from whoever made it")?;
        let (content, piece, spare) = MODEL_SLOT;
        let geometry =
            Geometry::packed::<StoreFlash>(0, content, piece, spare).context("slots do not fit")?;
        let slots = self.store.flash(&format!("{} slots", node_id(num)), SLOTS_LEN)?;
        let slots = Slots::open(slots, geometry).map_err(|error| anyhow!("the model's slots: {error:?}"))?;
        let state = self.store.flash(&format!("{} state", node_id(num)), STATE_LEN)?;
        let state_error = |_| anyhow!("the state of {} cannot be read: is the disk full?", node_id(num));
        let mut state = StateLog::open(state).map_err(state_error)?;
        if state.get(Key::PacketIds).map_err(state_error)?.is_none() {
            state.set(Key::PacketIds, first_packet_id((self.wall)())).map_err(state_error)?;
        }
        let config = AgentConfig {
            num: NodeNum(num),
            device_class: 0,
            record_hash: 0,
            keys: swarm.key_ring(),
            trust,
            base: None,
            task: self.options.task,
            profile: MissionProfile::default(),
            command_post: None,
            foundation_model: self.offers.has(JobKind::Classify),
            foundation_version: 1,
            mains_power: self.options.mains_power,
            job_lifetime: Duration::from_secs(self.options.job_lifetime_s.into()),
            hop_limit: swarm.hop_limit,
        };
        let mut agent = Agent::new(config, slots, state, self.options.seed, now).with_context(|| {
            format!("the packet ids of {} cannot be read: is the disk full?", node_id(num))
        })?;
        objects::prepare(&self.store, &mut agent)?;
        Ok(agent)
    }

    fn handle_packet(&mut self, now: Instant, packet: &OwnedPacket) {
        let own = packet.from == self.num();
        if !own && packet.from != 0 && self.book.handle_packet(packet, Way::Mesh) {
            self.tell_node(packet.from);
        }
        let broadcast = packet.to == compotastic_links::BROADCAST;
        let Some(data) = packet.data() else {
            if let Body::Encrypted(bytes) = &packet.body {
                self.handle_heard(now, bytes.len().saturating_sub(5), broadcast);
            }
            return;
        };
        if !own {
            match &mut self.mode {
                Mode::Hosted(station) => {
                    let (Ok(channel), Ok(port)) = (u8::try_from(packet.channel), u16::try_from(data.port))
                    else {
                        return;
                    };
                    let from_radio = FromRadio {
                        from: NodeNum(packet.from),
                        to: NodeNum(packet.to),
                        id: compotastic_mesh::packet::PacketId(packet.id),
                        channel,
                        port,
                        hops_away: packet.hops_away().map(|hops| hops.min(255) as u8),
                        payload: &data.payload,
                    };
                    station.handle_packet(now, &from_radio);
                    if station.is_ours(&from_radio) {
                        self.note_member(packet.from);
                    }
                }
                Mode::Listening(_) | Mode::Native(_) => self.handle_heard(now, data.payload.len(), broadcast),
            }
        }
        if PortNum(data.port) == PortNum::TEXT_MESSAGE_APP && !own {
            self.handle_text(packet, data);
        }
    }

    fn handle_heard(&mut self, now: Instant, payload_len: usize, broadcast: bool) {
        if let Some((modem, manners)) = &mut self.listening {
            let airtime = Duration::from_micros(modem.time_on_air_us(frame_len(payload_len, broadcast)));
            manners.handle_heard(now, airtime);
        }
    }

    pub(super) fn handle_text(&mut self, packet: &OwnedPacket, data: &OwnedData) {
        let Ok(text) = String::from_utf8(data.payload.clone()) else {
            tracing::debug!(from = node_id(packet.from), "a text that is not UTF-8");
            return;
        };
        let message = TextMessage {
            from: packet.from,
            to: packet.to,
            id: packet.id,
            channel: packet.channel.min(255) as u8,
            text,
            reply_to: (data.reply_id != 0).then_some(data.reply_id),
            proven: packet.pki_encrypted || packet.signed,
        };
        self.push(Output::Event(Event::Text(message)));
    }

    fn handle_telemetry(&mut self, now: Instant, telemetry: &Telemetry) {
        let (Some(utilization), Some(own)) = (telemetry.channel_utilization, telemetry.air_util_tx) else {
            return;
        };
        let permille = |percent: f32| (percent * 10.0).clamp(0.0, 1000.0) as u16;
        let told = RadioTelemetry {
            channel_utilization_permille: permille(utilization),
            air_util_tx_permille: permille(own),
        };
        match (&mut self.mode, &mut self.listening) {
            (Mode::Hosted(station), _) => station.handle_telemetry(now, told),
            (_, Some((_, manners))) => manners.handle_telemetry(now, told),
            _ => {}
        }
    }

    /// Somebody asks for something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        // Whoever asked may have gone away meanwhile: then nobody is told.
        match command {
            Command::Submit(spec, reply) => drop(reply.send(self.submit(now, spec))),
            Command::Cancel(id, reply) => drop(reply.send(self.cancel(now, id))),
            Command::SendText(text, reply) => self.send_text(now, text, reply),
            Command::Push(bundle, to, reply) => drop(reply.send(self.push_bundle(now, &bundle, to))),
            Command::Pause(tag, paused, reply) => drop(reply.send(self.pause(now, &tag, paused))),
            Command::Withdraw(tag, reply) => drop(reply.send(self.withdraw(now, &tag))),
            Command::Snapshot(reply) => drop(reply.send(self.snapshot(now))),
            Command::Swarm(reply) => drop(reply.send(self.swarm_view())),
            Command::Rotate(without, hours, reply) => {
                let begun = self.begin_rotation(now, without, hours);
                drop(reply.send(begun.map_err(|error| format!("{error:#}"))));
            }
            Command::GiveUpRotation(reply) => {
                drop(reply.send(self.give_up_rotation().map_err(|error| format!("{error:#}"))));
            }
        }
        self.settle(now);
    }

    /// A program that shares the radio wants to send a packet of so much air: it may, and counts as sent, or what holds it back.
    pub fn admit_shared(&mut self, now: Instant, priority: u32, airtime: Duration) -> Result<(), Hold> {
        let gate = match priority {
            0..=10 => Gate::Bulk,
            11..=109 => Gate::Normal,
            _ => Gate::Alert,
        };
        let wish =
            Wish { purpose: Purpose::SharedClients, gate, urgent: false, peer: None, airtime, sends: 1 };
        self.admit(now, |_| wish)
    }

    /// The one door to the radio for whatever is not the agent's.
    pub(super) fn admit(&mut self, now: Instant, wish: impl FnOnce(&Modem) -> Wish) -> Result<(), Hold> {
        if let Mode::Hosted(station) = &mut self.mode {
            return station.admit(now, wish);
        }
        // Without a preset that is known nothing can be reckoned, so nothing goes.
        let (modem, manners) = self.listening.as_mut().ok_or(Hold::NoTelemetry)?;
        manners.settle(now);
        let wish = wish(modem);
        manners.check(now, &wish)?;
        manners.handle_submitted(now, &wish);
        Ok(())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_at = now + LOOK;
        let online = self.book.online();
        let quiet = self.is_quiet();
        if let Some((_, manners)) = &mut self.listening {
            manners.set_quiet(quiet);
        }
        match &mut self.mode {
            Mode::Hosted(station) => {
                station.set_quiet(quiet);
                station.set_nodes_online(online);
                station.handle_timeout(now);
            }
            Mode::Native(station) => {
                station.station().set_quiet(quiet);
                station.station().set_nodes_online(online);
                station.handle_timeout(now);
            }
            Mode::Listening(_) => {}
        }
        self.expire_jobs(now);
        self.settle(now);
    }

    pub(super) fn is_quiet(&self) -> bool {
        let minutes = (self.wall)() as i64 / 60_000 + i64::from(self.options.utc_offset_min);
        self.options.quiet_hours.is_some_and(|hours| hours.holds(minutes.rem_euclid(1440) as u32))
    }

    /// Writes what the next run needs to know. To be called every minute.
    pub fn keep(&mut self, now: Instant) -> Result<()> {
        let Some(manners) = self.manners() else { return Ok(()) };
        let spent_ms = manners.spent(now).as_millis().min(u64::from(u32::MAX)) as u32;
        self.store.set_airtime(AirtimeMark { at_ms: (self.wall)(), spent_ms })
    }

    /// The governor that is in force.
    pub(super) fn manners(&self) -> Option<&Manners> {
        match &self.mode {
            Mode::Hosted(station) => Some(station.manners()),
            Mode::Listening(_) => self.listening.as_ref().map(|(_, manners)| manners),
            Mode::Native(_) => None,
        }
    }

    /// Moves what is ready between the parts. Extra calls are harmless.
    pub(super) fn settle(&mut self, now: Instant) {
        self.advance_jobs(now);
        self.advance_rotation(now);
        self.settle_hosted(now);
        self.handle_agent_events(now);
        self.advance_objects();
        self.send_waiting_texts(now);
        self.settle_station(now);
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// A link is `up`, `connecting` or `down`; why, or what was found.
    pub fn show_link(&mut self, index: usize, state: &str, detail: String) {
        let Some(link) = self.links.get_mut(index) else { return };
        link.state = state.to_owned();
        link.detail = detail;
        let view = link.clone();
        self.push(Output::Event(Event::Link(view)));
    }

    /// What the swarm knows of a node is kept with its names, and told where it has changed.
    pub(super) fn note_member(&mut self, num: u32) {
        if let Some(view) = self.node_view(num)
            && self.book.set_membership(&view)
        {
            self.push(Output::Event(Event::Node(view)));
        }
    }

    pub(super) fn tell_node(&mut self, num: u32) {
        if let Some(view) = self.node_view(num) {
            self.push(Output::Event(Event::Node(view)));
        }
    }

    /// The next thing for others.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next job for the models.
    pub fn next_work(&mut self) -> Option<Work> {
        self.work.pop()
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        let station = match &self.mode {
            Mode::Hosted(station) => station.poll_timeout(),
            Mode::Native(station) => station.poll_timeout(),
            Mode::Listening(_) => None,
        };
        [station, self.jobs.poll_timeout(), self.texts.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(self.look_at, Instant::min)
    }
}

/// Packet ids rise over the whole life of a node, and whoever keeps a node's number but has lost its state must not begin again
/// below them: it would be taken for a replay. So the first ever comes from the clock, four a second since 2025.
fn first_packet_id(now_ms: u64) -> u32 {
    const SINCE_MS: u64 = 1_735_689_600_000;
    (now_ms.saturating_sub(SINCE_MS) / 250).min(u64::from(u32::MAX / 2)) as u32
}

pub(super) fn owned(packet: ToRadio) -> OwnedPacket {
    OwnedPacket {
        to: packet.to.0,
        id: packet.id.0,
        channel: packet.channel.into(),
        hop_limit: packet.hop_limit.into(),
        want_ack: packet.want_ack,
        priority: packet.priority as u32,
        body: Body::Data(OwnedData {
            port: packet.port.into(),
            payload: packet.payload.to_vec(),
            ..OwnedData::default()
        }),
        ..OwnedPacket::default()
    }
}
