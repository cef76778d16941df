//! The hub: what clients say, what the radio says, and who is told what. No I/O and no clock of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use compotastic_messages::{
    AdminMessage, ClientNotification, Data, FromRadio, FromRadioPayload, Heartbeat, LogLevel, MAX_PAYLOAD,
    MeshPacket, MeshPacketPayload, Message, PortNum, Priority, QueueStatus, Routing, RoutingError, ToRadio,
    ToRadioPayload,
};
use tracing::{debug, info};

use super::{
    ForRadio, IDLE_MS, Outbox, PLACES, RadioInput, ShareConfig, Shared, WAIT_MS,
    cache::{Cache, shared},
    client::{Client, Pending},
    packets::{allowed_priority, effective_priority, frame_length, is_for_all, is_harmless, shown, with_ids},
    queues::Turns,
    routes::Routes,
};

/// Everybody.
pub const BROADCAST: u32 = compotastic_messages::BROADCAST;
/// The radio's queue has no room for a packet.
const QUEUE_FULL: i32 = 32;
/// Messages for the radio that are no packets may wait.
const CONTROL: usize = 32;
/// The node's information is broadcast at a client's wish so often at most, as firmware does.
const NODE_INFO_MS: u64 = 60_000;

/// A client of the hub; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The state of all.
#[derive(Debug)]
pub struct Hub {
    config: ShareConfig,
    random: u64,
    cache: Cache,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    routes: Routes,
    turns: Turns,
    control: VecDeque<Vec<u8>>,
    /// The radio was started anew: clients learn of it when its state is known again.
    restarted: bool,
    /// The link is broken, or the radio has not told its state since: what clients send waits.
    down: bool,
    node_info_ms: Option<u64>,
    /// Who moves files now.
    files: Option<ClientId>,
}

impl Hub {
    /// A hub without clients, whose packet ids come from `seed`.
    pub fn new(config: ShareConfig, seed: u64) -> Self {
        Self {
            config,
            random: seed,
            cache: Cache::default(),
            clients: BTreeMap::new(),
            next_client: 1,
            routes: Routes::default(),
            turns: Turns::default(),
            control: VecDeque::new(),
            restarted: false,
            down: false,
            node_info_ms: None,
            files: None,
        }
    }

    /// Clients now.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The radio's number; 0 before it is known.
    pub const fn num(&self) -> u32 {
        self.cache.num
    }

    /// The radio's state is known.
    pub const fn is_ready(&self) -> bool {
        self.cache.complete
    }

    /// A client has come; what it is told comes out of the outbox. None where there is no room for it.
    pub fn connect(&mut self, now_ms: u64) -> Option<(ClientId, Arc<Outbox>)> {
        if self.clients.len() >= self.config.clients {
            return None;
        }
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let client = Client::new(now_ms, self.config.airtime_permille);
        let outbox = client.outbox.clone();
        self.clients.insert(id, client);
        Some((id, outbox))
    }

    /// A client has gone. What it asked to send is not sent any more.
    pub fn disconnect(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            client.outbox.close();
            if client.outbox.dropped() > 0 {
                debug!(
                    client = id.0,
                    lost = client.outbox.dropped(),
                    "a client was too slow for some messages"
                );
            }
        }
        if self.files == Some(id) {
            self.files = None;
        }
    }

    /// All clients are closed.
    pub fn close(&mut self) {
        let all: Vec<ClientId> = self.clients.keys().copied().collect();
        all.into_iter().for_each(|id| self.disconnect(id));
    }

    /// A client is there, though it says nothing.
    pub fn handle_life(&mut self, now_ms: u64, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.heard_ms = now_ms;
        }
    }

    fn tell(&self, id: ClientId, message: Shared) {
        if let Some(client) = self.clients.get(&id).filter(|client| client.ready) {
            client.outbox.put(message);
        }
    }

    fn tell_all(&self, message: &Shared) {
        for client in self.clients.values().filter(|client| client.ready) {
            client.outbox.put(message.clone());
        }
    }

    fn tell_status(&self, id: ClientId, res: i32, packet: u32) {
        let free = self.clients.get(&id).map_or(0, Client::free);
        let status = QueueStatus { res, free, maxlen: PLACES as u32, mesh_packet_id: packet };
        self.tell(id, shared(FromRadioPayload::QueueStatus(status)));
    }

    /// The client's packet failed, for a reason that the radio would give it.
    fn refuse(&self, id: ClientId, theirs: u32, error: RoutingError) {
        let Ok(payload) = Routing::from_error(error).to_vec::<16>() else { return };
        let data =
            Data { portnum: PortNum::ROUTING_APP, payload: &payload, request_id: theirs, ..Data::default() };
        let num = self.cache.num;
        let packet = MeshPacket {
            from: num,
            to: num,
            id: (theirs ^ 0x5A5A_5A5A).max(1),
            priority: Priority::ACK,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        };
        self.tell(id, shared(FromRadioPayload::Packet(packet)));
    }

    /// Tells the state to a client that asked for it, as soon as it is known.
    fn tell_state(&mut self, id: ClientId) {
        if !self.cache.complete {
            return;
        }
        let secrets = !(self.config.no_admin || self.config.read_only);
        if let Some(client) = self.clients.get_mut(&id)
            && let Some(nonce) = client.asks.take()
        {
            client.ready = true;
            client.outbox.put_state(self.cache.state(nonce, secrets));
        }
    }

    /// A client says something: a `ToRadio` message.
    pub fn handle_client(&mut self, now_ms: u64, id: ClientId, raw: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.heard_ms = now_ms;
        let Ok(ToRadio { payload: Some(payload) }) = ToRadio::decode(raw) else { return };
        match payload {
            ToRadioPayload::WantConfigId(nonce) => {
                client.asks = Some(nonce);
                self.tell_state(id);
            }
            ToRadioPayload::Heartbeat(Heartbeat { nonce: 1 }) => {
                let due = self.node_info_ms.is_none_or(|last_ms| now_ms >= last_ms + NODE_INFO_MS);
                if due && !self.config.read_only {
                    self.node_info_ms = Some(now_ms);
                    self.pass_on(raw);
                }
            }
            ToRadioPayload::Heartbeat(_) => self.tell_status(id, 0, 0),
            ToRadioPayload::Disconnect(_) => self.disconnect(id),
            ToRadioPayload::XmodemPacket(_) => {
                if !self.config.no_admin && !self.config.read_only {
                    self.files = Some(id);
                    self.pass_on(raw);
                }
            }
            ToRadioPayload::MqttClientProxyMessage(_) => {
                if self.mqtt_proxy() == Some(id) && !self.config.read_only {
                    self.pass_on(raw);
                }
            }
            ToRadioPayload::Packet(packet) => self.handle_packet_of(now_ms, id, packet),
        }
    }

    /// Who carries the radio's MQTT: one client alone, or all would publish each message.
    fn mqtt_proxy(&self) -> Option<ClientId> {
        self.clients.iter().find(|(_, client)| client.ready).map(|(id, _)| *id)
    }

    fn pass_on(&mut self, raw: &[u8]) {
        if self.control.len() < CONTROL {
            self.control.push_back(raw.to_vec());
        }
    }

    /// A client wants to send a packet.
    fn handle_packet_of(&mut self, now_ms: u64, id: ClientId, mut packet: MeshPacket<'_>) {
        if packet.id == 0 {
            packet.id = draw(&mut self.random);
        }
        let theirs = packet.id;
        let num = self.cache.num;
        let local = num != 0 && packet.to == num;
        let port = packet.decoded().map_or(PortNum::UNKNOWN_APP, |data| data.portnum);
        let admin =
            packet.decoded().filter(|data| data.portnum == PortNum::ADMIN_APP).map(|data| data.payload);
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.is_new(theirs) {
            return;
        }
        let too_large = packet.decoded().is_some_and(|data| data.payload.len() > MAX_PAYLOAD);
        let error = if self.config.read_only
            || admin.is_some_and(|admin| self.config.no_admin && !(local && is_harmless(admin)))
        {
            Some(RoutingError::NOT_AUTHORIZED)
        } else if too_large {
            Some(RoutingError::TOO_LARGE)
        } else if !local && !client.may_send(now_ms, port) {
            Some(RoutingError::RATE_LIMIT_EXCEEDED)
        } else {
            None
        };
        if let Some(error) = error {
            self.refuse(id, theirs, error);
            return self.tell_status(id, 0, theirs);
        }
        if client.queue.len() >= PLACES {
            return self.tell_status(id, QUEUE_FULL, theirs);
        }
        let random = &mut self.random;
        packet.id = self.routes.assign(id, theirs, || draw(random));
        // The radio puts its number there anyway, but tells of refused packets only where it finds it.
        packet.from = num;
        let mesh_id = packet.id;
        if let Some(MeshPacketPayload::Decoded(data)) = &mut packet.payload {
            data.reply_id = self.routes.on_the_mesh(id, data.reply_id);
        }
        if let (Some(admin), true, Some(route)) = (admin, local, self.routes.get_mut(mesh_id)) {
            route.change = Some(admin.to_vec());
        }
        let airtime_us =
            if local { 0 } else { self.cache.airtime_us(frame_length(&packet, self.cache.signs)) };
        packet.priority = allowed_priority(packet.priority, port);
        let for_all = !local && packet.decoded().is_some_and(is_for_all);
        let shown = for_all.then(|| shown(&packet));
        let pending = Pending {
            id: mesh_id,
            port,
            priority: effective_priority(&packet, port),
            airtime_us,
            since_ms: now_ms,
            shown,
            bytes: match ToRadio::from(ToRadioPayload::Packet(packet)).to_vec::<512>() {
                Ok(bytes) => bytes.to_vec(),
                Err(_) => {
                    self.refuse(id, theirs, RoutingError::TOO_LARGE);
                    return self.tell_status(id, 0, theirs);
                }
            },
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client.queue.push_back(pending);
        }
        self.tell_status(id, 0, theirs);
    }

    /// The next message for the radio, if one may go now.
    pub fn poll_radio(&mut self, now_ms: u64) -> Option<ForRadio> {
        if !self.cache.complete || self.down {
            return None;
        }
        if let Some(bytes) = self.control.pop_front() {
            return Some(ForRadio { bytes, id: None, priority: Priority::DEFAULT.0, airtime_us: 0 });
        }
        let (id, packet) = self.turns.next(now_ms, &mut self.clients)?;
        if let Some(shown) = &packet.shown {
            for (other, client) in &self.clients {
                if *other != id && client.ready {
                    client.outbox.put(shown.clone());
                }
            }
        }
        let Pending { bytes, id, priority, airtime_us, .. } = packet;
        Some(ForRadio { bytes, id: Some(id), priority, airtime_us })
    }

    /// The radio, or the owner of its link, says something.
    pub fn handle_radio(&mut self, now_ms: u64, input: &RadioInput) {
        match input {
            RadioInput::Message(raw) => {
                if let Ok(FromRadio { payload: Some(payload), .. }) = FromRadio::decode(raw) {
                    self.handle_from_radio(raw, payload);
                }
            }
            RadioInput::Own(raw) => {
                let Ok(mut packet) = MeshPacket::decode(raw) else { return };
                packet.from = self.cache.num;
                if let Some(data) = packet.decoded() {
                    self.turns.handle_used(now_ms, data.portnum);
                    if is_for_all(data) {
                        self.tell_all(&shown(&packet));
                    }
                }
            }
            RadioInput::Refused { id, error } => {
                if let Some(route) = self.routes.get(*id) {
                    self.refuse(route.client, route.theirs, RoutingError(*error));
                }
            }
            RadioInput::Down => self.down = true,
        }
    }

    fn handle_from_radio(&mut self, raw: &[u8], payload: FromRadioPayload<'_>) {
        match &payload {
            FromRadioPayload::Rebooted(_) => self.restarted = true,
            FromRadioPayload::MyInfo(info) => {
                if self.cache.num != 0 && self.cache.num != info.my_node_num {
                    info!(
                        old = self.cache.num,
                        new = info.my_node_num,
                        "another radio: its clients have to come again"
                    );
                    self.close();
                } else if self.cache.num != 0 && self.cache.reboots != info.reboot_count {
                    // A link that was opened anew is nothing to the clients; a radio that was started anew is.
                    self.restarted = true;
                }
            }
            _ => {}
        }
        let was_complete = self.cache.complete;
        if self.cache.handle(raw, &payload) {
            match payload {
                FromRadioPayload::ConfigCompleteId(_) if self.cache.complete => self.handle_complete(),
                FromRadioPayload::NodeInfo(_) if was_complete => self.tell_all(&Shared::from(raw)),
                _ => {}
            }
            return;
        }
        match payload {
            FromRadioPayload::Packet(packet) => self.handle_packet(raw, &packet),
            FromRadioPayload::QueueStatus(status) => self.handle_status(&status),
            FromRadioPayload::ClientNotification(notification) => self.handle_notification(raw, notification),
            FromRadioPayload::XmodemPacket(_) => {
                if let Some(id) = self.files {
                    self.tell(id, Shared::from(raw));
                }
            }
            FromRadioPayload::MqttClientProxyMessage(_) => {
                if let Some(id) = self.mqtt_proxy() {
                    self.tell(id, Shared::from(raw));
                }
            }
            FromRadioPayload::LogRecord(_) | FromRadioPayload::LockdownStatus(_) => {
                self.tell_all(&Shared::from(raw));
            }
            // Its clients learn of a restart when the state is known again.
            _ => {}
        }
    }

    fn handle_complete(&mut self) {
        if std::mem::take(&mut self.down) {
            self.turns.handle_restart();
        }
        if std::mem::take(&mut self.restarted) {
            self.turns.handle_restart();
            self.tell_all(&shared(FromRadioPayload::Rebooted(true)));
        }
        let waiting: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| client.asks.is_some()).map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.tell_state(id));
    }

    /// The radio tells of a packet only where it was refused; room is told from our own queues.
    fn handle_status(&mut self, status: &QueueStatus) {
        if status.res != 0
            && let Some(route) = self.routes.get(status.mesh_packet_id)
        {
            self.tell_status(route.client, status.res, route.theirs);
        }
    }

    fn handle_notification(&mut self, raw: &[u8], notification: ClientNotification<'_>) {
        let route = notification.reply_id.and_then(|id| self.routes.get(id));
        match route {
            Some(route) => {
                let mine = ClientNotification { reply_id: Some(route.theirs), ..notification };
                self.tell(route.client, shared(FromRadioPayload::ClientNotification(mine)));
            }
            None => self.tell_all(&Shared::from(raw)),
        }
    }

    /// A packet from the mesh, or an answer of the radio itself.
    fn handle_packet(&mut self, raw: &[u8], packet: &MeshPacket<'_>) {
        self.cache.hear(packet);
        let Some(data) = packet.decoded() else { return self.tell_all(&Shared::from(raw)) };
        let num = self.cache.num;
        let about_us = packet.to == num || packet.from == num || packet.from == 0;
        if data.request_id != 0 && about_us {
            if let Some(route) = self.routes.get(data.request_id) {
                let (client, theirs) = (route.client, route.theirs);
                let done = data.portnum != PortNum::ROUTING_APP
                    || Routing::decode(data.payload).ok().and_then(|routing| routing.error())
                        == Some(RoutingError::NONE);
                if let Some(change) = route.change.clone().filter(|_| done)
                    && let Ok(admin) = AdminMessage::decode(&change)
                {
                    self.cache.change(&admin);
                }
                return self.tell(client, with_ids(packet, theirs, data.reply_id));
            }
            if data.portnum == PortNum::ROUTING_APP {
                // The fate of a packet of the node behind the same radio, or of a client that is gone.
                return;
            }
        }
        if let Some(owner) = self.routes.get(data.reply_id).map(|route| (route.client, route.theirs)) {
            for (id, client) in self.clients.iter().filter(|(_, client)| client.ready) {
                let reply_id = if *id == owner.0 { owner.1 } else { data.reply_id };
                client.outbox.put(with_ids(packet, data.request_id, reply_id));
            }
            return;
        }
        self.tell_all(&Shared::from(raw));
    }

    /// Does what is due: clients that say nothing are closed, packets that wait too long are given back.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let silent = |client: &Client| now_ms >= client.heard_ms + IDLE_MS;
        let idle: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| silent(client)).map(|(id, _)| *id).collect();
        for id in idle {
            info!(client = id.0, "a client said nothing for 15 minutes and is closed");
            self.disconnect(id);
        }
        let mut late = Vec::new();
        for (id, client) in &mut self.clients {
            while let Some(at) = client.queue.iter().position(|packet| now_ms >= packet.since_ms + WAIT_MS) {
                late.extend(client.queue.remove(at).map(|packet| (*id, packet.id)));
            }
        }
        for (id, packet) in late {
            self.refuse(id, self.routes.at_the_client(id, packet), RoutingError::TIMEOUT);
        }
    }

    /// When [`Hub::handle_timeout`] and [`Hub::poll_radio`] are to be called again, if nothing comes before.
    pub fn poll_timeout(&self) -> Option<u64> {
        let idle = self.clients.values().map(|client| client.heard_ms + IDLE_MS).min();
        let late = self
            .clients
            .values()
            .flat_map(|client| client.queue.iter().map(|packet| packet.since_ms + WAIT_MS))
            .min();
        let turn =
            if self.cache.complete && !self.down { self.turns.timeout_ms(&self.clients) } else { None };
        [idle, late, turn].into_iter().flatten().min()
    }
}

/// SplitMix64's upper half; never 0.
fn draw(random: &mut u64) -> u32 {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut value = *random;
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((value ^ value >> 31) >> 32) as u32 | 1
}

/// A word to a client before it is closed.
pub fn notice(text: &str) -> Shared {
    let notification =
        ClientNotification { level: LogLevel::WARNING, message: text.into(), ..Default::default() };
    shared(FromRadioPayload::ClientNotification(notification))
}
