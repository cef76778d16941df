//! How a link is opened: the seam between the session's task and serial ports, sockets, Bluetooth and simulators.

use std::{future::Future, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::{Fault, FaultKind, LinkUrl};

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open link.
pub enum Pipe {
    /// A byte stream, in which messages are framed.
    Stream(Box<dyn Duplex>),
    /// One message at a time, without framing, as over Bluetooth. A closed channel is a broken link.
    Messages {
        /// `ToRadio` messages.
        to_radio: mpsc::Sender<Vec<u8>>,
        /// `FromRadio` messages.
        from_radio: mpsc::Receiver<Vec<u8>>,
    },
}

/// An open link, or why not.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Pipe, Fault>> + Send + 'a>>;

/// Opens a link, again and again over its life.
pub trait Connector: Send + Sync + 'static {
    /// Opens it. The caller limits the time.
    fn open(&mut self) -> Opening<'_>;

    /// What a person calls it, without passwords.
    fn name(&self) -> String;

    /// Bytes to be written first (serial ports: to wake the radio up).
    fn wake_up(&self) -> &'static [u8] {
        &[]
    }

    /// What it most likely means if bytes come that begin with `first` and no message is among them.
    fn nonsense(&self, first: &[u8]) -> Fault {
        let what = format!("{} speaks, but not as a Meshtastic radio: {}", self.name(), shown(first));
        Fault::new(FaultKind::NotMeshtastic, what, "see whether it is the right device")
    }

    /// What it most likely means if nothing comes.
    fn silence(&self) -> Fault {
        let what = format!("{} is open and says nothing", self.name());
        Fault::new(FaultKind::Silent, what, "see whether it is a Meshtastic radio, and switched on")
    }

    /// What it most likely means if the other side closes before it has said anything.
    fn closed(&self) -> Fault {
        let what = format!("{} closed at once", self.name());
        Fault::new(
            FaultKind::Closed,
            what,
            "see whether it is a Meshtastic radio, and whether another program uses it",
        )
    }
}

impl Connector for Box<dyn Connector> {
    fn open(&mut self) -> Opening<'_> {
        (**self).open()
    }

    fn name(&self) -> String {
        (**self).name()
    }

    fn wake_up(&self) -> &'static [u8] {
        (**self).wake_up()
    }

    fn nonsense(&self, first: &[u8]) -> Fault {
        (**self).nonsense(first)
    }

    fn silence(&self) -> Fault {
        (**self).silence()
    }

    fn closed(&self) -> Fault {
        (**self).closed()
    }
}

/// Bytes for a person: text as it is, the rest as hexadecimal digits.
pub(crate) fn shown(first: &[u8]) -> String {
    let first = &first[..first.len().min(24)];
    match std::str::from_utf8(first) {
        Ok(text) if first.iter().all(|byte| (b' '..0x7F).contains(byte) || b"\r\n\t".contains(byte)) => {
            format!("`{}`", text.lines().next().unwrap_or_default())
        }
        _ => first.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// The connector of a radio's URL.
pub fn connector(url: &LinkUrl) -> Result<Box<dyn Connector>, Fault> {
    match url {
        LinkUrl::Serial { path, baud } => Ok(Box::new(crate::serial::Serial::new(path, *baud))),
        LinkUrl::Tcp { host, port } => Ok(Box::new(crate::tcp::Tcp::new(host, *port))),
        LinkUrl::Ble { name } => Ok(Box::new(crate::ble::Ble::new(name))),
        LinkUrl::Sim { .. } => {
            let what = format!("{url} is a simulated radio, which only the daemon brings");
            Err(Fault::new(
                FaultKind::Unsupported,
                what,
                "run it by `compotastic up`, or serve it by `compotastic sim serve`",
            ))
        }
        LinkUrl::Udp { .. } | LinkUrl::Mqtt { .. } => {
            let what = format!("{url} has no radio behind it");
            Err(Fault::new(FaultKind::Unsupported, what, "use it as a packet link"))
        }
    }
}
