//! A field of stock nodes that do nothing but what each Meshtastic node does by default: NodeInfo, position and telemetry, flooded.

use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role, RouterConfig},
    time::Duration,
};

use crate::{
    World, WorldConfig,
    ledger::Ledger,
    radio::{Position, Radio},
    reception::Reception,
    stock::{Conversation, StockNode},
};

/// Nodes that a node hears more often than not, on average.
const NEIGHBOURS: f64 = 17.0;
/// Port that nothing in this field uses.
const UNUSED_PORT: u16 = 300;

/// So many nodes on LongFast, uniform in a square of constant density.
pub fn stock_field(nodes: usize, region: Region, seed: u64) -> World<StockNode> {
    let preset = Preset::LongFast;
    let radio = Radio::new(preset.modem(region.wide()), region);
    let reach_m = Reception::new(&radio.modem, radio.fading_db).reach_m(&radio);
    let side_m = libm::sqrt(nodes as f64 * core::f64::consts::PI * reach_m * reach_m / NEIGHBOURS);
    let primary = Channel::new(preset.display_name(), &[1]).expect("the default key is a key");
    let channels = vec![primary];
    let draws = Rng::from_seed(seed);
    let mut places = draws.child(1);
    let seeds = draws.child(2);
    // Last bytes repeat beyond 255 nodes, as they do in life.
    let number = |id: usize| NodeNum(0x0b00_0001 + id as u32);
    let numbers: Vec<NodeNum> = (0..nodes).map(number).collect();
    let ledger = Ledger::new(channels.clone(), numbers.clone(), Duration::from_secs(600));
    let mut world = World::new(WorldConfig { preset, region, loss_ppm: 0, seed }, radio, ledger);
    let nobody = Conversation { bot: NodeNum(1), port: UNUSED_PORT, channel: 0, answers_want_ack: false };
    let mut place = || f64::from(places.next_u32()) / 4_294_967_296.0 * side_m;
    for (id, num) in numbers.into_iter().enumerate() {
        let config = RouterConfig {
            num,
            role: Role::Client,
            preset,
            region,
            hop_limit: 3,
            channels: channels.iter().cloned().collect(),
            own_port: UNUSED_PORT,
            relaying: Relaying::default(),
        };
        let node = StockNode::new(config, nobody, Vec::new(), seeds.child(id as u64).next_u64());
        world.add(node, Position { x_m: place(), y_m: place() });
    }
    world
}
