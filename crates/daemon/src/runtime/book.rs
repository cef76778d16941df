//! What is known of the mesh's nodes: names, when and how they were heard, batteries.
//!
//! It outlives the daemon in the store. At most [`NODES`] are kept; the one that was not heard for the longest time goes first.

use std::collections::BTreeMap;

use anyhow::Result;
use compotastic_links::{NodeInfo, OwnedPacket};
use compotastic_messages::{Message as _, PortNum, Telemetry, TelemetryVariant, User};

use super::clock::Wall;
use crate::{
    seam::NodeView,
    store::{NODES, Store, StoredNode},
};

/// A node that was heard within this time is online, as in the firmware.
const ONLINE_MS: u64 = 2 * 3600 * 1000;
/// Where a node was heard goes to the store so often at most.
const STORE_EVERY_MS: u64 = 5 * 60 * 1000;

/// `!` and eight hexadecimal digits.
pub fn node_id(num: u32) -> String {
    format!("!{num:08x}")
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Its age and what the swarm knows of it are filled in when it is shown.
    view: NodeView,
    heard_ms: Option<u64>,
    stored_ms: u64,
    /// The radio's own mesh has told of it. The radio pins keys; whoever writes to a LAN or a broker may say anything.
    by_radio: bool,
}

/// Who brought a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The radio, or links of a node that has none: the mesh itself.
    Mesh,
    /// A link beside the radio.
    Beside,
}

/// The nodes.
pub struct Book {
    nodes: BTreeMap<u32, Node>,
    store: Store,
    wall: Wall,
}

impl Book {
    /// With what the store holds.
    pub fn open(store: &Store, wall: &Wall) -> Result<Self> {
        let now_ms = wall();
        let nodes = store.stored_nodes(now_ms)?.into_iter().map(|StoredNode { view, by_radio }| {
            let heard_ms = view.heard_s_ago.map(|age| now_ms.saturating_sub(age.saturating_mul(1000)));
            (view.num, Node { view, heard_ms, stored_ms: now_ms, by_radio })
        });
        Ok(Self { nodes: nodes.collect(), store: store.clone(), wall: wall.clone() })
    }

    /// The node of this number, made where it is new. True if it was.
    fn entry(&mut self, num: u32) -> (&mut Node, bool) {
        let new = !self.nodes.contains_key(&num);
        if new && self.nodes.len() as u64 >= NODES {
            let oldest = self.nodes.iter().min_by_key(|(_, node)| node.heard_ms).map(|(num, _)| *num);
            if let Some(oldest) = oldest {
                self.nodes.remove(&oldest);
                if let Err(error) = self.store.remove_node(oldest) {
                    tracing::error!("{error:#}");
                }
            }
        }
        let node = self.nodes.entry(num).or_insert_with(|| Node {
            view: NodeView { num, id: node_id(num), ..NodeView::default() },
            ..Node::default()
        });
        (node, new)
    }

    /// The radio's own list, at the handshake.
    pub fn handle_known(&mut self, info: &NodeInfo) {
        let now_ms = (self.wall)();
        let (node, _) = self.entry(info.num);
        node.by_radio = true;
        if !info.long_name.is_empty() || !info.short_name.is_empty() {
            node.view.long_name.clone_from(&info.long_name);
            node.view.short_name.clone_from(&info.short_name);
        }
        // The radio's clock may be wrong: what lies in the future was heard now at the latest.
        let heard_ms = (info.last_heard > 0).then(|| (u64::from(info.last_heard) * 1000).min(now_ms));
        node.heard_ms = node.heard_ms.max(heard_ms);
        node.view.hops_away = info.hops_away.map(|hops| hops.min(255) as u8).or(node.view.hops_away);
        node.view.snr_db = Some(info.snr).filter(|snr| *snr != 0.0).or(node.view.snr_db);
        node.view.battery_percent = info.battery_level.map(|level| level.min(100) as u8);
        self.keep(info.num, now_ms, true);
    }

    /// The radio's own mesh has told of this node: what it is called is not for others to say.
    pub fn is_by_radio(&self, num: u32) -> bool {
        self.nodes.get(&num).is_some_and(|node| node.by_radio)
    }

    /// A packet came. True if there is something new to tell of its sender.
    pub fn handle_packet(&mut self, packet: &OwnedPacket, way: Way) -> bool {
        let now_ms = (self.wall)();
        let hops = packet.hops_away().map(|hops| hops.min(255) as u8);
        let (node, new) = self.entry(packet.from);
        let learnt = way == Way::Mesh && !node.by_radio;
        node.by_radio |= learnt;
        // What it says of itself is taken where nobody else can have said it.
        let believed = way == Way::Mesh || !node.by_radio;
        node.heard_ms = Some(now_ms);
        node.view.hops_away = hops.or(node.view.hops_away);
        if hops == Some(0) && packet.rx_snr != 0.0 {
            node.view.snr_db = Some(packet.rx_snr);
        }
        let before = node.view.clone();
        if let Some(data) = packet.data().filter(|_| believed) {
            match PortNum(data.port) {
                PortNum::NODEINFO_APP => {
                    if let Ok(user) = User::decode(&data.payload) {
                        node.view.long_name = user.long_name.to_string();
                        node.view.short_name = user.short_name.to_string();
                    }
                }
                PortNum::TELEMETRY_APP => {
                    if let Ok(Telemetry { variant: Some(TelemetryVariant::DeviceMetrics(metrics)), .. }) =
                        Telemetry::decode(&data.payload)
                        && let Some(level) = metrics.battery_level
                    {
                        // 101 stands for mains power.
                        node.view.battery_percent = Some(level.min(100) as u8);
                    }
                }
                _ => {}
            }
        }
        let changed = new || before != node.view;
        self.keep(packet.from, now_ms, changed || learnt);
        changed
    }

    /// What the swarm knows of a node. True if it is news.
    pub fn set_membership(&mut self, told: &NodeView) -> bool {
        let Some(node) = self.nodes.get_mut(&told.num) else { return false };
        let before = node.view.clone();
        node.view.member = told.member;
        node.view.foundation_model = told.foundation_model;
        node.view.model_version = told.model_version;
        node.view.load = told.load;
        node.view.device_class = told.device_class;
        let changed = before != node.view;
        if changed {
            self.keep(told.num, (self.wall)(), true);
        }
        changed
    }

    fn keep(&mut self, num: u32, now_ms: u64, changed: bool) {
        let Some(node) = self.nodes.get_mut(&num) else { return };
        if !changed && now_ms.saturating_sub(node.stored_ms) < STORE_EVERY_MS {
            return;
        }
        node.stored_ms = now_ms;
        let kept = StoredNode { view: shown(node, now_ms), by_radio: node.by_radio };
        if let Err(error) = self.store.put_stored_node(&kept, now_ms) {
            tracing::error!("the node {} is not kept: {error:#}", kept.view.id);
        }
    }

    /// One node.
    pub fn view(&self, num: u32) -> Option<NodeView> {
        self.nodes.get(&num).map(|node| shown(node, (self.wall)()))
    }

    /// Numbers of all nodes.
    pub fn nums(&self) -> impl Iterator<Item = u32> {
        self.nodes.keys().copied()
    }

    /// All nodes, most lately heard first.
    pub fn views(&self) -> Vec<NodeView> {
        let now_ms = (self.wall)();
        let mut nodes: Vec<&Node> = self.nodes.values().collect();
        nodes.sort_by_key(|node| (std::cmp::Reverse(node.heard_ms), node.view.num));
        nodes.into_iter().map(|node| shown(node, now_ms)).collect()
    }

    /// Nodes that are online.
    pub fn online(&self) -> u32 {
        let now_ms = (self.wall)();
        let online = |node: &&Node| node.heard_ms.is_some_and(|at| now_ms.saturating_sub(at) < ONLINE_MS);
        self.nodes.values().filter(online).count() as u32
    }
}

fn shown(node: &Node, now_ms: u64) -> NodeView {
    let heard_s_ago = node.heard_ms.map(|at| now_ms.saturating_sub(at) / 1000);
    NodeView { heard_s_ago, ..node.view.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use compotastic_links::{Body, OwnedData};

    use super::*;

    fn packet(from: u32, port: PortNum, payload: Vec<u8>) -> OwnedPacket {
        let data = OwnedData { port: port.0, payload, ..OwnedData::default() };
        OwnedPacket { from, body: Body::Data(data), hop_start: 3, hop_limit: 2, ..OwnedPacket::default() }
    }

    #[test]
    fn nodes_are_named_aged_and_kept_over_a_restart() {
        let folder = std::env::temp_dir().join(format!("compotastic-book-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let store = Store::open(folder.join("store")).unwrap();
        let ms = Arc::new(AtomicU64::new(1_000_000));
        let wall: Wall = {
            let ms = ms.clone();
            Arc::new(move || ms.load(Relaxed))
        };
        let mut book = Book::open(&store, &wall).unwrap();
        assert!(book.handle_packet(&packet(7, PortNum::TEXT_MESSAGE_APP, b"hi".to_vec()), Way::Mesh));
        assert!(!book.handle_packet(&packet(7, PortNum::TEXT_MESSAGE_APP, b"hi".to_vec()), Way::Mesh));
        let user = User { long_name: "Hut".into(), short_name: "H".into(), ..User::default() };
        let user = user.to_vec::<200>().unwrap();
        assert!(book.handle_packet(&packet(7, PortNum::NODEINFO_APP, user.to_vec()), Way::Mesh));
        ms.fetch_add(60_000, Relaxed);
        assert!(
            book.handle_packet(&packet(9, PortNum::NODEINFO_APP, vec![0xFF; 40]), Way::Mesh),
            "a new node that tells nonsense"
        );
        assert_eq!(book.online(), 2);
        ms.fetch_add(ONLINE_MS - 30_000, Relaxed);
        assert_eq!(book.online(), 1);
        let again = Book::open(&store, &wall).unwrap();
        let views = again.views();
        assert_eq!(views.iter().map(|view| view.num).collect::<Vec<_>>(), [9, 7]);
        assert_eq!((views[1].long_name.as_str(), views[1].hops_away), ("Hut", Some(1)));
        let ages: Vec<u64> = views.iter().filter_map(|view| view.heard_s_ago).collect();
        assert_eq!(ages, [7170, 7230]);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
