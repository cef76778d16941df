//! A radio on a serial port: a pseudo terminal stands for the cable.

mod common;

use std::{fs::File, path::PathBuf, time::Duration};

use common::{NUM, Order, Script, down, up};
use compotastic_client::app::Config;
use compotastic_links::{FaultKind, LinkUrl, Phase, RadioHandle, RadioLink, SessionConfig};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The radio's end of a cable, and the name of ours.
fn cable() -> (File, PathBuf) {
    let radio = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&radio).unwrap();
    unlockpt(&radio).unwrap();
    let path = ptsname(&radio, Vec::new()).unwrap().into_string().unwrap();
    (File::from(radio), path.into())
}

fn stream(radio: &File) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + use<> {
    // One file each way: tokio's file does one thing at a time.
    let half = || tokio::fs::File::from_std(radio.try_clone().unwrap());
    tokio::io::join(half(), half())
}

fn open(path: &std::path::Path, baud: u32) -> RadioHandle {
    let url = LinkUrl::Serial { path: path.into(), baud };
    let config = SessionConfig { backoff_min: Duration::from_millis(50), ..SessionConfig::default() };
    RadioLink::spawn(&url, config).unwrap()
}

async fn end(mut radio: RadioHandle) {
    radio.sender.shutdown().await.unwrap();
    common::limited("end", radio.state.wait_for(|state| state.phase == Phase::Ended)).await.unwrap();
}

#[tokio::test]
async fn a_radio_on_a_cable_tells_its_state() {
    let (cable, path) = cable();
    let script = Script::new();
    let mut radio = open(&path, 115_200);
    script.serve(stream(&cable));
    assert_eq!(up(&mut radio).await.num, NUM);
    // A boot log between messages is no message.
    script.order(Order::Bytes(b"INFO  | ??:??:?? 3 Booting\r\n".to_vec())).await;
    script.order(Order::Reboot).await;
    assert_eq!(up(&mut radio).await.num, NUM);

    // Another program meets the lock.
    let mut second = open(&path, 115_200);
    let fault = down(&mut second).await;
    assert_eq!(fault.kind, FaultKind::Busy, "{fault}");
    assert!(fault.to_string().contains("--share"), "{fault}");
    end(second).await;
    end(radio).await;
}

#[tokio::test]
async fn a_wrong_baud_rate_is_named() {
    for (baud, says) in [(9600, "leave `?baud=9600` out"), (115_200, "was changed from 115200")] {
        let (cable, path) = cable();
        let script = Script::new();
        // The handshake has all patience: the noise alone is what it ends by.
        let session = Config { handshake_quiet_ms: 600_000, handshake_ms: 600_000, ..Config::default() };
        let config = SessionConfig { nonsense: Duration::from_secs(1), session, ..SessionConfig::default() };
        let mut radio = RadioLink::spawn(&LinkUrl::Serial { path, baud }, config).unwrap();
        script.serve(stream(&cable));
        // What 115200 baud looks like at another rate: bits, and no sense in them.
        let noise = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
        script.order(Order::Stall).await;
        script.order(Order::Bytes(noise)).await;
        let fault = down(&mut radio).await;
        assert_eq!(fault.kind, FaultKind::WrongBaud, "{fault}");
        assert!(fault.to_string().contains(says), "{fault}");
        end(radio).await;
    }
}

#[tokio::test]
async fn ports_that_are_missing_or_none_are_named() {
    let mut missing = open("/dev/ttyUSB_none".as_ref(), 115_200);
    let fault = down(&mut missing).await;
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    let mut file = open("/dev/null".as_ref(), 115_200);
    let fault = down(&mut file).await;
    assert_eq!(fault.kind, FaultKind::NotMeshtastic, "{fault}");
}
