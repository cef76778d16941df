//! Waits on packet links.
#![allow(dead_code, reason = "each test uses its part")]

use std::time::Duration;

use compotastic_links::{Body, Fault, OwnedPacket, PacketEvent, PacketHandle};

/// An encrypted packet of node `from`.
pub fn packet(from: u32, id: u32) -> OwnedPacket {
    OwnedPacket {
        from,
        id,
        channel: 8,
        hop_limit: 3,
        hop_start: 3,
        body: Body::Encrypted(vec![id as u8; 40]),
        ..OwnedPacket::default()
    }
}

/// The next event that `pick` wants; a failed test after 20 s.
pub async fn next<T>(
    link: &mut PacketHandle,
    what: &str,
    mut pick: impl FnMut(PacketEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = link.events.recv().await.expect("the task has ended");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap_or_else(|_| panic!("no {what}"))
}

pub async fn up(link: &mut PacketHandle) {
    next(link, "Up", |event| (event == PacketEvent::Up).then_some(())).await;
}

pub async fn down(link: &mut PacketHandle) -> Fault {
    next(link, "Down", |event| match event {
        PacketEvent::Down { reason } => Some(reason),
        _ => None,
    })
    .await
}

/// The next packet, with its channel and gateway.
pub async fn received(link: &mut PacketHandle) -> (OwnedPacket, Option<String>, Option<u32>) {
    next(link, "packet", |event| match event {
        PacketEvent::Packet { packet, channel, gateway } => Some((*packet, channel, gateway)),
        _ => None,
    })
    .await
}

/// Nothing comes for half a second.
pub async fn quiet(link: &mut PacketHandle) {
    let event = tokio::time::timeout(Duration::from_millis(500), link.events.recv()).await;
    assert!(event.is_err(), "{event:?}");
}
