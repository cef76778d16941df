//! Our own nodes for simulations: keys, flash, agents, and the bundles that an edge node publishes.

pub mod bundles;
pub mod flash;
pub mod kit;
pub mod native;

pub use bundles::{Bundle, Bundles, Large};
pub use flash::{Flash, FlashControl, NodeFlash};
pub use kit::{Kit, Node, Post, Store, Trusted};
pub(crate) use kit::{SWARM_NAME, SWARM_PSK};
pub use native::FactoryImage;
