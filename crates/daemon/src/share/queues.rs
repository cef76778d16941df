//! Whose packet goes next: deficit round robin over time on air (Shreedhar and Varghese, 1995).
//!
//! In its turn a client may use as much air as the longest packet takes that waits anywhere, and keeps what it did not use for its next
//! turn while it has packets waiting. (More than the longest would favour those whose queues are never empty.) So everybody who has something to send gets the same air, whatever the lengths and numbers of their packets.
//! A packet waits beyond its turn where its port has a pace of its own (the radio sees one client and would refuse), or its client has
//! used up its air time.

use std::collections::BTreeMap;

use compotastic_messages::PortNum;

use super::{
    ClientId,
    client::{Client, Pending, gap_ms},
};

/// The radio's clock and ours differ: so much longer is waited between two packets of a limited port.
const MARGIN_MS: u64 = 100;
/// The radio is given packets for so much air in advance. More would make its queue, which is in order of arrival, the place where
/// clients wait for each other.
const AHEAD_US: u64 = 200_000;

/// The order of service.
#[derive(Debug, Default)]
pub struct Turns {
    /// Whose turn it is.
    current: Option<ClientId>,
    /// When a limited port may be used again.
    next_ms: BTreeMap<u32, u64>,
    /// When the radio will have sent what it was given, microseconds.
    busy_until_us: u64,
}

impl Turns {
    /// The radio is idle, as after its start.
    pub fn handle_restart(&mut self) {
        self.busy_until_us = 0;
    }

    /// True if the radio has so much to send that packets wait here.
    fn is_busy(&self, now_ms: u64) -> bool {
        self.busy_until_us > now_ms * 1_000 + AHEAD_US
    }

    /// When a packet may go for all that the port and the air say.
    fn due_ms(&self, packet: &Pending) -> u64 {
        if packet.airtime_us == 0 {
            return 0;
        }
        let port_ms = self.next_ms.get(&packet.port.0).copied().unwrap_or(0);
        port_ms.max(self.busy_until_us.saturating_sub(AHEAD_US).div_ceil(1_000))
    }

    /// Place of the first packet of the highest priority that may go now.
    fn best(&self, now_ms: u64, client: &mut Client) -> Option<usize> {
        let Client { queue, allowance, .. } = client;
        let ready = |packet: &Pending, allowance: &mut super::client::Allowance| {
            self.due_ms(packet) <= now_ms
                && (packet.airtime_us == 0 || allowance.allows(now_ms, packet.airtime_us))
        };
        let mut best: Option<(usize, u32)> = None;
        for (at, packet) in queue.iter().enumerate() {
            if best.is_none_or(|(_, priority)| packet.priority > priority) && ready(packet, allowance) {
                best = Some((at, packet.priority));
            }
        }
        best.map(|(at, _)| at)
    }

    /// The next packet for the radio.
    pub fn next(
        &mut self,
        now_ms: u64,
        clients: &mut BTreeMap<ClientId, Client>,
    ) -> Option<(ClientId, Pending)> {
        // What stays in the radio costs no air and takes no turn.
        for (id, client) in clients.iter_mut() {
            if let Some(at) = client.queue.iter().position(|packet| packet.airtime_us == 0) {
                return client.queue.remove(at).map(|packet| (*id, packet));
            }
        }
        if self.is_busy(now_ms) {
            return None;
        }
        let waiting = clients.values().flat_map(|client| &client.queue);
        let quantum_us = waiting.map(|packet| packet.airtime_us).max()?;
        // Twice around: once for those before the current one, once so that the current one gets a new turn.
        for _ in 0..=2 * clients.len() {
            let id = match self.current {
                Some(id) if clients.contains_key(&id) => id,
                _ => self.turn(clients, quantum_us)?,
            };
            let client = clients.get_mut(&id)?;
            let packet = match self.best(now_ms, client) {
                Some(at) if client.queue[at].airtime_us <= client.deficit_us => client.queue.remove(at),
                found => {
                    if found.is_none() && client.queue.is_empty() {
                        client.deficit_us = 0;
                    }
                    self.turn(clients, quantum_us)?;
                    continue;
                }
            };
            let packet = packet?;
            client.deficit_us -= packet.airtime_us;
            client.allowance.spend(packet.airtime_us);
            if client.queue.is_empty() {
                client.deficit_us = 0;
            }
            let gap_ms = gap_ms(packet.port);
            if gap_ms > 0 {
                self.next_ms.insert(packet.port.0, now_ms + gap_ms + MARGIN_MS);
            }
            self.busy_until_us = self.busy_until_us.max(now_ms * 1_000) + packet.airtime_us;
            return Some((id, packet));
        }
        None
    }

    /// The next client in the circle has its turn.
    fn turn(&mut self, clients: &mut BTreeMap<ClientId, Client>, quantum_us: u64) -> Option<ClientId> {
        let after = self.current.map_or(0, |ClientId(id)| id + 1);
        let next =
            clients.range(ClientId(after)..).next().or_else(|| clients.iter().next()).map(|(id, _)| *id)?;
        self.current = Some(next);
        let client = clients.get_mut(&next)?;
        // Who waits for more than its turn does not save up turns meanwhile.
        client.deficit_us =
            if client.queue.is_empty() { 0 } else { (client.deficit_us + quantum_us).min(2 * quantum_us) };
        Some(next)
    }

    /// When a packet that waits may go.
    pub fn timeout_ms(&self, clients: &BTreeMap<ClientId, Client>) -> Option<u64> {
        let due = |client: &Client, packet: &Pending| match packet.airtime_us {
            0 => 0,
            airtime_us => self.due_ms(packet).max(client.allowance.due_ms(airtime_us)),
        };
        clients.values().flat_map(|client| client.queue.iter().map(|packet| due(client, packet))).min()
    }

    /// The port was used by somebody else behind the same radio.
    pub fn handle_used(&mut self, now_ms: u64, port: PortNum) {
        let gap_ms = gap_ms(port);
        if gap_ms > 0 {
            self.next_ms.insert(port.0, now_ms + gap_ms + MARGIN_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: PortNum = PortNum::PRIVATE_APP;

    fn packet(airtime_us: u64, port: PortNum, priority: u32, id: u32) -> Pending {
        Pending { bytes: Vec::new(), id, port, priority, airtime_us, since_ms: 0, shown: None }
    }

    fn clients(queues: &[&[(u64, usize)]]) -> BTreeMap<ClientId, Client> {
        let client = |packets: &&[(u64, usize)]| {
            let mut client = Client::new(0, 1_000);
            for (airtime_us, count) in packets.iter() {
                client.queue.extend((0..*count).map(|_| packet(*airtime_us, PRIVATE, 64, 1)));
            }
            client
        };
        queues.iter().enumerate().map(|(n, packets)| (ClientId(n as u64), client(packets))).collect()
    }

    /// Sends all, and gives the air time of each until the first has nothing more.
    fn shares(clients: &mut BTreeMap<ClientId, Client>) -> Vec<u64> {
        let mut turns = Turns::default();
        let mut used = vec![0; clients.len()];
        let mut now_ms = 0;
        while clients.values().all(|client| !client.queue.is_empty()) {
            match turns.next(now_ms, clients) {
                Some((ClientId(id), packet)) => used[id as usize] += packet.airtime_us,
                None => now_ms = turns.timeout_ms(clients).unwrap().max(now_ms + 1),
            }
        }
        used
    }

    #[test]
    fn everybody_gets_the_same_air_whatever_the_lengths_and_numbers() {
        let mut clients = clients(&[&[(1_000_000, 40)], &[(100_000, 900)], &[(330_000, 200)]]);
        let used = shares(&mut clients);
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(most - least <= 2_000_000, "{used:?}");
    }

    #[test]
    fn the_radio_is_not_filled_up() {
        let mut clients = clients(&[&[(500_000, 9)]]);
        let mut turns = Turns::default();
        assert!(turns.next(0, &mut clients).is_some());
        assert!(turns.next(0, &mut clients).is_none(), "the first one is still on the air");
        assert_eq!(turns.timeout_ms(&clients), Some(300));
        assert!(turns.next(300, &mut clients).is_some());
    }

    #[test]
    fn a_port_with_a_pace_does_not_hold_up_others() {
        let mut clients = clients(&[&[]]);
        let queue = &mut clients.get_mut(&ClientId(0)).unwrap().queue;
        queue.push_back(packet(1_000, PortNum::TRACEROUTE_APP, 70, 1));
        queue.push_back(packet(1_000, PortNum::TRACEROUTE_APP, 70, 2));
        queue.push_back(packet(1_000, PRIVATE, 64, 3));
        let mut turns = Turns::default();
        let mut next = |now_ms| turns.next(now_ms, &mut clients).map(|(_, packet)| packet.id);
        assert_eq!([next(0), next(0), next(0)], [Some(1), Some(3), None]);
        assert_eq!([next(30_000), next(30_100)], [None, Some(2)]);
    }

    #[test]
    fn the_higher_priority_of_a_client_goes_first() {
        let mut clients = clients(&[&[]]);
        let queue = &mut clients.get_mut(&ClientId(0)).unwrap().queue;
        for (id, priority) in [(1, 10), (2, 100), (3, 100)] {
            queue.push_back(packet(1_000, PRIVATE, priority, id));
        }
        let mut turns = Turns::default();
        let mut next = || turns.next(0, &mut clients).map(|(_, packet)| packet.id);
        assert_eq!([next(), next(), next()], [Some(2), Some(3), Some(1)]);
    }

    #[test]
    fn who_has_used_up_its_air_waits_alone() {
        let mut clients = clients(&[&[(1_000_000, 40)], &[(1_000_000, 40)]]);
        // A tenth of a percent: 0.6 s in ten minutes.
        clients.get_mut(&ClientId(0)).unwrap().allowance = super::super::client::Allowance::new(1, 0);
        let mut turns = Turns::default();
        let mut counts = [0, 0];
        for now_ms in (0..20_000).step_by(10) {
            while let Some((ClientId(id), _)) = turns.next(now_ms, &mut clients) {
                counts[id as usize] += 1;
            }
        }
        assert!(counts[0] == 1 && counts[1] >= 18, "{counts:?}");
    }
}
