//! The demo: the whole loop on a simulated mesh.

mod edge_host;
mod events;
pub mod inputs;
pub mod outcome;
pub mod page;
pub mod recording;
mod run;
pub mod summary;
pub mod swarm;

pub use run::{Run, run};

use compotastic_mesh::lora::{Preset, Region};

/// What a run is made of, besides its inputs.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Field nodes.
    pub field_nodes: usize,
    /// Edge nodes.
    pub edge_nodes: usize,
    /// Preset.
    pub preset: Preset,
    /// Region.
    pub region: Region,
    /// Extra loss, millionths.
    pub loss_ppm: u32,
    /// Hours in which reports come in.
    pub hours: f64,
    /// The first edge node leaves after so many hours.
    pub edge_leaves_h: Option<f64>,
}
