//! Which packets go from one link to others.
//!
//! A node with several links is a bridge, and bridges make loops. These rules keep them out, without I/O:
//!
//! - a packet is told by its sender and id, over a bounded window: what was seen before goes nowhere;
//! - it never goes back to the link that it came from;
//! - each bridge takes one hop, and what has no hop left stays; so a loop ends even where the window was too short;
//! - so what was meant for direct neighbours is not bridged at all;
//! - what its sender does not allow on MQTT does not go there, and what came from MQTT does not return to it;
//! - what came from MQTT reaches LoRa only where the operator allows it: it is other people's traffic from everywhere;
//! - a stock radio puts its own number on what its client sends, so others' packets never go there.

use std::collections::{HashSet, VecDeque};

/// Links that a node may have.
pub const LINKS: usize = 8;
/// Packets that are known again.
pub const WINDOW: usize = 1024;

/// What a link is, as far as bridging goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A stock radio by its client API: gives others' packets, takes only our own.
    Radio,
    /// LoRa by a radio of our own.
    Lora,
    /// Multicast of the local network: stock radios there may send what they hear on LoRa.
    Udp,
    /// A broker.
    Mqtt,
}

/// What is allowed on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRule {
    /// What it is.
    pub medium: Medium,
    /// Packets that come from it may go to other links.
    pub gives: bool,
    /// Packets of other links may go to it.
    pub takes: bool,
    /// What came from MQTT may go to it, although it is LoRa or leads there.
    pub mqtt_to_lora: bool,
}

impl LinkRule {
    /// The usual rule of a medium: everything but MQTT onto LoRa.
    pub const fn of(medium: Medium) -> Self {
        Self { medium, gives: true, takes: !matches!(medium, Medium::Radio), mqtt_to_lora: false }
    }
}

/// What the rules need to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Sender.
    pub from: u32,
    /// Packet id.
    pub id: u32,
    /// Hops that remain.
    pub hop_limit: u8,
    /// It has been through MQTT.
    pub via_mqtt: bool,
    /// Its sender allows MQTT; false also where its content cannot be read.
    pub ok_to_mqtt: bool,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It was not seen before: the node itself shall look at it.
    pub deliver: bool,
    /// Links that it goes to, one bit each.
    pub links: u8,
    /// `hop_limit` that it goes on with.
    pub hop_limit: u8,
    /// `via_mqtt` that it goes on with.
    pub via_mqtt: bool,
}

impl Decision {
    /// The links that it goes to, by index.
    pub fn forwards(self) -> impl Iterator<Item = usize> {
        (0..LINKS).filter(move |link| self.links >> link & 1 == 1)
    }
}

/// The bridge of one node.
#[derive(Clone, Debug)]
pub struct Bridge {
    node: u32,
    rules: Vec<LinkRule>,
    window: usize,
    seen: HashSet<(u32, u32)>,
    order: VecDeque<(u32, u32)>,
}

impl Bridge {
    /// A bridge of node number `node` between `rules`' links, at most [`LINKS`]; more are left out.
    pub fn new(node: u32, rules: &[LinkRule]) -> Self {
        Self::with_window(node, rules, WINDOW)
    }

    /// The same, with room for `window` packets.
    pub fn with_window(node: u32, rules: &[LinkRule], window: usize) -> Self {
        let rules = rules[..rules.len().min(LINKS)].to_vec();
        Self { node, rules, window: window.max(1), seen: HashSet::new(), order: VecDeque::new() }
    }

    /// True if the packet was not known. It is from now on.
    fn remember(&mut self, key: (u32, u32)) -> bool {
        if !self.seen.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.window
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// A packet came on link `on`.
    pub fn handle_packet(&mut self, on: usize, packet: &Facts) -> Decision {
        let Some(source) = self.rules.get(on).copied() else { return Decision::default() };
        // Our own comes back as an echo.
        if packet.from == self.node || packet.from == 0 || !self.remember((packet.from, packet.id)) {
            return Decision::default();
        }
        let via_mqtt = packet.via_mqtt || source.medium == Medium::Mqtt;
        let mut decision =
            Decision { deliver: true, links: 0, hop_limit: packet.hop_limit.saturating_sub(1), via_mqtt };
        if !source.gives || packet.hop_limit == 0 || packet.id == 0 {
            return decision;
        }
        for (to, rule) in self.rules.iter().enumerate() {
            let barred = match rule.medium {
                Medium::Radio => true,
                Medium::Mqtt => via_mqtt || !packet.ok_to_mqtt,
                Medium::Lora | Medium::Udp => via_mqtt && !rule.mqtt_to_lora,
            };
            if to != on && rule.takes && !barred {
                decision.links |= 1 << to;
            }
        }
        decision
    }

    /// A packet of this node's own is sent: it goes to every link, and is known when it comes back. Those for direct
    /// neighbours go to no broker, which has none.
    pub fn handle_own(&mut self, packet: &Facts) -> Decision {
        self.remember((packet.from, packet.id));
        let mut decision = Decision { hop_limit: packet.hop_limit, ..Decision::default() };
        for (to, rule) in self.rules.iter().enumerate() {
            if rule.medium != Medium::Mqtt || packet.hop_limit > 0 {
                decision.links |= 1 << to;
            }
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 1;

    fn bridge(media: &[Medium]) -> Bridge {
        Bridge::new(US, &media.iter().copied().map(LinkRule::of).collect::<Vec<_>>())
    }

    const PACKET: Facts = Facts { from: 9, id: 5, hop_limit: 3, via_mqtt: false, ok_to_mqtt: true };

    fn to(decision: Decision) -> Vec<usize> {
        decision.forwards().collect()
    }

    #[test]
    fn a_packet_goes_once_to_the_others_with_a_hop_less() {
        let mut bridge = bridge(&[Medium::Radio, Medium::Udp, Medium::Mqtt]);
        let decision = bridge.handle_packet(0, &PACKET);
        assert_eq!((to(decision), decision.hop_limit, decision.deliver), (vec![1, 2], 2, true));
        for link in 0..3 {
            assert_eq!(
                bridge.handle_packet(link, &PACKET),
                Decision::default(),
                "the second copy, on {link}"
            );
        }
    }

    #[test]
    fn others_packets_never_go_to_a_stock_radio_nor_back() {
        let mut bridge = bridge(&[Medium::Radio, Medium::Udp]);
        assert_eq!(to(bridge.handle_packet(1, &PACKET)), Vec::<usize>::new());
    }

    #[test]
    fn what_is_for_direct_neighbours_stays() {
        let packet = Facts { hop_limit: 0, ..PACKET };
        let decision = bridge(&[Medium::Lora, Medium::Udp]).handle_packet(0, &packet);
        assert!(decision.deliver && decision.links == 0);
    }

    #[test]
    fn mqtt_takes_what_is_allowed_and_gives_nothing_to_lora_unless_told() {
        let media = [Medium::Lora, Medium::Udp, Medium::Mqtt];
        let barred = Facts { ok_to_mqtt: false, ..PACKET };
        assert_eq!(to(bridge(&media).handle_packet(0, &barred)), [1]);
        assert_eq!(to(bridge(&media).handle_packet(2, &PACKET)), Vec::<usize>::new());
        let seen_by_mqtt = Facts { via_mqtt: true, ..PACKET };
        assert_eq!(to(bridge(&media).handle_packet(0, &seen_by_mqtt)), Vec::<usize>::new());
        let mut rules: Vec<_> = media.into_iter().map(LinkRule::of).collect();
        rules[0].mqtt_to_lora = true;
        let decision = Bridge::new(US, &rules).handle_packet(2, &PACKET);
        assert!(to(decision) == [0] && decision.via_mqtt);
    }

    #[test]
    fn our_own_goes_everywhere_once_and_its_echo_nowhere() {
        let mut bridge = bridge(&[Medium::Radio, Medium::Udp, Medium::Mqtt]);
        let own = Facts { from: US, ..PACKET };
        assert_eq!(to(bridge.handle_own(&own)), [0, 1, 2]);
        assert_eq!(bridge.handle_packet(1, &own), Decision::default());
        assert_eq!(to(bridge.handle_own(&Facts { hop_limit: 0, ..own })), [0, 1], "no broker is a neighbour");
    }

    #[test]
    fn the_window_is_bounded() {
        let mut bridge = Bridge::with_window(US, &[LinkRule::of(Medium::Udp)], 16);
        for id in 1..1000 {
            bridge.handle_packet(0, &Facts { id, ..PACKET });
        }
        assert_eq!((bridge.seen.len(), bridge.order.len()), (16, 16));
        assert!(!bridge.handle_packet(0, &Facts { id: 999, ..PACKET }).deliver);
    }
}
