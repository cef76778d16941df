//! Words to systemd: ready, alive, stopping. Without `NOTIFY_SOCKET` nothing is said.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net::SocketAddr, net::UnixDatagram},
    },
};

/// Sends one word, such as `READY=1`, to the socket of this name; one that begins with `@` is abstract.
fn send(socket: &OsStr, word: &str) -> std::io::Result<()> {
    let name = socket.as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address).map(|_| ())
}

fn say(word: &str) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, word)
    {
        tracing::warn!("systemd is not told `{word}`: {error}");
    }
}

/// The node runs.
pub fn ready() {
    say("READY=1");
}

/// The node is well; to be said more often than `WatchdogSec` of the unit asks for.
pub fn alive() {
    say("WATCHDOG=1");
}

/// The node ends.
pub fn stopping() {
    say("STOPPING=1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_as_one_datagram() {
        let path = env::temp_dir().join(format!("compotastic-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let _ = std::fs::remove_file(&path);
        let name = format!("compotastic-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "WATCHDOG=1").unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }
}
