//! What the ways cost by formulas: nothing is simulated, so it takes no time, and what it says is rough.
//!
//! - **Mesh.** The links of the scenario give a graph; a connected dominating set grows in it from the publisher as the nodes' own election does (the
//!   node that reaches most of those left, again and again). Each server sends every generation as often as the neediest of its clients
//!   has to hear: `n / (1 - p)` on the mean, and the mean of the largest of as many normal deviates as it has clients on top. Several servers get in each
//!   other's way, the real election's set is larger than the greedy one, and repairs overlap; how much was fitted to 250 simulated pushes (fields of 10, 20
//!   and 50 nodes that stand, 4.5 to 50 KB, loss 0 and 0.1, LONG_FAST), as were offers with requests, beacons, and how much of the sending
//!   is at the same time in different places. The pace is the governor's share, or the region's duty cycle where that is less. Nodes that
//!   move, and other traffic than ours, are not in it.
//! - **Carrier.** Somebody walks from node to node, the nearest next, and hands the bundle over by Bluetooth.

use compotastic_mesh::lora::{Preset, Region};
use compotastic_node::{agent::BULK_LEN, governor::SHARE_IDLE_PERMILLE};

use super::{Way, WayName};
use crate::{bluetooth::BluetoothSettings, radio::Position, scenario::energy_mwh};

/// Header, keys and lengths of a frame around a payload of ours, bytes.
const AROUND: usize = 16 + 3 + 2 + 1;
/// Bytes of a symbol's frame beside the piece.
const SYMBOL_AROUND: usize = BULK_LEN - 208;
/// Longest interval of a field node's beacon, s.
const FIELD_BEACON_S: f64 = 11_520.0;
/// Symbols sent over those of the greedy set's servers: factor, and powers of the servers, the pieces and the nodes. Fitted.
const MORE_SYMBOLS: (f64, f64, f64, f64) = (0.365, 0.21, 0.126, 0.164);
/// Offers, manifests and requests: factor, power of the nodes, power of the symbols, and rise with loss. Fitted.
const CONTROL: (f64, f64, f64, f64) = (0.114, 1.11, 0.46, 2.0);
/// Beacons with an edge node's floods: factor, power of the nodes, power of the hours. Fitted.
const BEACONS: (f64, f64, f64) = (6.65, 0.61, 0.54);
/// Air time of a frame that is no symbol, over that of the longest symbol: factor, and power of the nodes (beacons name neighbours, and of many nodes more
/// repeat the manifest). Fitted.
const SMALL_FRAME: (f64, f64) = (0.241, 0.168);
/// Turns that the symbols take one after the other: factor, and power of the symbols. Fitted.
const TURNS: (f64, f64) = (2.9, 0.85);
/// Sending and receiving over Bluetooth Low Energy, mW: an nRF52840 at 0 dBm (4.8 mA) and its processor (3.3 mA), at 3.3 V.
const BLUETOOTH_MW: f64 = 27.0;
/// Bytes of a Bluetooth frame beside the payload.
const BLUETOOTH_AROUND: f64 = 21.0;

/// Who hears whom, and how often, 0..1.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph(pub Vec<Vec<(usize, f64)>>);

/// A node that sends, and who hears it first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Server {
    /// Losses of its clients, 0..1.
    pub losses: Vec<f64>,
}

impl Graph {
    /// Servers as the election finds them, and who is reached.
    fn servers(&self, source: usize) -> (Vec<Server>, Vec<bool>) {
        let mut covered = vec![false; self.0.len()];
        covered[source] = true;
        let mut servers = Vec::new();
        loop {
            let left = |node: usize| self.0[node].iter().filter(|(to, _)| !covered[*to]).count();
            let able = (0..self.0.len()).filter(|node| covered[*node] && left(*node) > 0);
            let Some(next) = able.max_by_key(|node| (left(*node), usize::MAX - node)) else { break };
            let clients: Vec<(usize, f64)> =
                self.0[next].iter().filter(|(to, _)| !covered[*to]).copied().collect();
            for (client, _) in &clients {
                covered[*client] = true;
            }
            let losses = clients.iter().map(|(_, heard)| 1.0 - heard).collect();
            servers.push(Server { losses });
        }
        (servers, covered)
    }
}

/// Mean of the largest of so many standard normal deviates, to some hundredths (E. Royston's approximation of order statistics is
/// Blom's with a constant near 0.375; this is a fit of its values up to 50).
fn largest_of(count: usize) -> f64 {
    if count < 2 { 0.0 } else { 0.56 * libm::pow(libm::log2(count as f64), 0.80) }
}

/// Symbols of a generation of so many pieces until all clients have enough.
fn symbols(pieces: f64, losses: &[f64]) -> f64 {
    let most = losses.iter().fold(0.0_f64, |most, loss| most.max(*loss)).min(0.9);
    let deviation = libm::sqrt(pieces * most) / (1.0 - most);
    pieces / (1.0 - most) + largest_of(losses.len()) * deviation
}

/// What the air is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Air {
    pub preset: Preset,
    pub region: Region,
    /// Loss beside noise, 0..1.
    pub loss: f64,
}

impl Air {
    /// Air time of a symbol with a whole piece, s.
    pub fn symbol_s(&self, cargo: &Cargo) -> f64 {
        self.airtime_s(cargo.piece_size + SYMBOL_AROUND)
    }

    /// Air time of a payload of ours, s.
    fn airtime_s(&self, payload: usize) -> f64 {
        self.preset.modem(self.region.wide()).time_on_air_us(AROUND + payload) as f64 / 1e6
    }

    /// The share of the air that bulk gets, 0..1.
    pub fn share(&self) -> f64 {
        f64::from(SHARE_IDLE_PERMILLE.min(u32::from(self.region.duty_cycle_permille()))) / 1000.0
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cargo {
    pub generations: usize,
    pub pieces: usize,
    pub piece_size: usize,
    /// Manifest, bytes.
    pub manifest: usize,
}

/// The mesh way from one source.
pub(super) fn over_mesh(
    graph: &Graph,
    source: usize,
    edge: bool,
    air: &Air,
    cargo: &Cargo,
) -> (Way, Vec<Server>, Vec<bool>) {
    let (servers, covered) = graph.servers(source);
    let reaches = covered.iter().filter(|covered| **covered).count();
    let per_generation = cargo.pieces as f64 / cargo.generations as f64;
    let generations = cargo.generations as f64;
    let least: f64 = servers.iter().map(|server| generations * symbols(per_generation, &server.losses)).sum();
    let (nodes, count) = (reaches as f64, servers.len() as f64);
    let more = MORE_SYMBOLS.0
        * libm::pow(count, MORE_SYMBOLS.1)
        * libm::pow(cargo.pieces as f64, MORE_SYMBOLS.2)
        * libm::pow(nodes, MORE_SYMBOLS.3);
    let symbols = least * more.max(1.0);
    let control = if servers.is_empty() {
        0.0
    } else {
        CONTROL.0
            * libm::pow(nodes, CONTROL.1)
            * libm::pow(symbols, CONTROL.2)
            * libm::exp(CONTROL.3 * air.loss)
    };
    let symbol_s = air.symbol_s(cargo);
    let hours = (TURNS.0 * libm::pow(symbols, TURNS.1)).min(symbols) * symbol_s / air.share() / 3600.0;
    let beacons = if edge {
        BEACONS.0 * libm::pow(nodes, BEACONS.1) * libm::pow(hours, BEACONS.2)
    } else {
        nodes * hours * 3600.0 / FIELD_BEACON_S
    };
    let small_s = air.airtime_s(BULK_LEN) * SMALL_FRAME.0 * libm::pow(nodes, SMALL_FRAME.1);
    let airtime_s = symbols * symbol_s + (control + beacons) * small_s;
    let way = Way {
        reaches,
        packets: symbols + control + beacons,
        symbols,
        control,
        beacons,
        airtime_s,
        energy_mwh: energy_mwh(airtime_s),
        hours,
        ..Way::none(WayName::Mesh)
    };
    (way, servers, covered)
}

/// The order in which somebody who starts at `start` comes to all of `stops`, the nearest next: which, and the metres until there.
pub(super) fn walk_m(start: Position, stops: &[Position]) -> Vec<(usize, f64)> {
    let mut left: Vec<usize> = (0..stops.len()).collect();
    let (mut here, mut length_m, mut order) = (start, 0.0, Vec::new());
    while let Some(next) = (0..left.len())
        .min_by(|a, b| stops[left[*a]].distance_m(&here).total_cmp(&stops[left[*b]].distance_m(&here)))
    {
        let to = left.swap_remove(next);
        length_m += here.distance_m(&stops[to]);
        here = stops[to];
        order.push((to, length_m));
    }
    order
}

/// Somebody who walks with the bundle.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    /// Time of one hand-over, s.
    handing_s: f64,
    /// Of this, while bytes are on the air, s.
    transfer_s: f64,
    walk_m_s: f64,
}

impl Carrier {
    pub fn new(bluetooth: &BluetoothSettings, walk_m_s: f64, cargo: &Cargo) -> Self {
        let frames = (cargo.pieces + 2) as f64;
        let bytes = frames * BLUETOOTH_AROUND
            + (cargo.pieces * (cargo.piece_size + SYMBOL_AROUND) + cargo.manifest) as f64;
        let transfer_s = bytes / (bluetooth.bytes_per_s.get_ref() * (1.0 - bluetooth.loss.get_ref()));
        Self { handing_s: bluetooth.connect_s.get_ref() + transfer_s, transfer_s, walk_m_s }
    }

    /// When so many have it after so many metres, the carrier having taken it along first, hours.
    pub fn hours(&self, metres: f64, handed: usize) -> f64 {
        (metres / self.walk_m_s + (handed as f64 + 1.0) * self.handing_s) / 3600.0
    }

    /// The way to all stops, in the order of [`walk_m`].
    pub fn way(&self, walk: &[(usize, f64)]) -> Way {
        let metres = walk.last().map_or(0.0, |(_, metres)| *metres);
        Way {
            reaches: walk.len() + 1,
            energy_mwh: (walk.len() as f64 + 1.0) * 2.0 * self.transfer_s * BLUETOOTH_MW / 3600.0,
            hours: self.hours(metres, walk.len()),
            ..Way::none(WayName::Carrier)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, links: &[(usize, usize, f64)]) -> Graph {
        let mut graph = Graph(vec![Vec::new(); nodes]);
        for (a, b, heard) in links {
            graph.0[*a].push((*b, *heard));
            graph.0[*b].push((*a, *heard));
        }
        graph
    }

    fn line(nodes: usize, heard: f64) -> Graph {
        graph(nodes, &(1..nodes).map(|node| (node - 1, node, heard)).collect::<Vec<_>>())
    }

    const AIR: Air = Air { preset: Preset::LongFast, region: Region::Eu868, loss: 0.0 };
    const CARGO: Cargo = Cargo { generations: 1, pieces: 23, piece_size: 208, manifest: 144 };

    #[test]
    fn servers_are_few_and_reach_all_that_can_be_reached() {
        // A star behind the source's neighbour, and a node that nobody hears.
        let star = graph(6, &[(0, 1, 1.0), (1, 2, 1.0), (1, 3, 1.0), (1, 4, 0.8)]);
        let (servers, covered) = star.servers(0);
        assert_eq!(covered, [true, true, true, true, true, false]);
        assert_eq!(servers.len(), 2);
        assert!((servers[1].losses.iter().sum::<f64>() - 0.2).abs() < 1e-9);
        assert_eq!(line(10, 1.0).servers(0).0.len(), 9);
        assert!(line(1, 1.0).servers(0).0.is_empty());
    }

    #[test]
    fn loss_and_clients_cost_symbols() {
        assert_eq!(symbols(20.0, &[0.0, 0.0]), 20.0, "nothing is lost");
        assert!((symbols(90.0, &[0.1]) - 100.0).abs() < 1e-9, "n / (1 - p)");
        assert!(symbols(90.0, &[0.1; 10]) > symbols(90.0, &[0.1; 2]));
        // Mean of the largest of 10 and of 50 deviates: 1.539 and 2.249.
        assert!((largest_of(10) - 1.539).abs() < 0.1 && (largest_of(50) - 2.249).abs() < 0.1);
    }

    #[test]
    fn more_to_send_farther_or_through_loss_costs_more() {
        let cost = |nodes, heard, pieces| {
            over_mesh(&line(nodes, heard), 0, true, &AIR, &Cargo { pieces, ..CARGO }).0
        };
        let usual = cost(5, 1.0, 23);
        assert_eq!(usual.reaches, 5);
        assert!(usual.symbols >= 4.0 * 23.0 && usual.packets > usual.symbols);
        for more in [cost(9, 1.0, 23), cost(5, 0.8, 23), cost(5, 1.0, 60)] {
            assert!(
                more.packets > usual.packets && more.airtime_s > usual.airtime_s && more.hours > usual.hours
            );
        }
        let slow = over_mesh(&line(5, 1.0), 0, true, &Air { preset: Preset::LongSlow, ..AIR }, &CARGO).0;
        assert!(slow.hours > 4.0 * usual.hours, "{} {}", slow.hours, usual.hours);
    }

    #[test]
    fn a_carrier_takes_the_nearest_next_and_no_air() {
        let at = |x_m| Position { x_m, y_m: 0.0 };
        let walk = walk_m(at(0.0), &[at(7200.0), at(1000.0)]);
        assert_eq!(walk, [(1, 1000.0), (0, 7200.0)]);
        assert_eq!(walk_m(at(0.0), &[]), []);
        let way = Carrier::new(&BluetoothSettings::default(), 1.0, &CARGO).way(&walk);
        assert_eq!((way.reaches, way.airtime_s), (3, 0.0));
        assert!(way.hours > 2.0 && way.hours < 2.1);
    }
}
