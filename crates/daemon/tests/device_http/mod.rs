//! An HTTP client by hand, for tests of the client API's HTTP form.
#![allow(dead_code)]

use std::{net::SocketAddr, time::Duration};

use compotastic_messages::{FromRadio, FromRadioPayload, Message as _, ToRadio, ToRadioPayload};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
pub struct Answer {
    pub status: u16,
    /// The status line and all headers, names in small letters.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// What it says of the message in its body.
    pub fn message<T>(&self, look: impl FnOnce(FromRadioPayload<'_>) -> T) -> Option<T> {
        FromRadio::decode(&self.body).unwrap().payload.map(look)
    }
}

/// One request with these lines after the first.
pub async fn ask_with(address: SocketAddr, what: &str, lines: &[&str], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{what} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for line in lines {
        request += &format!("{line}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

/// One request of a program.
pub async fn ask(address: SocketAddr, what: &str, body: &[u8]) -> Answer {
    ask_with(address, what, &["Host: 127.0.0.1"], body).await
}

/// A `ToRadio` message.
pub async fn put(address: SocketAddr, payload: ToRadioPayload<'_>) -> u16 {
    let message = ToRadio::from(payload).to_vec::<512>().unwrap();
    ask(address, "PUT /api/v1/toradio", &message).await.status
}

/// The next message, if there is one.
pub async fn get(address: SocketAddr) -> Answer {
    ask(address, "GET /api/v1/fromradio", b"").await
}

/// Asks for the state and reads it; how many messages it has.
pub async fn configure(address: SocketAddr) -> usize {
    assert_eq!(put(address, ToRadioPayload::WantConfigId(42)).await, 200);
    for count in 1..200 {
        let answer = get(address).await;
        let complete = answer.message(|payload| payload == FromRadioPayload::ConfigCompleteId(42));
        assert!(complete.is_some(), "nothing after {} messages", count - 1);
        if complete == Some(true) {
            return count;
        }
    }
    panic!("the state does not end");
}
