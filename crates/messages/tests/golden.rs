//! All messages that were recorded from a running node are read, mean what was measured, and are written as the same bytes.

use compotastic_messages::*;
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn number(value: &Value) -> u32 {
    match value {
        Value::String(digits) => u32::from_str_radix(digits, 16).unwrap(),
        value => u32::try_from(value.as_u64().unwrap()).unwrap(),
    }
}

fn vectors() -> Vec<Value> {
    let file: Value =
        serde_json::from_str(include_str!("../../../tests/data/meshtastic/golden.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

/// The message in a frame of the stream.
fn unframed(frame: &[u8]) -> &[u8] {
    assert_eq!(frame[..2], [0x94, 0xC3]);
    assert_eq!(usize::from(u16::from_be_bytes([frame[2], frame[3]])), frame.len() - 4);
    &frame[4..]
}

fn same<'a, M: Message<'a>>(name: &str, raw: &'a [u8]) -> M {
    let message = M::decode(raw).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(message.to_vec::<512>().unwrap(), raw, "{name}");
    message
}

/// Compares the packet with what was measured of it.
fn check_packet(name: &str, packet: &MeshPacket<'_>, decoded: &Value) {
    let fields = [
        ("from", packet.from),
        ("to", packet.to),
        ("channel", packet.channel),
        ("id", packet.id),
        ("hop_limit", packet.hop_limit),
        ("hop_start", packet.hop_start),
        ("priority", packet.priority.0),
        ("relay_node", packet.relay_node),
        ("next_hop", packet.next_hop),
        ("transport", packet.transport_mechanism.0),
    ];
    for (field, ours) in fields {
        if let Some(theirs) = decoded.get(field).filter(|value| !value.is_null()) {
            assert_eq!(ours, number(theirs), "{name}: {field}");
        }
    }
    if let Some(encrypted) = decoded.get("encrypted").filter(|value| value.is_string()) {
        assert_eq!(packet.encrypted(), Some(&bytes(encrypted)[..]), "{name}");
    }
    if let (Some(data), Some(theirs)) = (packet.decoded(), decoded.get("data")) {
        check_data(name, data, theirs);
    }
}

fn check_data(name: &str, data: &Data<'_>, theirs: &Value) {
    assert_eq!(data.portnum.0, number(&theirs["port"]), "{name}");
    if theirs["payload"].is_string() {
        assert_eq!(data.payload, bytes(&theirs["payload"]), "{name}");
    }
    if let Some(bitfield) = theirs.get("bitfield").filter(|value| value.is_number()) {
        assert_eq!(data.bitfield, Some(number(bitfield)), "{name}");
    }
    if let Some(request) = theirs.get("request_id").filter(|value| value.is_string()) {
        assert_eq!(data.request_id, number(request), "{name}");
    }
}

#[test]
fn recorded_messages_are_read_and_written_as_the_same_bytes() {
    let (mut packets, mut frames, mut plain) = (0, 0, 0);
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let raw = bytes(&vector["hex"]);
        if vector["transport"].as_str().unwrap().starts_with("UDP") {
            let packet: MeshPacket<'_> = same(name, &raw);
            // Where the node passed it on to its client, that is what was measured.
            if vector.get("tcp_frame").is_none() {
                check_packet(name, &packet, &vector["decoded"]);
            }
            packets += 1;
        } else {
            let message: FromRadio<'_> = same(name, unframed(&raw));
            match &message.payload {
                Some(FromRadioPayload::Packet(packet)) => check_packet(name, packet, &vector["decoded"]),
                Some(FromRadioPayload::QueueStatus(status)) => {
                    let theirs = &vector["decoded"];
                    assert_eq!(status.res, number(&theirs["res"]) as i32);
                    assert_eq!(status.free, number(&theirs["free"]));
                    assert_eq!(status.maxlen, number(&theirs["maxlen"]));
                    assert_eq!(status.mesh_packet_id, number(&theirs["mesh_packet_id"]));
                }
                other => panic!("{name}: {other:?}"),
            }
            frames += 1;
        }
        if vector["udp_in"].is_string() {
            let raw = bytes(&vector["udp_in"]);
            same::<MeshPacket<'_>>(name, &raw);
            packets += 1;
        }
        for frame in ["toradio_frame", "tcp_frame"] {
            if vector[frame].is_string() {
                let raw = bytes(&vector[frame]);
                match frame {
                    "toradio_frame" => assert!(same::<ToRadio<'_>>(name, unframed(&raw)).payload.is_some()),
                    _ => match same::<FromRadio<'_>>(name, unframed(&raw)).payload {
                        Some(FromRadioPayload::Packet(packet)) => {
                            check_packet(name, &packet, &vector["decoded"])
                        }
                        other => panic!("{name}: {other:?}"),
                    },
                }
                frames += 1;
            }
        }
        if vector["plaintext"].is_string() {
            let raw = bytes(&vector["plaintext"]);
            let data: Data<'_> = same(name, &raw);
            if let Some(theirs) = vector["decoded"].get("data") {
                check_data(name, &data, theirs);
            }
            plain += 1;
        }
    }
    assert_eq!((packets, frames, plain), (19, 5, 6), "all of the file");
}
