//! Protobuf's rules for what comes twice, in another form, or is not known.

use compotastic_messages::{pb::Malformed, *};
use hex_literal::hex;

#[test]
fn the_last_value_counts_and_nested_messages_are_merged() {
    // Data { portnum 1, payload "a" } and then Data { want_response } in the same packet.
    let packet = MeshPacket::decode(&hex!("18 02 22 05 0801 12 01 61 22 02 1801 18 05")).unwrap();
    assert_eq!(packet.channel, 5);
    let data = packet.decoded().unwrap();
    assert_eq!((data.portnum, data.payload, data.want_response), (PortNum(1), &b"a"[..], true));
}

#[test]
fn of_a_choice_the_last_one_counts() {
    let packet = MeshPacket::decode(&hex!("22 02 0801 2a 01 aa")).unwrap();
    assert_eq!(packet.payload, Some(MeshPacketPayload::Encrypted(&[0xAA])));
}

#[test]
fn a_choice_is_kept_where_its_value_is_the_default() {
    let routing = Routing::from_error(RoutingError::NONE);
    assert_eq!(routing.to_vec::<4>().unwrap(), [0x18, 0]);
    assert_eq!(Routing::decode(&[0x18, 0]), Ok(routing));
}

#[test]
fn lists_come_packed_or_not() {
    let packed = hex!("0a 08 01000000 02000000 12 0b 02 ffffffffffffffffff01");
    let single = hex!("0d 01000000 0d 02000000 10 02 10 ffffffffffffffffff01");
    let route = RouteDiscovery::decode(&packed).unwrap();
    assert_eq!((&route.route[..], &route.snr_towards[..]), (&[1, 2][..], &[2, -1][..]));
    assert_eq!(RouteDiscovery::decode(&single), Ok(route.clone()));
    assert_eq!(route.to_vec::<64>().unwrap(), packed);
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let nine = [vec![0x0A, 36], vec![1; 36]].concat();
    assert_eq!(RouteDiscovery::decode(&nine), Err(Malformed::TooMany));
}

#[test]
fn unknown_fields_and_other_wire_types_are_passed_over() {
    // Field 900 as bytes, field 3 (a number) as 32 bits, then the channel.
    let packet = MeshPacket::decode(&hex!("a238 02 ffff 1d 01020304 18 03")).unwrap();
    assert_eq!(packet, MeshPacket { channel: 3, ..MeshPacket::default() });
}

#[test]
fn a_name_that_is_no_utf8_does_not_cost_the_node() {
    let bytes = hex!("12 04 41 ff 42 43 1a 02 c3 28");
    let user = User::decode(&bytes).unwrap();
    assert_eq!(user.long_name.as_str(), None);
    assert_eq!(user.long_name.to_string(), "A\u{FFFD}BC");
    assert_eq!(user.to_vec::<16>().unwrap(), bytes, "and nothing of it is lost");
}

#[test]
fn what_is_no_message_is_told() {
    for (bytes, why) in [
        (&hex!("08")[..], Malformed::Truncated),
        (&hex!("0880"), Malformed::Truncated),
        (&hex!("12 05 01"), Malformed::Truncated),
        (&hex!("12 ffffffffffffffffff01"), Malformed::Truncated),
        (&hex!("0d 010203"), Malformed::Truncated),
        (&hex!("08 ffffffffffffffffffff01"), Malformed::Varint),
        (&hex!("ffffffff7f 00"), Malformed::Varint),
        (&hex!("00 00"), Malformed::FieldZero),
        (&hex!("0b 0c"), Malformed::WireType),
        (&hex!("0f"), Malformed::WireType),
    ] {
        assert_eq!(Data::decode(bytes), Err(why), "{bytes:02x?}");
    }
}

#[test]
fn numbers_are_cut_to_their_size_as_protobuf_does() {
    let status = QueueStatus::decode(&hex!("08 ffffffffffffffffff01 10 8080808010")).unwrap();
    assert_eq!((status.res, status.free), (-1, 0));
    assert_eq!(status.to_vec::<16>().unwrap(), hex!("08 ffffffffffffffffff01"));
}

#[test]
fn a_module_keeps_its_number_and_its_bytes() {
    let module = ModuleConfig::decode(&hex!("7a 00")).unwrap();
    assert_eq!(module.kind(), Some(ModuleConfigType::TRAFFICMANAGEMENT_CONFIG));
    assert_eq!(module.to_vec::<4>().unwrap(), hex!("7a 00"), "also where there are none");
    assert_eq!(ModuleConfig::default().to_vec::<4>().unwrap(), []);
}
