//! What a swarm has in common, and how one of its nodes is put together, the first time or after a restart.

use std::collections::BTreeMap;

use compotastic_bundle::{ClaimedManifest, ComponentKind, Geometry, Slots, TrustStore};
use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_node::{
    Agent, AgentConfig, HostedStation, Station, hosted::HostedConfig, policy::MissionProfile,
    state::StateLog, station::SWARM_CHANNEL,
};
use compotastic_wire::{KeyRing, PORT, SwarmKey};
use ed25519_dalek::SigningKey;

use super::{
    Bundles, FactoryImage, Flash, NodeFlash,
    bundles::{DEVICE_CLASS, Large, STRANGER, TASK},
    native,
};

use crate::hosted::{RadioHabits, StockRadio, SwarmNode};

/// Content of a large object, bytes.
const STORE_LEN: u32 = 64 * 1024;
/// Its pieces, bytes: 200 of content and the hash that speaks for them.
const STORE_PIECE: u16 = 208;
/// Symbols that wait for decoding: those of one generation.
const STORE_SPARE: u16 = 276;

/// One of our own nodes, whichever way it is on the mesh.
pub type Node = SwarmNode<'static, Flash>;

/// What one node is.
#[derive(Clone, Debug)]
pub struct Post {
    /// Number.
    pub num: NodeNum,
    /// Role in the mesh.
    pub role: Role,
    /// What it relays of others.
    pub relaying: Relaying,
    /// It runs a foundation model, on mains power.
    pub edge: bool,
    /// It holds the base encoder, so that a student can be installed.
    pub base: bool,
}

/// Keys and settings of a swarm. They are made of fixed bytes: simulations have nothing to hide.
#[derive(Clone)]
pub struct Kit {
    /// Preset.
    pub preset: Preset,
    /// Region.
    pub region: Region,
    /// Time that a job may take.
    pub job_lifetime: Duration,
    /// Where reports go.
    pub command_post: Option<NodeNum>,
    base: Option<BaseEncoder<'static>>,
    root: SigningKey,
    edge: SigningKey,
    stranger: bool,
    seed: u64,
    further: Trusted,
    classes: BTreeMap<NodeNum, u8>,
    store: Store,
    factory: Option<FactoryImage>,
}

/// Whom nodes believe beside the swarm's own operator.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Root keys; they rank above the swarm's own.
    pub roots: Vec<[u8; 32]>,
    /// Delegations and revocations, in the order in which they came.
    pub records: Vec<Vec<u8>>,
}

/// What is kept in the part of flash for large objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// Kind of its objects.
    pub kind: ComponentKind,
    /// Their task.
    pub task: u8,
    /// Their pieces, bytes.
    pub piece_size: u16,
    /// They make native images, and nodes run those.
    pub native: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self { kind: ComponentKind::Firmware, task: 0, piece_size: STORE_PIECE, native: false }
    }
}

/// Name and key of the swarm's channel.
pub(crate) const SWARM_NAME: &str = "swarm";
pub(crate) const SWARM_PSK: [u8; 32] = [7; 32];

/// Keys of the operator of all simulated swarms, and of the edge nodes to which he delegates.
pub(crate) fn operator_keys() -> (SigningKey, SigningKey) {
    (SigningKey::from_bytes(&[0x11; 32]), SigningKey::from_bytes(&[0x22; 32]))
}

impl Kit {
    /// A swarm; `base` is the base encoder that its nodes hold.
    pub fn new(preset: Preset, region: Region, base: Option<BaseEncoder<'static>>, seed: u64) -> Self {
        let (root, edge) = operator_keys();
        Self {
            preset,
            region,
            job_lifetime: Duration::from_secs(3600),
            command_post: None,
            base,
            root,
            edge,
            stranger: false,
            seed,
            further: Trusted::default(),
            classes: BTreeMap::new(),
            store: Store::default(),
            factory: None,
        }
    }

    /// Nodes believe these too. False if a key is no key, a record is not taken, or there is no room for so many.
    pub fn trust(&mut self, further: Trusted) -> bool {
        self.further = further;
        self.trust_store().is_some()
    }

    /// A node is of another device class than 1.
    pub fn set_class(&mut self, node: NodeNum, class: u8) {
        self.classes.insert(node, class);
    }

    /// What nodes that have a part for large objects ([`NodeFlash::with_store`]) keep there. False if flash cannot be cut so.
    pub fn keep(&mut self, store: Store) -> bool {
        self.store = store;
        self.store_geometry().is_some()
    }

    /// Devices of its classes run this image from the factory on. False if the nodes do not believe its signer.
    pub fn run(&mut self, bytes: Vec<u8>, claimed: &ClaimedManifest) -> bool {
        self.factory = self.trust_store().and_then(|trust| FactoryImage::new(bytes, claimed, &trust));
        self.factory.is_some()
    }

    /// What a node runs from the factory on: what was said of its class, or version 0 of what simulations make up.
    pub fn factory(&self, node: NodeNum) -> Option<FactoryImage> {
        let class = self.class(node);
        let said = self.factory.as_ref().filter(|image| image.is_for(class));
        said.cloned().or_else(|| native::factory(0, &self.root, &self.trust_store()?))
    }

    /// An update of what simulations make up for one device class, as a delta from a version or as it is.
    pub fn firmware(&self, from: Option<u32>, to: u32, class: u8) -> Option<Large> {
        native::update(from, to, class, &self.root)
    }

    fn class(&self, node: NodeNum) -> u8 {
        self.classes.get(&node).copied().unwrap_or(DEVICE_CLASS)
    }

    /// A store of the same size and pieces as nodes have.
    fn store_geometry(&self) -> Option<Geometry> {
        Geometry::packed::<Flash>(0, STORE_LEN, self.store.piece_size, STORE_SPARE)
    }

    fn trust_store(&self) -> Option<TrustStore> {
        let own = [self.root.verifying_key().to_bytes()];
        let stranger = [SigningKey::from_bytes(&STRANGER).verifying_key().to_bytes()];
        let mut roots = self.further.roots.clone();
        roots.extend(own);
        roots.extend(stranger.iter().filter(|_| self.stranger));
        let mut trust = TrustStore::new(&roots)?;
        for record in &self.further.records {
            trust.add_record(record).ok()?;
        }
        Some(trust)
    }

    /// Nodes trust a stranger's root key too: a mistake that a checker has to notice.
    pub(crate) fn trust_stranger(&mut self) {
        self.stranger = true;
    }

    /// Primary and swarm channel.
    pub fn channels(&self) -> Vec<Channel> {
        let primary = Channel::new(self.preset.display_name(), &[1]);
        let swarm = Channel::new(SWARM_NAME, &SWARM_PSK);
        [primary, swarm].into_iter().flatten().collect()
    }

    /// Keys of the swarm's frames.
    pub fn keys(&self) -> KeyRing {
        KeyRing::new(1, SwarmKey([3; 16]))
    }

    /// What edge nodes publish; `None` without a base encoder.
    pub fn bundles(&self) -> Option<Bundles> {
        self.base.as_ref().map(|base| Bundles::new(base, self.root.clone(), self.edge.clone()))
    }

    /// A large object of this operator; none if it does not fit a node's store.
    pub fn large(&self, content: &[u8], version: u32) -> Option<Large> {
        let fits = content.len() as u32 <= STORE_LEN;
        fits.then(|| Large::pack(content, version, STORE_PIECE, &self.root)).flatten()
    }

    /// Settings of a router in this mesh.
    pub fn router(&self, post: &Post) -> RouterConfig {
        RouterConfig {
            num: post.num,
            role: post.role,
            preset: self.preset,
            region: self.region,
            hop_limit: 3,
            channels: self.channels().into_iter().collect(),
            own_port: PORT,
            relaying: post.relaying.clone(),
        }
    }

    /// Boots a node from its flash; `boots` counts its starts. `None` when that cannot be read or written.
    pub fn boot(&self, post: &Post, flash: &NodeFlash, now: Instant, boots: u32) -> Option<Node> {
        let seed = self.seed(post, boots);
        let agent = self.agent(post, flash, now, seed)?;
        Some(Node::Native(Box::new(Station::new(self.router(post), agent, seed, now))))
    }

    /// Boots the host of a node behind a stock radio with these habits; the same for the rest.
    pub fn boot_host(
        &self,
        post: &Post,
        flash: &NodeFlash,
        now: Instant,
        boots: u32,
        habits: RadioHabits,
    ) -> Option<HostedStation<'static, Flash>> {
        let config = HostedConfig {
            preset: self.preset,
            region: self.region,
            own_port: PORT,
            channel: SWARM_CHANNEL,
            channel_unicasts: !habits.private_key,
        };
        let agent = self.agent(post, flash, now, self.seed(post, boots))?;
        Some(HostedStation::new(config, agent, now))
    }

    /// A stock radio that has the swarm's channel and is switched on now.
    pub fn radio(&self, post: &Post, habits: RadioHabits, now: Instant) -> StockRadio {
        StockRadio::new(self.router(post), habits, self.seed(post, 0), now)
    }

    fn seed(&self, post: &Post, boots: u32) -> u64 {
        Rng::from_seed(self.seed).child(u64::from(post.num.0)).child(u64::from(boots)).next_u64()
    }

    fn agent(
        &self,
        post: &Post,
        flash: &NodeFlash,
        now: Instant,
        seed: u64,
    ) -> Option<Agent<'static, Flash>> {
        let geometry = Geometry::packed::<Flash>(0, 4096, 176, 2)?;
        let trust = self.trust_store()?;
        if let Some(native) = &flash.native {
            native::load(&mut native.clone(), &trust, self.class(post.num)).ok()?;
        }
        let slots = Slots::open(flash.slots.clone(), geometry).ok()?;
        let state = StateLog::open(flash.state.clone()).ok()?;
        let config = AgentConfig {
            num: post.num,
            device_class: self.class(post.num),
            record_hash: 0,
            keys: self.keys(),
            trust,
            base: self.base.filter(|_| post.base),
            task: TASK,
            profile: MissionProfile::default(),
            command_post: self.command_post,
            foundation_model: post.edge,
            foundation_version: 1,
            mains_power: post.edge,
            job_lifetime: self.job_lifetime,
            hop_limit: 7,
        };
        let mut agent = Agent::new(config, slots, state, seed, now)?;
        if let Some(store) = &flash.store {
            let slots = Slots::open(store.clone(), self.store_geometry()?).ok()?;
            agent.add_component(self.store.kind, self.store.task, slots);
        }
        if let Some(native) = &flash.native {
            agent.add_firmware(now, native.clone(), native::geometry()?).ok()?;
        }
        Some(agent)
    }
}
