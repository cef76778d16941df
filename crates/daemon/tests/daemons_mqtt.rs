//! Two daemons that meet on a broker: Debian's mosquitto, started here on a port of its own.

mod fast_clock;
mod mesh_of_cores;
mod mosquitto;
mod two_daemons;

use mosquitto::Mosquitto;
use two_daemons::Pair;

#[tokio::test]
async fn jobs_and_texts_go_over_a_broker_and_over_its_death() {
    let Some(mut broker) = Mosquitto::start("daemons-mqtt") else { return };
    let pair = Pair::start("daemons-mqtt", &broker.url()).await;
    pair.chat().await;
    pair.texts().await;
    broker.kill();
    for shot in pair.both("down").await {
        assert_ne!(shot.links[0].detail, "", "{:?}", shot.links);
    }
    assert!(broker.run());
    for shot in pair.both("up").await {
        assert_eq!(shot.links[0].reconnects, 1, "{:?}", shot.links);
    }
    pair.classify().await;
    pair.end().await;
}
