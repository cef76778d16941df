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
pub trait Connector: Send + 'static {
    /// Opens it. The caller limits the time.
    fn open(&mut self) -> Opening<'_>;

    /// What a person calls it, without passwords.
    fn name(&self) -> String;

    /// Bytes to be written first (serial ports: to wake the radio up).
    fn wake_up(&self) -> &'static [u8] {
        &[]
    }

    /// What it most likely means if bytes come and no message is among them.
    fn nonsense(&self) -> Fault;

    /// What it most likely means if nothing comes.
    fn silence(&self) -> Fault;
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

    fn nonsense(&self) -> Fault {
        (**self).nonsense()
    }

    fn silence(&self) -> Fault {
        (**self).silence()
    }
}

/// The connector of a radio's URL.
pub(crate) fn connector(url: &LinkUrl) -> Result<Box<dyn Connector>, Fault> {
    let what = format!("{url} cannot be opened here");
    Err(Fault::new(FaultKind::Unsupported, what, "use another link"))
}
