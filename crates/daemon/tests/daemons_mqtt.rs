//! Two daemons that meet on a broker: Debian's mosquitto, started here on a port of its own.

mod fast_clock;
mod mesh_of_cores;
mod two_daemons;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mesh_of_cores::Folder;
use two_daemons::Pair;

/// A broker that ends with the test.
struct Mosquitto {
    child: Option<Child>,
    folder: Folder,
    port: u16,
}

impl Mosquitto {
    /// Starts a broker; none where mosquitto is not installed.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Folder::new("daemons-mosquitto");
        fs::create_dir_all(&folder.0).unwrap();
        let config =
            format!("listener {port} 127.0.0.1\npersistence false\nlog_dest none\nallow_anonymous true\n");
        fs::write(folder.0.join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { child: None, folder, port };
        if broker.run() {
            return Some(broker);
        }
        eprintln!("SKIPPED: mosquitto is not installed; apt-get install mosquitto");
        None
    }

    fn run(&mut self) -> bool {
        let spawned = Command::new("mosquitto")
            .arg("-c")
            .arg(self.folder.0.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else { return false };
        self.child = Some(child);
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn jobs_and_texts_go_over_a_broker_and_over_its_death() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let url = format!("mqtt://127.0.0.1:{}/msh/EU_868", broker.port);
    let pair = Pair::start("daemons-mqtt", &url).await;
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
