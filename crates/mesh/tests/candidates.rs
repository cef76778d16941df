//! A channel is found by one byte: several may fit, and a place without a channel fits nothing. And whose turn a packet is where its
//! sender does not say.

mod common;

use common::{Alone, TEXT_PORT, config, header, node, outgoing};
use compotastic_mesh::{
    channels::{ChannelTable, Settings},
    crypto::{Channel, ctr_apply},
    lora::Preset,
    packet::{Data, NodeNum},
    router::{Priority, Role, RouterConfig, SendError},
};

/// A key of 16 bytes with which a channel of this name has this hash.
fn psk_for(name: &str, hash: u8, start: u8) -> [u8; 16] {
    let mut psk = [start; 16];
    psk[0] = start ^ 0x55;
    let now = Channel::new(name, &psk).unwrap().hash();
    psk[15] ^= now ^ hash;
    assert_eq!(Channel::new(name, &psk).unwrap().hash(), hash);
    psk
}

fn frame_on(channel: &Channel, id: u32, text: &[u8]) -> Vec<u8> {
    let header = compotastic_mesh::packet::Header {
        channel_hash: channel.hash(),
        hop_limit: 0,
        ..header(node(1), NodeNum::BROADCAST, id)
    };
    let mut clear = [0; 100];
    let data = Data { port: TEXT_PORT, payload: text, ..Data::default() };
    let length = data.encode(&mut clear).unwrap();
    ctr_apply(&channel.key, header.from, header.id, &mut clear[..length]);
    [&header.emit()[..], &clear[..length]].concat()
}

#[test]
fn channels_with_the_same_hash_are_tried_one_after_the_other() {
    let mut table = ChannelTable::new(Settings::new("one", &psk_for("one", 8, 1)).unwrap());
    table.set(2, Some(Settings::new("two", &psk_for("two", 8, 2)).unwrap())).unwrap();
    table.set(7, Some(Settings::new("three", &psk_for("three", 8, 3)).unwrap())).unwrap();
    let channels = table.channels(Preset::LongFast);
    let mut alone = Alone::with(RouterConfig { channels: channels.clone(), ..config(0, Role::Client) }, 1);
    for (id, index) in [(1, 7), (2, 0), (3, 2)] {
        alone.hear(&frame_on(&channels[index], id, b"hello there"));
        let packet = alone.received().pop().unwrap();
        assert_eq!((usize::from(packet.channel), &packet.payload[..]), (index, &b"hello there"[..]));
    }
    // A fourth one that none of them reads.
    let secret = Channel::new("four", &psk_for("four", 8, 4)).unwrap();
    let before = alone.received().len();
    alone.hear(&frame_on(&secret, 4, b"hello there"));
    assert_eq!(alone.received().len(), before);
    // Places without a channel have no key, so they must not read what is not encrypted.
    alone.hear(&frame_on(&Channel::new("", &[]).unwrap(), 5, b"hello there"));
    assert_eq!(alone.received().len(), before);
    let out = outgoing(NodeNum::BROADCAST, 9, TEXT_PORT, b"hi");
    let on = |channel| compotastic_mesh::router::Outgoing { channel, ..out };
    assert_eq!(alone.router.send(alone.now, &on(1)), Err(SendError::NoChannel));
    assert_eq!(alone.router.send(alone.now, &on(7)), Ok(()));
}

#[test]
fn priorities_are_the_usual_ones() {
    let usual = |port, want_ack, answers, asks| Priority::usual(port, want_ack, answers, asks);
    assert_eq!(usual(5, false, true, false), Priority::Ack);
    assert_eq!(usual(1, true, false, false), Priority::High);
    assert_eq!(usual(6, false, false, false), Priority::High);
    assert_eq!(usual(67, false, true, false), Priority::Response);
    assert_eq!(usual(67, false, false, true), Priority::Reliable);
    assert_eq!(usual(256, true, false, false), Priority::Reliable);
    assert_eq!(usual(256, false, false, false), Priority::Default);
}
