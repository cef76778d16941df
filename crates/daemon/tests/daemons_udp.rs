//! Two daemons on the LAN's multicast, in a network of the test's own.

mod fast_clock;
mod mesh_of_cores;
mod own_network;
mod two_daemons;

use own_network::in_own_network;
use two_daemons::Pair;

#[test]
fn jobs_and_texts_go_over_multicast() {
    in_own_network("inner");
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner() {
    // The kernel chooses the interface by the route, as on any LAN.
    let pair = Pair::start("daemons-udp", "udp:").await;
    pair.chat().await;
    pair.texts().await;
    pair.classify().await;
    pair.end().await;
}
