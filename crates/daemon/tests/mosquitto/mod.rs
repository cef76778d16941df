//! Debian's mosquitto, started by a test on a port of its own.

#![allow(dead_code, reason = "each test uses a part")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::mesh_of_cores::Folder;

/// A broker that ends with the test.
pub struct Mosquitto {
    child: Option<Child>,
    folder: Folder,
    pub port: u16,
}

impl Mosquitto {
    /// Starts a broker; none where mosquitto is not installed.
    pub fn start(name: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Folder::new(&format!("{name}-mosquitto"));
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

    /// The link to it.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}/msh/EU_868", self.port)
    }

    pub fn run(&mut self) -> bool {
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

    pub fn kill(&mut self) {
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
