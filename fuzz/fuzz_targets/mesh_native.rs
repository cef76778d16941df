//! A whole node on a LAN: datagrams as they come, and packets under the keys that it knows, with time passing.
#![no_main]

use std::sync::LazyLock;

use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent},
    crypto::{Channel, ctr_apply},
    lora::{Preset, Region},
    native::NativeNode,
    nodedb::{NODES, User},
    packet::{HEADER, Header, MAX_DATA, MAX_FRAME, NodeNum},
    pkc::{KeyPair, OVERHEAD, SharedKey},
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
    udp,
};
use libfuzzer_sys::fuzz_target;

const OWN: NodeNum = NodeNum(0x10);
const PEER: NodeNum = NodeNum(0x11);

fn channel() -> Channel {
    Channel::new("LongFast", &[1]).expect("a name and a key")
}

static OWN_KEYS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_private([1; 32]));
static PEER_KEYS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_private([2; 32]));
static SHARED: LazyLock<SharedKey> =
    LazyLock::new(|| PEER_KEYS.shared_with(OWN_KEYS.public()).expect("of full order"));

fn node() -> Box<NativeNode> {
    let config = RouterConfig {
        num: OWN,
        role: Role::Client,
        preset: Preset::LongFast,
        region: Region::Us,
        hop_limit: 3,
        channels: [channel()].into_iter().collect(),
        own_port: 448,
        relaying: Relaying::default(),
    };
    let citizen = CitizenConfig::new(User::named("own", "o"), Some(OWN_KEYS.clone()), Role::Client);
    let mut node = Box::new(NativeNode::new(config, citizen, 1, Instant::ZERO));
    let peer = User { public_key: Some(*PEER_KEYS.public()), ..User::named("peer", "p") };
    node.citizen().nodes_mut().learn_user(PEER, peer).expect("there is room");
    node
}

/// The fuzzer's bytes made readable: on the channel from anybody, or under both keys from the peer.
fn readable(frame: &[u8], under_keys: bool) -> Option<Vec<u8>> {
    let mut header = Header::parse(frame)?;
    let mut data = frame[HEADER..].to_vec();
    if under_keys {
        header = Header { from: PEER, to: OWN, channel_hash: 0, ..header };
        let length = data.len().min(MAX_DATA - OVERHEAD);
        data.resize(length + OVERHEAD, 0);
        SHARED.seal(header.from, header.id, 7, &mut data, length).expect("it fits");
    } else {
        let to = if header.to.0 & 1 == 0 { NodeNum::BROADCAST } else { OWN };
        header = Header { to, channel_hash: channel().hash(), ..header };
        ctr_apply(&channel().key, header.from, header.id, &mut data);
    }
    Some([&header.emit()[..], &data].concat())
}

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = udp::from_datagram(data, OWN) {
        let datagram = udp::to_datagram(&frame, compotastic_mesh::router::Priority::Default);
        assert_eq!(udp::from_datagram(&datagram.expect("it came in one"), OWN), Ok(frame));
    }
    let mut node = node();
    let mut now = Instant::ZERO;
    let mut rest = data;
    // Each step: a length, how much time passes, how the bytes are meant, the bytes.
    while let [length, pause, flags, more @ ..] = rest {
        let (bytes, after) = more.split_at(usize::from(*length).min(more.len()));
        rest = after;
        now = now + Duration::from_millis(u64::from(*pause) * u64::from(*pause));
        let frame = match flags & 3 {
            0 => udp::from_datagram(bytes, OWN).ok().map(|frame| frame.to_vec()),
            1 => readable(bytes, true),
            _ => readable(bytes, false),
        };
        if let Some(frame) = frame {
            node.handle_frame(now, &frame, i16::from(*flags) - 128, -100);
        }
        node.handle_timeout(now);
        if let Some(sent) = node.poll_transmit(now, flags & 4 == 4) {
            assert!(sent.bytes.len() <= MAX_FRAME && Header::parse(&sent.bytes).is_some());
            now = now + sent.airtime;
            node.handle_tx_done(now);
        }
        let mut events = 0;
        while let Some(event) = node.poll_event() {
            events += 1;
            assert!(events <= 64, "events have no end");
            if let CitizenEvent::Packet { packet, trusted } = event {
                assert!(!trusted || packet.under_public_keys || packet.signature.is_some());
            }
        }
        let known = node.citizen().nodes();
        assert!(known.len() <= NODES);
    }
});
