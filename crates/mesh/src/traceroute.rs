//! Route discovery: who passed a request on writes itself into it, and the destination sends the list back.
//!
//! Both lists of SNR have an entry per link, the one to the destination included; those of nodes have an entry per relay. A relay that did
//! not write itself in stands as node 0xFFFFFFFF with SNR -128. The layout was measured at a running node.

use compotastic_messages::{Data as DataMessage, Message, RouteDiscovery};
use heapless::Vec;

use crate::packet::{MAX_DATA, NodeNum};

/// Port of route discovery.
pub const TRACEROUTE_PORT: u16 = 70;
/// Relays that a list has room for.
pub const ROUTE_MAX: usize = 8;
/// What stands for a relay that did not write itself in.
const UNKNOWN: (u32, i32) = (u32::MAX, -128);

fn lists(route: &mut RouteDiscovery, back: bool) -> (&mut Vec<u32, ROUTE_MAX>, &mut Vec<i32, ROUTE_MAX>) {
    if back {
        (&mut route.route_back, &mut route.snr_back)
    } else {
        (&mut route.route, &mut route.snr_towards)
    }
}

/// Enters the link by which a packet came, and before it the relays that did not: as many as it took hops in all.
fn enter_link(route: &mut RouteDiscovery, back: bool, hops_away: Option<u8>, snr_qdb: i16) {
    let (nodes, snrs) = lists(route, back);
    for _ in nodes.len()..usize::from(hops_away.unwrap_or(0)).min(ROUTE_MAX) {
        let _ = nodes.push(UNKNOWN.0);
    }
    for _ in snrs.len()..nodes.len() {
        let _ = snrs.push(UNKNOWN.1);
    }
    // A list that is full stays as it is: the packet still has to arrive.
    let _ = snrs.push(i32::from(snr_qdb));
}

/// The same `Data` with this relay in it: `clear` is one that came over `hops_away` hops. `None` where it is no route discovery, or has
/// no room.
pub fn relayed(clear: &[u8], own: NodeNum, hops_away: Option<u8>, snr_qdb: i16) -> Option<Vec<u8, MAX_DATA>> {
    let data = DataMessage::decode(clear).ok()?;
    if data.portnum.0 != u32::from(TRACEROUTE_PORT) {
        return None;
    }
    let mut route = RouteDiscovery::decode(data.payload).ok()?;
    let back = data.request_id != 0;
    enter_link(&mut route, back, hops_away, snr_qdb);
    lists(&mut route, back).0.push(own.0).ok()?;
    let payload = route.to_vec::<128>().ok()?;
    DataMessage { payload: &payload, ..data }.to_vec().ok()
}

/// The list as it is complete at its end: the reply's payload at the destination of a request (`back`: false), and at the
/// destination of the reply what its host is told.
pub fn completed(payload: &[u8], back: bool, hops_away: Option<u8>, snr_qdb: i16) -> Option<RouteDiscovery> {
    let mut route = RouteDiscovery::decode(payload).ok()?;
    enter_link(&mut route, back, hops_away, snr_qdb);
    Some(route)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    fn data(payload: &[u8], request_id: u32) -> Vec<u8, MAX_DATA> {
        let portnum = compotastic_messages::PortNum::TRACEROUTE_APP;
        DataMessage { portnum, payload, request_id, bitfield: Some(3), ..DataMessage::default() }
            .to_vec()
            .unwrap()
    }

    fn payload(data: &[u8]) -> RouteDiscovery {
        RouteDiscovery::decode(DataMessage::decode(data).unwrap().payload).unwrap()
    }

    #[test]
    fn a_direct_request_is_answered_by_its_snr_alone() {
        let route = completed(&[], false, Some(0), 0).unwrap();
        assert_eq!(route.to_vec::<16>().unwrap()[..], hex!("120100"));
    }

    #[test]
    fn relays_enter_themselves_there_and_back() {
        let first = relayed(&data(&[], 0), NodeNum(7), Some(0), -30).unwrap();
        let second = relayed(&first, NodeNum(8), Some(1), 22).unwrap();
        let there = payload(&second);
        assert_eq!((&there.route[..], &there.snr_towards[..]), (&[7, 8][..], &[-30, 22][..]));
        let reply = completed(&there.to_vec::<64>().unwrap(), false, Some(2), 4).unwrap();
        assert_eq!(reply.snr_towards[..], [-30, 22, 4]);
        let back = relayed(&data(&reply.to_vec::<64>().unwrap(), 9), NodeNum(8), Some(0), 5).unwrap();
        let back = payload(&back);
        assert_eq!((&back.route_back[..], &back.snr_back[..]), (&[8][..], &[5][..]));
        let end = completed(&back.to_vec::<64>().unwrap(), true, Some(1), 6).unwrap();
        assert_eq!((&end.route[..], &end.snr_back[..]), (&[7, 8][..], &[5, 6][..]));
        // Nothing else of the message changes.
        let message = DataMessage::decode(&second).unwrap();
        assert_eq!(message.bitfield, Some(3));
    }

    #[test]
    fn relays_that_said_nothing_are_counted() {
        let third = payload(&relayed(&data(&[], 0), NodeNum(9), Some(2), 1).unwrap());
        assert_eq!(third.route[..], [u32::MAX, u32::MAX, 9]);
        assert_eq!(third.snr_towards[..], [-128, -128, 1]);
    }

    #[test]
    fn full_lists_and_other_ports_are_left_alone() {
        let full = RouteDiscovery {
            route: (1..=8).collect(),
            snr_towards: (1..=8).collect(),
            ..RouteDiscovery::default()
        };
        let full = full.to_vec::<128>().unwrap();
        assert!(relayed(&data(&full, 0), NodeNum(9), Some(7), 1).is_none());
        assert_eq!(completed(&full, false, Some(7), 1).unwrap().snr_towards.len(), 8);
        assert!(relayed(&hex!("08011200"), NodeNum(9), Some(0), 1).is_none());
        assert!(relayed(&[0xff; 9], NodeNum(9), Some(0), 1).is_none());
    }
}
