//! Packets: header, `Data`, and a router that hears any frames, with time passing and its own frames leaving.
#![no_main]

use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    lora::{Preset, Region},
    packet::{Data, HEADER, Header, MAX_FRAME, MAX_PAYLOAD, NodeNum},
    router::{Relaying, Role, Router, RouterConfig},
    time::{Duration, Instant},
};
use libfuzzer_sys::fuzz_target;

const OWN: NodeNum = NodeNum(0x10);
const OWN_PORT: u16 = 448;

fn channels() -> [Channel; 2] {
    let primary = Channel::new("LongFast", &[1]).expect("a name and a key");
    [primary, Channel::new("swarm", &[9; 16]).expect("a name and a key")]
}

fn router() -> Router {
    let config = RouterConfig {
        num: OWN,
        role: Role::Client,
        preset: Preset::LongFast,
        region: Region::Eu868,
        hop_limit: 3,
        channels: channels().into_iter().collect(),
        own_port: OWN_PORT,
        relaying: Relaying::default(),
    };
    Router::new(config, 1, Instant::ZERO)
}

/// The fuzzer's frame made readable: addresses near ours, the hash of one of our channels, and encrypted with its key.
fn readable(frame: &mut [u8]) {
    let Some(mut header) = Header::parse(frame) else { return };
    let channel = &channels()[usize::from(header.channel_hash & 1)];
    header.channel_hash = channel.hash();
    header.to =
        if header.to.0 & 1 == 0 { NodeNum::BROADCAST } else { NodeNum(0x10 + (header.to.0 >> 1 & 3)) };
    header.from = NodeNum(0x10 + (header.from.0 & 3));
    frame[..HEADER].copy_from_slice(&header.emit());
    ctr_apply(&channel.key, header.from, header.id, &mut frame[HEADER..]);
}

fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    if let Some(message) = Data::decode(data)
        && message.payload.len() <= MAX_PAYLOAD
    {
        let mut buffer = [0; 2 * MAX_FRAME];
        let length = message.encode(&mut buffer).expect("what was read can be written");
        assert_eq!(Data::decode(&buffer[..length]), Some(message));
    }
    let mut router = router();
    let mut now = Instant::ZERO;
    let mut rest = data;
    // Each step: a length, how much time passes, whether the frame is made readable, the frame.
    while let [length, pause, flags, more @ ..] = rest {
        let (bytes, after) = more.split_at(usize::from(*length).min(more.len()));
        rest = after;
        now = now + Duration::from_millis(u64::from(*pause) * u64::from(*pause));
        let mut frame = bytes.to_vec();
        if flags & 1 == 1 {
            readable(&mut frame);
        }
        router.handle_frame(now, &frame, i16::from(*flags) - 128, -100);
        router.handle_timeout(now);
        if let Some(sent) = router.poll_transmit(now, flags & 2 == 2) {
            assert!(sent.bytes.len() <= MAX_FRAME && Header::parse(&sent.bytes).is_some());
            now = now + sent.airtime;
            router.handle_tx_done(now);
        }
        let mut events = 0;
        while let Some(_event) = router.poll_event() {
            events += 1;
            assert!(events <= 64, "events have no end");
        }
    }
});
