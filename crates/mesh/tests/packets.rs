//! Headers, messages and keys: what is written is read, and what is not understood is skipped or refused.

mod common;

use common::property;
use compotastic_mesh::{
    crypto::{Channel, ChannelKey, DEFAULT_KEY, ctr_apply},
    lora::{Preset, Region},
    packet::{Data, Header, MAX_DATA, MAX_FRAME, MAX_PAYLOAD, MAX_RECEIVED, NodeNum, PacketId, SIGNATURE},
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(property(1000))]

    #[test]
    fn each_header_is_read_and_written_the_same(head in any::<[u8; 16]>(), length in 0..300usize) {
        let mut frame = head.to_vec();
        frame.resize(length, 0);
        let sender = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let possible = (16..=MAX_FRAME).contains(&length) && sender != 0 && sender != u32::MAX;
        let header = Header::parse(&frame);
        prop_assert_eq!(header.is_some(), possible);
        if let Some(header) = header {
            prop_assert_eq!(header.emit(), head);
            prop_assert!(header.hop_limit <= 7 && header.hop_start <= 7);
            prop_assert!(header.hops_away().is_none_or(|hops| hops <= 7));
        }
    }

    #[test]
    fn a_message_comes_back(
        port in 1..=u16::MAX,
        payload in proptest::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD),
        want_response in any::<bool>(),
        request_id in any::<Option<u32>>(),
        reply_id in any::<Option<u32>>(),
        emoji in any::<Option<u32>>(),
        bitfield in any::<Option<u8>>(),
        signature in any::<Option<[u8; 32]>>(),
        room in 0..400usize,
    ) {
        let signature = signature.map(|half| <[u8; SIGNATURE]>::try_from([half, half].concat()).unwrap());
        let signature = signature.as_ref();
        let data = Data { port, payload: &payload, want_response, request_id, reply_id, emoji, bitfield, signature };
        let mut bytes = [0; 400];
        let length = data.encode(&mut bytes).unwrap();
        prop_assert_eq!(Data::decode(&bytes[..length]), Some(data));
        // It is written whole or not at all.
        let mut small = vec![0; room];
        prop_assert_eq!(data.encode(&mut small), (room >= length).then_some(length));
    }

    #[test]
    fn any_bytes_are_a_message_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..=MAX_DATA)) {
        if let Some(data) = Data::decode(&bytes) {
            prop_assert!(data.port != 0 && data.payload.len() <= MAX_RECEIVED);
        }
    }

    #[test]
    fn encrypting_twice_is_nothing_and_another_packet_has_another_stream(
        clear in proptest::collection::vec(any::<u8>(), 16..=MAX_DATA),
        psk in proptest::collection::vec(any::<u8>(), 1..=32),
        from in any::<u32>(),
        id in any::<u32>(),
    ) {
        let key = ChannelKey::from_psk(&psk).unwrap();
        let apply = |from, id| {
            let mut bytes = clear.clone();
            ctr_apply(&key, NodeNum(from), PacketId(id), &mut bytes);
            bytes
        };
        let mut once = apply(from, id);
        if key != ChannelKey::None {
            prop_assert_ne!(&once, &clear);
            prop_assert_ne!(&once, &apply(from, id ^ 1));
            prop_assert_ne!(&once, &apply(from ^ 1, id));
        }
        ctr_apply(&key, NodeNum(from), PacketId(id), &mut once);
        prop_assert_eq!(once, clear);
    }
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let known = [0x08, 1, 0x12, 2, b'h', b'i'];
    let later: [&[u8]; 5] = [
        &[0x20, 0x80, 0x01],                         // field 4, varint
        &[0x29, 1, 2, 3, 4, 5, 6, 7, 8],             // field 5, 64 bits
        &[0x62, 3, 1, 2, 3],                         // field 12, bytes
        &[0x5d, 1, 2, 3, 4],                         // field 11, 32 bits
        &[0x80, 0x80, 0x01, 0xff, 0xff, 0xff, 0x0f], // field 2048, varint
    ];
    for field in later {
        for bytes in [[&known[..], field].concat(), [field, &known[..]].concat()] {
            let data = Data::decode(&bytes).unwrap_or_else(|| panic!("{field:?}"));
            assert_eq!((data.port, data.payload), (1, &b"hi"[..]));
        }
        // Cut short it is no message.
        let cut = [&known[..], &field[..field.len() - 1]].concat();
        assert_eq!(Data::decode(&cut), None, "{field:?}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let refused: [&[u8]; 9] = [
        &[],                                                                          // no port
        &[0x08, 0],                                                                   // port 0
        &[0x08, 0x80, 0x80, 0x04],    // a port of more than 16 bits
        &[0x08, 1, 0x12, 200, 1],     // a payload longer than the rest
        &[0x08, 1, 0x0b],             // a group
        &[0x08, 1, 0x52, 3, 1, 2, 3], // a signature of three bytes
        &[0x08, 1, 0x00, 0x00],       // field 0
        &[0x08, 1, 0x20, 0x80],       // a varint without an end
        &[0x08, 1, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // a length of 64 bits
    ];
    for bytes in refused {
        assert_eq!(Data::decode(bytes), None, "{bytes:?}");
    }
    assert_eq!(Data { port: 0, ..Data::default() }.encode(&mut [0; 300]), None);
    let long = [0; MAX_PAYLOAD + 1];
    assert_eq!(Data { port: 1, payload: &long, ..Data::default() }.encode(&mut [0; 300]), None);
}

#[test]
fn short_keys_are_expanded_as_stock_nodes_do() {
    let key = |psk: &[u8]| ChannelKey::from_psk(psk);
    assert_eq!(key(&[]), Some(ChannelKey::None));
    assert_eq!(key(&[0]), Some(ChannelKey::None));
    assert_eq!(key(&[1]), Some(ChannelKey::Aes128(DEFAULT_KEY)));
    let mut tenth = DEFAULT_KEY;
    tenth[15] += 9;
    assert_eq!(key(&[10]), Some(ChannelKey::Aes128(tenth)));
    assert!(key(&[255]).is_some(), "the last byte goes round");
    let mut padded = [0; 16];
    padded[..2].copy_from_slice(&[7, 8]);
    assert_eq!(key(&[7, 8]), Some(ChannelKey::Aes128(padded)));
    assert!(matches!(key(&[7; 17]), Some(ChannelKey::Aes256(_))));
    assert_eq!(key(&[7; 33]), None);
    // A key is not shown.
    let shown = format!("{:?}", Channel::new("swarm", &[0xAB; 32]));
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, "), "{shown}");
}

#[test]
fn a_secondary_channel_without_a_key_has_the_primary_ones() {
    let primary = Channel::new("LongFast", &[1]).unwrap();
    let secondary = Channel::secondary("team", &[], &primary).unwrap();
    assert_eq!(secondary.key, primary.key);
    assert_ne!(secondary.hash(), primary.hash());
    assert_eq!(Channel::secondary("team", &[0], &primary).unwrap().key, ChannelKey::None);
    assert!(Channel::new("twelve bytes", &[1]).is_none());
}

#[test]
fn a_longer_frame_is_never_sooner_over_and_each_centre_lies_in_its_band() {
    for preset in Preset::ALL {
        for wide in [false, true] {
            let modem = preset.modem(wide);
            let times: Vec<u64> = (0..=MAX_FRAME).map(|length| modem.time_on_air_us(length)).collect();
            assert!(times.is_sorted() && times[0] > 0, "{preset}");
            assert!(modem.slot_us() > 0);
        }
        for region in Region::ALL.into_iter().filter(|region| region.allows(preset)) {
            for name in ["LongFast", "swarm", "", "\u{f6}"] {
                let centre = region.centre_frequency_hz(preset, name);
                let band = u64::from(region.start_khz()) * 1000..=u64::from(region.end_khz()) * 1000;
                assert!(band.contains(&centre), "{region} {preset} {name:?}: {centre} Hz");
            }
        }
    }
}
