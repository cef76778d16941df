//! A radio on a serial port.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use compotastic_client::framing::WAKE;
use rustix::fs::{FlockOperation, OFlags, flock};
use serial2_tokio::SerialPort;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    BAUD, Fault, FaultKind,
    connect::{Connector, Opening, Pipe, shown},
    discover::{discover, permission},
};

/// Opens serial ports.
pub struct Serial {
    path: PathBuf,
    baud: u32,
}

impl Serial {
    /// At `baud` bits per second, 8 data bits, no parity, one stop bit.
    pub fn new(path: &Path, baud: u32) -> Self {
        Self { path: path.to_owned(), baud }
    }

    fn port(&self) -> Result<Locked, Fault> {
        // The lock has a file of its own: a port does not lend its one. Other programs ask for the same lock (pyserial, for
        // one), or meet TIOCEXCL.
        let lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32)
            .open(&self.path)
            .map_err(|error| self.fault(&error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(self.busy());
        }
        // serial2's own settings are raw, 8N1, without flow control.
        let port = SerialPort::open(&self.path, self.baud).map_err(|error| self.fault(&error))?;
        let _ = rustix::termios::ioctl_tiocexcl(&lock);
        let _ = port.discard_buffers();
        Ok(Locked { port, _lock: lock })
    }

    fn busy(&self) -> Fault {
        let path = self.path.display();
        Fault::new(
            FaultKind::Busy,
            format!("{path} is in use by {}", holder(&self.path).unwrap_or_else(|| "another program".into())),
            format!(
                "close that program (`fuser -v {path}` names it), or share the radio: `compotastic up --share 0.0.0.0:4403`"
            ),
        )
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let path = self.path.display();
        match error.kind() {
            ErrorKind::NotFound => {
                let others: Vec<_> = discover().iter().map(|port| port.url()).collect();
                let mend = match others.as_slice() {
                    [] => "attach the radio by a cable that carries data; no USB serial port is there now"
                        .into(),
                    others => format!("attached are {}", others.join(", ")),
                };
                Fault::new(FaultKind::Missing, format!("there is no port {path}"), mend)
            }
            ErrorKind::PermissionDenied => {
                Fault::new(FaultKind::Permission, format!("{path} may not be opened"), permission(&self.path))
            }
            ErrorKind::ResourceBusy => self.busy(),
            // ENOTTY, and EINVAL of a rate that the adapter cannot do.
            _ if error.raw_os_error() == Some(25) => Fault::new(
                FaultKind::NotMeshtastic,
                format!("{path} is no serial port"),
                "give the radio's port, such as serial:/dev/ttyUSB0",
            ),
            _ => Fault::new(
                FaultKind::Other,
                format!("{path} cannot be opened at {} baud: {error}", self.baud),
                format!("use {BAUD} baud, and see whether the cable is plugged in"),
            ),
        }
    }
}

/// A port that no other program opens meanwhile.
struct Locked {
    port: SerialPort,
    _lock: fs::File,
}

impl AsyncRead for Locked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_read(context, buffer)
    }
}

impl AsyncWrite for Locked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.port).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_shutdown(context)
    }
}

/// The program that has a file open, as far as this user may know.
fn holder(path: &Path) -> Option<String> {
    let target = fs::canonicalize(path).ok()?;
    let own = std::process::id().to_string();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) =
            name.to_str().filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if files.filter_map(|file| fs::read_link(file.path()).ok()).any(|open| open == target) {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", program.trim()));
        }
    }
    None
}

impl Connector for Serial {
    fn open(&mut self) -> Opening<'_> {
        Box::pin(async { Ok(Pipe::Stream(Box::new(self.port()?))) })
    }

    fn name(&self) -> String {
        match self.baud {
            BAUD => format!("serial:{}", self.path.display()),
            baud => format!("serial:{}?baud={baud}", self.path.display()),
        }
    }

    fn wake_up(&self) -> &'static [u8] {
        &WAKE
    }

    fn nonsense(&self, first: &[u8]) -> Fault {
        let (path, baud) = (self.path.display(), self.baud);
        let text = first.iter().filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()).count();
        if text * 10 >= first.len() * 8 {
            return Fault::new(
                FaultKind::NotMeshtastic,
                format!("{path} gives text and no client API: {}", shown(first)),
                "see whether it is a Meshtastic radio, and its serial console is on (security.serial_enabled)",
            );
        }
        let mend = match baud {
            BAUD => "see whether it is a Meshtastic radio, and whether its baud rate was changed from 115200"
                .into(),
            _ => format!("stock firmware has {BAUD}: leave `?baud={baud}` out"),
        };
        Fault::new(
            FaultKind::WrongBaud,
            format!("{path} gives bytes that make no sense at {baud} baud: the baud rate is wrong"),
            mend,
        )
    }

    fn silence(&self) -> Fault {
        Fault::new(
            FaultKind::Silent,
            format!("{} is open and says nothing", self.path.display()),
            "see whether it is a Meshtastic radio and running; press its reset button",
        )
    }
}
