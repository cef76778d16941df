//! A radio at the other end of a TCP connection.

use std::{io::ErrorKind, time::Duration};

use tokio::net::{TcpStream, lookup_host};

use crate::{
    Fault, FaultKind, PORT,
    connect::{Connector, Opening, Pipe, shown},
};

/// One address may take so long; there may be several.
const PATIENCE: Duration = Duration::from_secs(8);

/// Opens TCP connections.
pub struct Tcp {
    host: String,
    port: u16,
}

impl Tcp {
    /// To `host` and `port`.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    async fn stream(&self) -> Result<TcpStream, Fault> {
        let Self { host, port } = self;
        let addresses = lookup_host((host.as_str(), *port)).await.map_err(|_| {
            Fault::new(
                FaultKind::Missing,
                format!("there is no host `{host}`"),
                "mend the name, or give the radio's address (it shows it under Wi-Fi)",
            )
        })?;
        let mut last = None;
        for address in addresses {
            match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(ErrorKind::TimedOut.into()),
            }
        }
        let error = last.unwrap_or_else(|| ErrorKind::NotFound.into());
        Err(match error.kind() {
            ErrorKind::ConnectionRefused => Fault::new(
                FaultKind::Refused,
                format!("nothing listens at {host}:{port}"),
                match *port {
                    PORT => "switch Wi-Fi or Ethernet on in the radio, or mend the host",
                    _ => "mend the port: radios listen at 4403",
                },
            ),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Fault::new(
                FaultKind::Unreachable,
                format!("{host}:{port} cannot be reached"),
                "see whether the radio is in the same network, and awake",
            ),
            _ => Fault::new(
                FaultKind::Other,
                format!("{host}:{port} cannot be opened: {error}"),
                "see whether the network is there",
            ),
        })
    }
}

impl Connector for Tcp {
    fn open(&mut self) -> Opening<'_> {
        Box::pin(async { Ok(Pipe::Stream(Box::new(self.stream().await?))) })
    }

    fn name(&self) -> String {
        format!("tcp:{}:{}", self.host, self.port)
    }

    fn nonsense(&self, first: &[u8]) -> Fault {
        let Self { host, port } = self;
        let what = match first {
            _ if first.starts_with(b"HTTP/") || first.starts_with(b"<!DOCTYPE") => {
                "it is a web server".into()
            }
            _ if first.starts_with(b"SSH-") => "it is an SSH server".into(),
            _ => format!("it says {}", shown(first)),
        };
        Fault::new(
            FaultKind::NotMeshtastic,
            format!("{host}:{port} is no Meshtastic radio: {what}"),
            "mend host and port: radios listen at 4403",
        )
    }

    fn silence(&self) -> Fault {
        Fault::new(
            FaultKind::Silent,
            format!("{}:{} takes connections and says nothing", self.host, self.port),
            "see whether it is a Meshtastic radio; restart it if it is",
        )
    }

    fn closed(&self) -> Fault {
        Fault::new(
            FaultKind::Closed,
            format!("{}:{} closes the connection at once", self.host, self.port),
            "see whether it is a Meshtastic radio, and whether another program uses it: a radio serves one",
        )
    }
}
