//! Packets and what they carry: read, written, read and written again, whatever the port.
#![no_main]

use compotastic_messages::{
    AdminMessage, Compressed, Data, MapReport, MeshPacket, Message, NeighborInfo, PortNum, Position,
    RouteDiscovery, Routing, StoreAndForward, Telemetry, User, Waypoint,
};
use libfuzzer_sys::fuzz_target;

fn stable<'a, M: Message<'a>>(data: &'a [u8], first: &'a mut [u8; 2048]) {
    let Ok(message) = M::decode(data) else { return };
    let Ok(length) = message.encode_to(first) else { return };
    let first = &first[..length];
    let mut second = [0; 2048];
    let again = M::decode(first).expect("what was written can be read").encode_to(&mut second);
    assert_eq!(again.map(|length| &second[..length]), Ok(first));
}

/// Reads the payload as what its port says.
fn payload(port: PortNum, payload: &[u8]) {
    let mut buffer = [0; 2048];
    match port {
        PortNum::POSITION_APP => stable::<Position>(payload, &mut buffer),
        PortNum::NODEINFO_APP => stable::<User>(payload, &mut buffer),
        PortNum::ROUTING_APP => stable::<Routing>(payload, &mut buffer),
        PortNum::ADMIN_APP => stable::<AdminMessage>(payload, &mut buffer),
        PortNum::WAYPOINT_APP => stable::<Waypoint>(payload, &mut buffer),
        PortNum::STORE_FORWARD_APP => stable::<StoreAndForward>(payload, &mut buffer),
        PortNum::TELEMETRY_APP => stable::<Telemetry>(payload, &mut buffer),
        PortNum::SIMULATOR_APP => stable::<Compressed>(payload, &mut buffer),
        PortNum::TRACEROUTE_APP => stable::<RouteDiscovery>(payload, &mut buffer),
        PortNum::NEIGHBORINFO_APP => stable::<NeighborInfo>(payload, &mut buffer),
        PortNum::MAP_REPORT_APP => stable::<MapReport>(payload, &mut buffer),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 600 {
        return;
    }
    stable::<MeshPacket>(data, &mut [0; 2048]);
    stable::<Data>(data, &mut [0; 2048]);
    if let Ok(content) = Data::decode(data) {
        payload(content.portnum, content.payload);
    }
    if let Ok(packet) = MeshPacket::decode(data)
        && let Some(content) = packet.decoded()
    {
        let _ = packet.hops_away();
        payload(content.portnum, content.payload);
    }
    if let Some((port, rest)) = data.split_first() {
        payload(PortNum(u32::from(*port)), rest);
    }
});
