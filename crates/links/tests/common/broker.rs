//! Debian's mosquitto, started by a test on a port of its own; and certificates for it.

#![allow(dead_code, reason = "each test uses a part")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A broker that ends with the test.
pub struct Mosquitto {
    child: Option<Child>,
    folder: PathBuf,
    pub port: u16,
}

impl Mosquitto {
    /// Starts a broker; none where mosquitto is not installed.
    pub fn start(name: &str, rules: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("compotastic-mqtt-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let config = format!("listener {port} 127.0.0.1\npersistence false\nlog_dest none\n{rules}\n");
        let config = config.replace("FOLDER", folder.to_str().unwrap());
        fs::write(folder.join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { child: None, folder, port };
        match broker.spawn() {
            true => Some(broker),
            false => {
                eprintln!("SKIPPED: mosquitto is not installed");
                None
            }
        }
    }

    pub fn spawn(&mut self) -> bool {
        let spawned = Command::new("mosquitto")
            .arg("-c")
            .arg(self.folder.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else { return false };
        self.child = Some(child);
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An authority of this test's own, made by the `openssl` program.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// None where there is no `openssl`.
    pub fn new(name: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("compotastic-ca-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let authority = Self { folder };
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: openssl is not installed, which makes the certificates");
            return None;
        }
        let words = format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN=Test -days 30");
        authority.openssl(&words);
        Some(authority)
    }

    fn openssl(&self, words: &str) {
        let out = Command::new("openssl").args(words.split(' ')).current_dir(&self.folder).output().unwrap();
        assert!(out.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// The file to trust.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Rules for a broker with a certificate for `names`, such as `IP:127.0.0.1`, of the validity that `when` says.
    pub fn rules(&self, name: &str, names: &str, when: &str) -> String {
        fs::write(self.folder.join("names"), format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n"))
            .unwrap();
        self.openssl(&format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN=broker"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out {name}.pem {when}"
        ));
        // Root's broker gives up its rights, and could not read root's key.
        let key = self.folder.join(format!("{name}.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let certificate = self.folder.join(format!("{name}.pem"));
        format!("allow_anonymous true\ncertfile {}\nkeyfile {}", certificate.display(), key.display())
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
