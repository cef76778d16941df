//! Vectors from outside: the air-time table, channel hashes, frequency slots, one frame byte for byte.

use compotastic_mesh::{
    crypto::{Channel, ChannelKey, DEFAULT_KEY, ctr_apply},
    lora::{Preset, Region},
    packet::{Data, Header, NodeNum, PacketId},
};

const TABLE: &str = include_str!("../../../tests/data/mesh/airtime.csv");

#[test]
fn time_on_air_and_hashes_agree_with_the_table() {
    let mut rows = 0;
    for line in TABLE.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let preset: Preset = cells[0].parse().unwrap();
        let modem = preset.modem(false);
        for (length, cell) in [(26, cells[1]), (116, cells[2]), (255, cells[3])] {
            let expected_ms: f64 = cell.parse().unwrap();
            let ms = modem.time_on_air_us(length) as f64 / 1000.0;
            assert!(
                (ms - expected_ms).abs() <= 0.5 + expected_ms * 1e-3,
                "{preset} {length}: {ms} {expected_ms}"
            );
        }
        let channel = Channel::new(preset.display_name(), &[1]).unwrap();
        assert_eq!(format!("{:#04x}", channel.hash()), cells[4], "{preset}");
        rows += 1;
    }
    assert_eq!(rows, Preset::ALL.len());
}

#[test]
fn frequency_slots_agree_with_known_ones() {
    let known = [
        (Region::Us, Preset::LongFast, 906_875_000),
        (Region::Eu868, Preset::LongFast, 869_525_000),
        (Region::Eu433, Preset::LongFast, 433_875_000),
        (Region::Us, Preset::MediumFast, 913_125_000),
        (Region::Us, Preset::ShortTurbo, 926_750_000),
        (Region::Anz, Preset::LongFast, 919_875_000),
        (Region::Us, Preset::LongModerate, 902_687_500),
    ];
    for (region, preset, hz) in known {
        assert_eq!(region.centre_frequency_hz(preset, preset.display_name()), hz, "{region} {preset}");
    }
}

#[test]
fn a_frame_byte_for_byte() {
    let (from, id) = (NodeNum(0x1234_5678), PacketId(0xdead_beef));
    let data = Data { port: 256, payload: b"hello", bitfield: Some(0), ..Data::default() };
    let mut bytes = [0; 64];
    let length = data.encode(&mut bytes).unwrap();
    assert_eq!(bytes[..length], [0x08, 0x80, 0x02, 0x12, 5, b'h', b'e', b'l', b'l', b'o', 0x48, 0]);
    ctr_apply(&ChannelKey::Aes128(DEFAULT_KEY), from, id, &mut bytes[..length]);
    assert_eq!(bytes[..length], [0xa3, 0xc0, 0x44, 0x44, 0x55, 0xb4, 0xed, 0xa0, 0x36, 0x7a, 0x89, 0x70]);
    let header = Header {
        to: NodeNum::BROADCAST,
        from,
        id,
        hop_limit: 3,
        want_ack: false,
        via_mqtt: false,
        hop_start: 3,
        channel_hash: 8,
        next_hop: 0,
        relay_node: 0x78,
    };
    let expected = [0xff, 0xff, 0xff, 0xff, 0x78, 0x56, 0x34, 0x12, 0xef, 0xbe, 0xad, 0xde, 0x63, 8, 0, 0x78];
    assert_eq!(header.emit(), expected);
    assert_eq!(Header::parse(&expected), Some(header));
}

#[test]
fn names_are_read_however_they_are_written() {
    for preset in Preset::ALL {
        assert_eq!(preset.name().parse(), Ok(preset));
        assert_eq!(preset.display_name().to_lowercase().parse(), Ok(preset));
    }
    assert!("LongestFast".parse::<Preset>().is_err());
    assert!(Region::Eu868.allows(Preset::LongFast) && !Region::Eu868.allows(Preset::ShortTurbo));
    assert_eq!(Region::Eu868.duty_cycle_permille(), 100);
}
