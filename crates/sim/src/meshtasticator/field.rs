//! Random fields by the reference's rules: uniform in a square, no two nodes nearer than 10 m, each in range of an earlier one.

use compotastic_mesh::rng::Rng;

use super::scenario::{Node, Radio, Role, Scenario, Traffic};

/// Side of the square, m.
const SIDE_M: f64 = 15_000.0;
/// Nodes up to which the square keeps its size; beyond, the density stays.
const NODES_IN_SQUARE: usize = 100;
const NEAREST_M: f64 = 10.0;
/// Mean gap between two messages of a node, ms.
const PERIOD_MS: f64 = 100_000.0;
/// Payload, bytes.
const PAYLOAD: u32 = 40;

/// The reference's default setting with so many nodes and so much simulated time.
pub fn default_field(nodes: usize, simulated_s: f64, seed: u64) -> Scenario {
    let node = |x: f64, y: f64| Node {
        x,
        y,
        z: 1.0,
        role: Role::Client,
        hop_limit: 3,
        antenna_gain_dbi: 0.0,
        generates_traffic: true,
    };
    let mut scenario = Scenario {
        name: format!("field{nodes}"),
        simulated_time_ms: simulated_s * 1000.0,
        traffic: Traffic {
            mean_period_ms: PERIOD_MS,
            payload_bytes: PAYLOAD,
            direct_messages: false,
            want_ack: true,
        },
        radio: Radio {
            preset: "LONG_FAST".to_string(),
            tx_power_dbm: 30.0,
            frequency_hz: 908_750_000.0,
            path_loss_model: 5,
            interference_level: 0.05,
            asymmetric_links: false,
            link_offset_db: None,
            movement: false,
        },
        nodes: Vec::with_capacity(nodes),
        seeds: 0,
        outcome: serde_json::Map::new(),
    };
    let side = SIDE_M * libm::sqrt((nodes as f64 / NODES_IN_SQUARE as f64).max(1.0));
    let mut draws = Rng::from_seed(seed).child(0x6669_656c);
    let place = |draws: &mut Rng| (f64::from(draws.next_u32()) / 4_294_967_296.0 - 0.5) * side;
    let range_m = range_m(&scenario, node(0.0, 0.0));
    while scenario.nodes.len() < nodes {
        let (x, y) = (place(&mut draws), place(&mut draws));
        let mut in_range = scenario.nodes.is_empty();
        let mut crowded = false;
        for other in &scenario.nodes {
            let (dx, dy) = (x - other.x, y - other.y);
            let squared = dx * dx + dy * dy;
            crowded |= squared < NEAREST_M * NEAREST_M;
            in_range |= squared <= range_m * range_m;
        }
        if in_range && !crowded {
            scenario.nodes.push(node(x, y));
        }
    }
    scenario
}

/// The distance up to which two such nodes hear each other, by bisection.
fn range_m(scenario: &Scenario, node: Node) -> f64 {
    let modem = scenario.modem().expect("a preset of the reference");
    let model = scenario.path_loss().expect("a model of the reference");
    let (mut near, mut far) = (1.0, SIDE_M);
    for _ in 0..50 {
        let middle = (near + far) / 2.0;
        let pair =
            Scenario { nodes: vec![node.clone(), Node { x: middle, ..node.clone() }], ..scenario.clone() };
        if pair.rssi_dbm(model, 0, 1) >= modem.sensitivity_dbm { near = middle } else { far = middle }
    }
    near
}
