//! The stock modules: who, where, how; the way; and what was acknowledged or refused.

use super::{Citizen, CitizenEvent, Draft, ONLINE, error, receive::Answer};
use crate::{
    modules::{NODEINFO_PORT, POSITION_PORT, TELEMETRY_PORT},
    nodedb::{Metrics, NotTaken, Position, User},
    packet::{MAX_PAYLOAD, NodeNum, PacketId},
    router::{Gate, Incoming, Priority, ROUTING_PORT, Router},
    time::Instant,
    traceroute::{self, TRACEROUTE_PORT},
};
use compotastic_messages::{
    LocalStats, Message as _, Position as PositionMessage, Routing, RoutingVariant, Telemetry,
    TelemetryVariant, User as UserMessage,
};
use core::fmt::Write as _;
use heapless::{String, Vec};

type Payload = Vec<u8, MAX_PAYLOAD>;

impl Citizen {
    /// What the stock modules do with a packet.
    pub(super) fn handle_modules(
        &mut self,
        now: Instant,
        router: &mut Router,
        packet: &mut Incoming,
    ) -> Answer {
        match packet.port {
            NODEINFO_PORT => self.handle_node_info(now, packet),
            POSITION_PORT => self.handle_position(now, packet),
            TELEMETRY_PORT => self.handle_telemetry(now, router, packet),
            TRACEROUTE_PORT => self.handle_traceroute(now, packet),
            ROUTING_PORT => self.handle_routing(now, packet),
            _ => Answer::None,
        }
    }

    fn handle_node_info(&mut self, now: Instant, packet: &Incoming) -> Answer {
        if let Ok(message) = UserMessage::decode(&packet.payload) {
            let user = User::from_message(&message);
            let ours = user.public_key.is_some() && user.public_key == self.config.user.public_key;
            let learnt = if ours { Err(NotTaken::OtherKey) } else { self.db.learn_user(packet.from, user) };
            match learnt {
                Ok(true) => self.push_event(CitizenEvent::Node { num: packet.from }),
                Err(NotTaken::OtherKey) => self.push_event(CitizenEvent::KeyChanged { num: packet.from }),
                Ok(false) | Err(NotTaken::NoKey | NotTaken::Full) => {}
            }
        }
        if !(packet.want_response && self.may_tell(now, packet.from)) {
            return Answer::Quiet;
        }
        let hop_limit = self.answer_hops(packet.hops_away);
        self.tell_who(packet.from, packet.channel, hop_limit, Some(packet.id.0), false);
        Answer::Given
    }

    fn handle_position(&mut self, now: Instant, packet: &Incoming) -> Answer {
        if let Ok(message) = PositionMessage::decode(&packet.payload)
            && let Some(position) = Position::from_message(&message)
            && let Some(node) = self.db.get_mut(packet.from)
            && node.position != Some(position)
        {
            node.position = Some(position);
            self.push_event(CitizenEvent::Node { num: packet.from });
        }
        let payload = self.position_payload(now, packet.channel);
        match payload {
            Some(payload) => self.reply(now, packet, payload),
            None => Answer::None,
        }
    }

    fn handle_telemetry(&mut self, now: Instant, router: &mut Router, packet: &Incoming) -> Answer {
        let Ok(message) = Telemetry::decode(&packet.payload) else { return Answer::None };
        if let Some(TelemetryVariant::DeviceMetrics(metrics)) = &message.variant {
            let metrics = Metrics::from_message(metrics);
            // A request names the kind by an empty one.
            if metrics != Metrics::default()
                && let Some(node) = self.db.get_mut(packet.from)
            {
                node.metrics = Some(metrics);
                self.push_event(CitizenEvent::Node { num: packet.from });
            }
        }
        let variant = match message.variant {
            None | Some(TelemetryVariant::DeviceMetrics(_)) => self.device_metrics(now, router),
            Some(TelemetryVariant::LocalStats(_)) => self.local_stats(now, router),
            Some(_) => return Answer::None,
        };
        let payload = self.telemetry_payload(now, variant);
        self.reply(now, packet, payload)
    }

    fn handle_traceroute(&mut self, now: Instant, packet: &mut Incoming) -> Answer {
        if packet.to != self.num {
            return Answer::Quiet;
        }
        let back = packet.request_id.is_some();
        let route = traceroute::completed(&packet.payload, back, packet.hops_away, packet.snr_qdb);
        let Some(payload) = route.and_then(|route| route.to_vec::<MAX_PAYLOAD>().ok()) else {
            return Answer::None;
        };
        if back {
            packet.payload = payload.iter().copied().collect();
            return Answer::Quiet;
        }
        self.reply(now, packet, payload)
    }

    fn handle_routing(&mut self, now: Instant, packet: &Incoming) -> Answer {
        let message = Routing::decode(&packet.payload).ok();
        if let Some(RoutingVariant::ErrorReason(reason)) = message.and_then(|message| message.variant)
            && let (Some(id), true) = (packet.request_id, reason.0 != 0 && packet.to == self.num)
        {
            let id = PacketId(id);
            if reason.0 == error::PKI_UNKNOWN_PUBKEY && self.may_tell(now, packet.from) {
                let hop_limit = self.answer_hops(packet.hops_away);
                self.tell_who(packet.from, packet.channel, hop_limit, None, false);
            }
            if self.take_open(id) {
                self.push_event(CitizenEvent::Refused { id, by: packet.from, error: reason.0 });
            }
        }
        Answer::Quiet
    }

    /// Answers a request as stock modules do: on its port, repeated until acknowledged if the request was.
    fn reply(&mut self, now: Instant, packet: &Incoming, payload: Payload) -> Answer {
        let asked = packet.want_response && packet.request_id.is_none();
        if !asked || self.quiet || !self.may_answer(now) {
            return Answer::Quiet;
        }
        self.push_draft(Draft {
            to: packet.from,
            channel: packet.channel,
            port: packet.port,
            payload,
            want_ack: packet.header.want_ack,
            want_response: false,
            request_id: Some(packet.id.0),
            hop_limit: self.answer_hops(packet.hops_away),
            priority: Priority::Reliable,
            gate: Gate::Normal,
        });
        Answer::Given
    }

    /// Who this node is, as a NodeInfo says it.
    pub(super) fn node_info(&self) -> Payload {
        let mut id: String<9> = String::new();
        let _ = write!(id, "{}", self.num);
        self.config.user.to_message(&id).to_vec().unwrap_or_default()
    }

    fn position_payload(&self, now: Instant, channel: u8) -> Option<Payload> {
        let precision = *self.config.position_precision.get(usize::from(channel))?;
        let message = self.position?.to_message(precision)?;
        let time = if message.time == 0 { self.unix_s(now) } else { message.time };
        PositionMessage { time, ..message }.to_vec().ok()
    }

    fn telemetry_payload(&self, now: Instant, variant: TelemetryVariant<'_>) -> Payload {
        Telemetry { time: self.unix_s(now), variant: Some(variant) }.to_vec().unwrap_or_default()
    }

    /// This node's own metrics.
    pub fn metrics(&self, now: Instant, router: &mut Router) -> Metrics {
        Metrics {
            battery_percent: self.battery_percent,
            voltage_mv: self.voltage_mv,
            channel_utilization_permille: Some(router.channel_utilization_permille(now)),
            air_util_tx_permille: Some(router.duty_cycle_permille(now)),
            uptime_s: Some(now.saturating_duration_since(self.started).as_secs() as u32),
        }
    }

    fn device_metrics(&self, now: Instant, router: &mut Router) -> TelemetryVariant<'static> {
        TelemetryVariant::DeviceMetrics(self.metrics(now, router).to_message())
    }

    fn local_stats(&self, now: Instant, router: &mut Router) -> TelemetryVariant<'static> {
        let metrics = self.metrics(now, router);
        let percent = |permille: Option<u16>| f32::from(permille.unwrap_or(0)) / 10.0;
        TelemetryVariant::LocalStats(LocalStats {
            uptime_seconds: metrics.uptime_s.unwrap_or(0),
            channel_utilization: percent(metrics.channel_utilization_permille),
            air_util_tx: percent(metrics.air_util_tx_permille),
            num_packets_tx: self.counted.sent,
            num_packets_rx: self.counted.received,
            num_online_nodes: self.db.heard_since(now - ONLINE) as u32,
            num_total_nodes: self.db.len() as u32,
            num_tx_relay: self.counted.relayed,
            ..LocalStats::default()
        })
    }

    /// What is due by itself: a broadcast on the primary channel, behind everything else.
    pub(super) fn poll_periodic(&mut self, now: Instant, router: &mut Router) {
        let heard = self.db.heard_since(now - ONLINE);
        while let Some(port) = self.periodic.poll_port(now, heard) {
            let payload = match port {
                NODEINFO_PORT => Some(self.node_info()),
                POSITION_PORT => self.position_payload(now, 0),
                _ => {
                    let variant = self.device_metrics(now, router);
                    Some(self.telemetry_payload(now, variant))
                }
            };
            let Some(payload) = payload else { continue };
            self.push_draft(Draft {
                to: NodeNum::BROADCAST,
                channel: 0,
                port,
                payload,
                want_ack: false,
                want_response: false,
                request_id: None,
                hop_limit: self.config.hop_limit,
                priority: Priority::Background,
                gate: Gate::Bulk,
            });
        }
    }
}
