//! The session.

use compotastic_messages::{
    AdminMessage, AdminPayload, Data, FromRadio, FromRadioPayload, Heartbeat, Malformed, MeshPacket,
    MeshPacketPayload, Message, NONCE_CONFIG_ONLY, NONCE_NODES_ONLY, PortNum, QueueStatus, Routing,
    RoutingError, Telemetry, TelemetryVariant, ToRadio, ToRadioPayload,
};
use heapless::{Deque, Vec};

use super::{
    Config, DeadReason, Event, Failure, Phase, Radio, Scope, SendError, Taken,
    flow::{Flow, Next, Waiting},
};
use crate::framing::MAX_MESSAGE;

/// Events that may wait; the oldest is lost then, and counted.
const EVENTS: usize = 64;
/// Admin requests that may be open.
const ADMIN: usize = 8;
/// Tries of a handshake.
const TRIES: u8 = 3;
/// Questions for a sign of life.
const PROBES: u8 = 2;

/// An open admin request.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: u32,
    until_ms: u64,
    /// It is answered by an admin message, not by an acknowledgement alone.
    wants_answer: bool,
}

/// The app's side of the client API, without I/O. See [the module](super) for how to use it.
#[derive(Clone, Debug)]
pub struct Session {
    config: Config,
    random: u64,
    phase: Phase,
    radio: Radio,
    flow: Flow,
    events: Deque<Event, EVENTS>,
    lost_events: u32,
    requests: Vec<Request, ADMIN>,
    /// From the radio's last admin answer.
    passkey: Vec<u8, 16>,
    /// Number of the handshake that goes on.
    nonce: u32,
    tries: u8,
    began_ms: u64,
    /// The link has told something since it was opened.
    spoke: bool,
    heard_ms: u64,
    said_ms: u64,
    /// Questions for a sign of life, and when the last one was asked.
    probes: u8,
    probed_ms: u64,
    ask_config: bool,
    heartbeat: bool,
    goodbye: bool,
}

impl Session {
    /// A session whose random numbers come from `seed`.
    pub const fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            random: seed,
            phase: Phase::Connecting,
            radio: Radio {
                num: 0,
                reboot_count: 0,
                nodedb_count: 0,
                firmware: Vec::new(),
                hw_model: compotastic_messages::HardwareModel::UNSET,
                role: compotastic_messages::Role::CLIENT,
                has_pkc: false,
                has_xeddsa: false,
                lora: None,
                channels: [const { None }; compotastic_messages::MAX_CHANNELS],
                queue_free: None,
            },
            flow: Flow::new(),
            events: Deque::new(),
            lost_events: 0,
            requests: Vec::new(),
            passkey: Vec::new(),
            nonce: 0,
            tries: 0,
            began_ms: 0,
            spoke: false,
            heard_ms: 0,
            said_ms: 0,
            probes: 0,
            probed_ms: 0,
            ask_config: false,
            heartbeat: false,
            goodbye: false,
        }
    }

    /// Where it stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What the radio told of itself.
    pub const fn radio(&self) -> &Radio {
        &self.radio
    }

    /// Events that were lost since the start, because they were not taken.
    pub const fn lost_events(&self) -> u32 {
        self.lost_events
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.random;
        value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    }

    /// A number that is neither 0 nor one of those that ask for a part of the state.
    fn draw_nonce(&mut self) -> u32 {
        loop {
            let nonce = self.draw() as u32;
            if !matches!(nonce, 0 | NONCE_CONFIG_ONLY | NONCE_NODES_ONLY) && nonce != self.nonce {
                return nonce;
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
            self.lost_events = self.lost_events.saturating_add(1);
        }
        let _ = self.events.push_back(event);
    }

    /// The link was opened.
    pub fn handle_connected(&mut self, now_ms: u64) {
        self.end(Failure::LinkLost);
        self.spoke = false;
        self.goodbye = false;
        self.said_ms = now_ms;
        self.flow.handle_restart(now_ms);
        self.configure(now_ms);
    }

    /// The link was closed, or broke.
    pub fn handle_disconnected(&mut self) {
        self.end(Failure::LinkLost);
    }

    /// Ends what goes on; the phase is [`Phase::Connecting`] then.
    fn end(&mut self, why: Failure) {
        self.phase = Phase::Connecting;
        self.ask_config = false;
        self.heartbeat = false;
        while let Some(waiting) = self.flow.pop() {
            if let Some(id) = waiting.id {
                self.requests.retain(|request| request.id != id);
                self.tell(Event::Failed { id, why });
            }
        }
        while let Some(request) = self.requests.pop() {
            self.tell(Event::Failed { id: request.id, why });
        }
    }

    fn die(&mut self, reason: DeadReason) {
        self.end(Failure::LinkLost);
        self.tell(Event::Dead(reason));
    }

    /// Begins the handshake.
    fn configure(&mut self, now_ms: u64) {
        self.phase = Phase::Configuring;
        self.tries = 0;
        self.began_ms = now_ms;
        self.ask_state(now_ms);
    }

    fn ask_state(&mut self, now_ms: u64) {
        self.nonce = match self.config.scope {
            Scope::All => self.draw_nonce(),
            Scope::ConfigOnly => NONCE_CONFIG_ONLY,
            Scope::NodesOnly => NONCE_NODES_ONLY,
        };
        self.ask_config = true;
        self.heard_ms = now_ms;
        self.probes = 0;
    }

    /// Takes a message from the radio, without its frame.
    ///
    /// # Errors
    /// [`Malformed`] where it is none; that is no sign of life either. On a stream tell [`crate::framing::Deframer::reject`].
    pub fn handle_message<'a>(&mut self, now_ms: u64, bytes: &'a [u8]) -> Result<Taken<'a>, Malformed> {
        let message = FromRadio::decode(bytes)?;
        if self.phase == Phase::Connecting {
            // Left over from before the link was given up.
            return Ok(Taken { message, answers: None });
        }
        self.spoke = true;
        self.heard_ms = now_ms;
        self.probes = 0;
        let mut answers = None;
        match &message.payload {
            Some(FromRadioPayload::MyInfo(info)) => {
                let old = self.radio.num;
                let unasked = self.phase == Phase::Ready;
                self.radio.handle_my_info(info);
                if old != 0 && old != info.my_node_num {
                    self.tell(Event::NumberChanged { old, new: info.my_node_num });
                }
                if unasked {
                    self.handle_restart(now_ms);
                }
            }
            Some(FromRadioPayload::Rebooted(true)) => self.handle_restart(now_ms),
            Some(FromRadioPayload::ConfigCompleteId(nonce)) => {
                let told = self.radio.num != 0 || self.config.scope == Scope::NodesOnly;
                if self.phase == Phase::Configuring && *nonce == self.nonce && told {
                    self.phase = Phase::Ready;
                    self.ask_config = false;
                    self.tell(Event::Ready { num: self.radio.num });
                }
            }
            Some(FromRadioPayload::QueueStatus(status)) => self.handle_status(now_ms, status),
            Some(FromRadioPayload::Packet(packet)) => answers = self.handle_packet(packet),
            Some(payload) => self.radio.handle(payload),
            None => {}
        }
        Ok(Taken { message, answers })
    }

    fn handle_restart(&mut self, now_ms: u64) {
        if self.phase == Phase::Ready {
            self.tell(Event::Restarted);
        }
        // What waits here was not handed over yet and still can be; what the radio held is lost, and its sender learns of that.
        self.flow.handle_restart(now_ms);
        while let Some(request) = self.requests.pop() {
            self.tell(Event::Failed { id: request.id, why: Failure::LinkLost });
        }
        self.configure(now_ms);
    }

    fn handle_status(&mut self, now_ms: u64, status: &QueueStatus) {
        self.flow.handle_status(now_ms, status.free);
        self.radio.queue_free = Some(status.free);
        self.tell(Event::Queue { free: status.free, maxlen: status.maxlen });
        let id = status.mesh_packet_id;
        if status.res != 0 && self.flow.is_watched(id) {
            let why = match u32::try_from(status.res) {
                // These three are the queue's; the others are named as on the mesh.
                Ok(32..=34) | Err(_) => Failure::Refused(status.res),
                Ok(error) => Failure::Routing(RoutingError(error)),
            };
            self.fail(id, why);
        }
    }

    fn fail(&mut self, id: u32, why: Failure) {
        self.flow.forget(id);
        self.requests.retain(|request| request.id != id);
        self.tell(Event::Failed { id, why });
    }

    /// What a packet says about ours; the answer is the admin request that it answers.
    fn handle_packet(&mut self, packet: &MeshPacket<'_>) -> Option<u32> {
        let data = packet.decoded()?;
        let own = packet.from == self.radio.num || packet.from == 0;
        if own && data.portnum == PortNum::TELEMETRY_APP {
            self.handle_telemetry(data);
        }
        let id = data.request_id;
        if id == 0 {
            return None;
        }
        let open = self.requests.iter().position(|request| request.id == id);
        if data.portnum == PortNum::ADMIN_APP && own && open.is_some() {
            self.requests.retain(|request| request.id != id);
            self.flow.forget(id);
            if let Ok(admin) = AdminMessage::decode(data.payload) {
                self.passkey = admin.session_passkey.iter().copied().take(16).collect();
                if let Some(AdminPayload::GetChannelResponse(channel)) = &admin.payload {
                    self.radio.handle_channel(channel);
                }
            }
            return Some(id);
        }
        if !self.flow.is_watched(id) {
            return None;
        }
        if data.portnum == PortNum::ROUTING_APP {
            match Routing::decode(data.payload).ok().and_then(|routing| routing.error()) {
                Some(RoutingError::NONE) => self.deliver(id, packet.from),
                Some(error) => self.fail(id, Failure::Routing(error)),
                None => {}
            }
        } else {
            self.deliver(id, packet.from);
        }
        None
    }

    fn deliver(&mut self, id: u32, by: u32) {
        let waits = self.requests.iter().any(|request| request.id == id && request.wants_answer);
        if waits {
            return;
        }
        self.requests.retain(|request| request.id != id);
        // A relay that our radio overheard is the lesser word: the destination's may still come.
        if by != self.radio.num {
            self.flow.forget(id);
        }
        self.tell(Event::Delivered { id, by });
    }

    fn handle_telemetry(&mut self, data: &Data<'_>) {
        let Ok(telemetry) = Telemetry::decode(data.payload) else { return };
        match telemetry.variant {
            Some(TelemetryVariant::DeviceMetrics(metrics)) => {
                self.tell(Event::Metrics { time: telemetry.time, metrics });
            }
            Some(TelemetryVariant::LocalStats(stats)) => {
                self.tell(Event::Stats { time: telemetry.time, stats })
            }
            _ => {}
        }
    }

    /// Queues a packet. Its id is the caller's, who finds its fate in the events; where it is 0, one is drawn. The answer is the id.
    ///
    /// # Errors
    /// [`SendError::NotReady`], [`SendError::Busy`], [`SendError::TooLarge`]; nothing is kept then.
    pub fn send(&mut self, packet: &MeshPacket<'_>) -> Result<u32, SendError> {
        if self.phase != Phase::Ready {
            return Err(SendError::NotReady);
        }
        if self.flow.is_full() {
            return Err(SendError::Busy);
        }
        let mut packet = packet.clone();
        while packet.id == 0 {
            packet.id = self.draw() as u32;
        }
        // The radio puts its number there anyway; but where it is missing, it does not tell of packets that come too fast.
        packet.from = self.radio.num;
        let id = packet.id;
        let bytes =
            ToRadio::from(ToRadioPayload::Packet(packet)).to_vec().map_err(|_| SendError::TooLarge)?;
        self.flow.push(Waiting { id: Some(id), bytes })?;
        Ok(id)
    }

    /// Queues a `ToRadio` message as it is: a packet, a piece of a file, a message from MQTT, a request for node information.
    ///
    /// # Errors
    /// As for [`Session::send`], and [`SendError::NotForward`] for all else.
    pub fn send_raw(&mut self, message: &[u8]) -> Result<(), SendError> {
        if self.phase != Phase::Ready {
            return Err(SendError::NotReady);
        }
        let bytes = Vec::from_slice(message).map_err(|_| SendError::TooLarge)?;
        let id = match ToRadio::decode(message).ok().and_then(|message| message.payload) {
            Some(ToRadioPayload::Packet(packet)) => Some(packet.id),
            Some(ToRadioPayload::XmodemPacket(_) | ToRadioPayload::MqttClientProxyMessage(_)) => None,
            Some(ToRadioPayload::Heartbeat(Heartbeat { nonce: 1 })) => None,
            _ => return Err(SendError::NotForward),
        };
        self.flow.push(Waiting { id, bytes })
    }

    /// Asks or sets something at the radio itself. An answer comes back from [`Session::handle_message`] with the id that this gives; where
    /// `wants_answer` is false, [`Event::Delivered`] tells that it was done.
    ///
    /// # Errors
    /// As for [`Session::send`].
    pub fn admin(
        &mut self,
        now_ms: u64,
        request: &AdminMessage<'_>,
        wants_answer: bool,
    ) -> Result<u32, SendError> {
        if self.requests.is_full() {
            return Err(SendError::Busy);
        }
        let passkey = self.passkey.clone();
        let mut request = request.clone();
        if request.session_passkey.is_empty() {
            request.session_passkey = &passkey;
        }
        let payload = request.to_vec::<MAX_MESSAGE>().map_err(|_| SendError::TooLarge)?;
        let data = Data {
            portnum: PortNum::ADMIN_APP,
            payload: &payload,
            want_response: wants_answer,
            ..Data::default()
        };
        let packet = MeshPacket {
            to: self.radio.num,
            want_ack: true,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        };
        let id = self.send(&packet)?;
        let until_ms = now_ms.saturating_add(self.config.admin_ms);
        let _ = self.requests.push(Request { id, until_ms, wants_answer });
        Ok(id)
    }

    /// The radio is told that the app goes away.
    pub const fn say_goodbye(&mut self) {
        self.goodbye = true;
    }

    /// The next message for the radio, without a frame.
    pub fn poll_transmit(&mut self, now_ms: u64) -> Option<Vec<u8, MAX_MESSAGE>> {
        if self.phase == Phase::Connecting {
            return None;
        }
        let message = if self.ask_config {
            self.ask_config = false;
            ToRadioPayload::WantConfigId(self.nonce)
        } else if self.heartbeat {
            self.heartbeat = false;
            ToRadioPayload::Heartbeat(Heartbeat { nonce: 0 })
        } else if self.phase == Phase::Ready {
            match self.flow.next(now_ms, self.config.gap_ms, self.config.room_ms) {
                Next::Send(bytes) => {
                    self.said_ms = now_ms;
                    return Some(bytes);
                }
                Next::Ask => ToRadioPayload::Heartbeat(Heartbeat { nonce: 0 }),
                Next::Wait if self.goodbye => {
                    self.goodbye = false;
                    ToRadioPayload::Disconnect(true)
                }
                Next::Wait => return None,
            }
        } else {
            return None;
        };
        self.said_ms = now_ms;
        ToRadio::from(message).to_vec().ok()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When the session is to be given the time again, if nothing comes before.
    pub fn poll_timeout(&self) -> Option<u64> {
        let open = self.requests.iter().map(|request| request.until_ms).min();
        let next = match self.phase {
            Phase::Connecting => return None,
            Phase::Configuring => Some(self.handshake_due_ms()),
            Phase::Ready => {
                let heartbeat_ms = self.said_ms.saturating_add(self.config.heartbeat_ms);
                let flow_ms = self.flow.timeout_ms(self.config.gap_ms, self.config.room_ms);
                [Some(heartbeat_ms), Some(self.silence_due_ms()), flow_ms].into_iter().flatten().min()
            }
        };
        [open, next].into_iter().flatten().min()
    }

    fn handshake_due_ms(&self) -> u64 {
        let quiet_ms = self
            .heard_ms
            .saturating_add(self.config.handshake_quiet_ms.saturating_mul(1 << self.tries.min(TRIES)));
        quiet_ms.min(self.began_ms.saturating_add(self.config.handshake_ms))
    }

    fn silence_due_ms(&self) -> u64 {
        match self.probes {
            0 => self.heard_ms.saturating_add(self.config.quiet_ms),
            _ => self.probed_ms.saturating_add(self.config.answer_ms),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        while let Some(late) = self.requests.iter().find(|request| request.until_ms <= now_ms) {
            let id = late.id;
            self.fail(id, Failure::NoAnswer);
        }
        match self.phase {
            Phase::Connecting => {}
            Phase::Configuring if now_ms < self.handshake_due_ms() => {}
            Phase::Configuring => {
                self.tries += 1;
                let too_long = now_ms >= self.began_ms.saturating_add(self.config.handshake_ms);
                if !self.spoke && (too_long || self.tries >= TRIES) {
                    self.die(DeadReason::NoHandshake);
                } else if too_long || self.tries >= TRIES {
                    self.die(DeadReason::HandshakeTooLong);
                } else {
                    self.ask_state(now_ms);
                }
            }
            Phase::Ready => {
                if now_ms >= self.silence_due_ms() {
                    if self.probes >= PROBES {
                        return self.die(DeadReason::Silent);
                    }
                    self.probes += 1;
                    self.probed_ms = now_ms;
                    self.heartbeat = true;
                }
                if now_ms >= self.said_ms.saturating_add(self.config.heartbeat_ms) {
                    self.heartbeat = true;
                }
            }
        }
    }
}
