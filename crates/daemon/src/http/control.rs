//! The way from a command on this machine to the daemon that runs on the same state folder.
//!
//! Some calls hand out the swarm's keys, or change them. On loopback everybody on this machine may use the API, and a token for other machines is
//! given to whoever may ask things: neither makes an operator. Who may read the state folder may do all this anyhow, by the store in it.
//! So each start of the daemon leaves a secret there ([`Control`]), for the folder's owner alone; such calls take it, and only from this machine, since
//! the API speaks HTTP in the clear.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Name of the file in the state folder.
const NAME: &str = "control.json";

/// Where the daemon is, and the secret of this run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Control {
    /// The API's address, as this machine reaches it.
    pub api: String,
    /// The secret.
    pub token: String,
}

/// The file, which goes with the daemon.
#[derive(Debug)]
pub struct ControlFile(PathBuf);

impl Drop for ControlFile {
    fn drop(&mut self) {
        // What is left behind is worth nothing: the next run has another secret.
        let _ = fs::remove_file(&self.0);
    }
}

/// An address that this machine reaches a listener by.
fn reached(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Whether a client of a listener is on this machine.
pub(super) fn is_here(client: IpAddr, listener: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || client == listener.to_canonical()
}

impl Control {
    /// With a new secret of 256 random bits, for a daemon that listens there.
    pub fn new(listener: SocketAddr) -> Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).context("this machine has no random numbers")?;
        let token = data_encoding::BASE64URL_NOPAD.encode(&random);
        Ok(Self { api: format!("http://{}", reached(listener)), token })
    }

    /// Leaves it in the state folder, whole from its first moment, for the owner alone.
    pub fn write(&self, state: &Path) -> Result<ControlFile> {
        let path = state.join(NAME);
        let half = state.join(format!("{NAME}.new"));
        let cannot = || format!("cannot write {}", path.display());
        // One that was left half-written may have another mode.
        let _ = fs::remove_file(&half);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&half)
            .with_context(cannot)?;
        file.write_all(&serde_json::to_vec(self)?).with_context(cannot)?;
        drop(file);
        fs::rename(&half, &path).with_context(cannot)?;
        Ok(ControlFile(path))
    }

    /// What a daemon left in the state folder; none where none runs there, or it is one that leaves nothing.
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state.join(NAME)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_for_the_owner_alone_and_goes_with_the_daemon() {
        let folder = std::env::temp_dir().join(format!("compotastic-control-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let control = Control::new("0.0.0.0:4480".parse().unwrap()).unwrap();
        assert_eq!((control.api.as_str(), control.token.len()), ("http://127.0.0.1:4480", 43));
        assert_ne!(Control::new("[::]:1".parse().unwrap()).unwrap().token, control.token);
        let file = control.write(&folder).unwrap();
        let mode = fs::metadata(folder.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Control::read(&folder).unwrap().token, control.token);
        drop(file);
        assert!(Control::read(&folder).is_none());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn this_machine_is_told_from_others() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (client, listener, here) in [
            ("127.0.0.1", "0.0.0.0", true),
            ("::1", "::", true),
            ("::ffff:127.0.0.1", "::", true),
            ("192.168.1.5", "192.168.1.5", true),
            ("192.168.1.6", "192.168.1.5", false),
            ("::ffff:192.168.1.6", "::", false),
            ("192.168.1.6", "0.0.0.0", false),
        ] {
            assert_eq!(is_here(ip(client), ip(listener)), here, "{client} {listener}");
        }
    }
}
