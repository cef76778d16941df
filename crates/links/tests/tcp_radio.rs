//! A radio over TCP: handshake, packets, admin, and what happens when it closes, falls silent, starts anew, or is none.

mod common;

use std::time::Duration;

use common::{NUM, Order, Script, down, event, limited, said, up};
use compotastic_client::app::Config;
use compotastic_links::{
    Body, FaultKind, LinkUrl, OwnedData, OwnedPacket, Phase, RadioCommand, RadioEvent, RadioHandle,
    RadioLink, SessionConfig,
};
use compotastic_messages::{
    AdminMessage, AdminPayload, ClientNotification, Data, FromRadioPayload, MeshPacket, MeshPacketPayload,
    Message, PortNum, ToRadio, ToRadioPayload,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn config() -> SessionConfig {
    SessionConfig { backoff_min: Duration::from_millis(50), seed: Some(1), ..SessionConfig::default() }
}

fn open(port: u16) -> RadioHandle {
    let url: LinkUrl = format!("tcp:127.0.0.1:{port}").parse().unwrap();
    RadioLink::spawn(&url, config()).unwrap()
}

fn text(id: u32, text: &str) -> OwnedPacket {
    let data = OwnedData { port: 1, payload: text.into(), ..OwnedData::default() };
    OwnedPacket { id, hop_limit: 3, body: Body::Data(data), ..OwnedPacket::default() }
}

fn packet_from(id: u32, payload: &[u8]) -> Vec<u8> {
    let data = Data { portnum: PortNum::PRIVATE_APP, payload, ..Data::default() };
    said(FromRadioPayload::Packet(MeshPacket {
        from: 9,
        to: u32::MAX,
        id,
        payload: Some(MeshPacketPayload::Decoded(data)),
        ..MeshPacket::default()
    }))
}

#[tokio::test]
async fn the_radio_tells_its_state_and_packets_go_both_ways() {
    let mut script = Script::new();
    let mut radio = open(script.listen().await);
    let info = up(&mut radio).await;
    assert_eq!((info.num, info.reboot_count, info.region), (NUM, 3, 3));
    assert_eq!(info.firmware, "2.7.26.54e0d8d");
    assert!(info.has_pkc && info.tx_enabled && info.use_preset);
    assert_eq!(info.channels.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(), ["", "swarm"]);
    assert_eq!(info.nodes.iter().map(|node| node.num).collect::<Vec<_>>(), [NUM, 0x1234_5678]);
    assert_eq!(radio.state.borrow().phase, Phase::Up);

    radio.sender.send(text(42, "hello")).await.unwrap();
    let got = script.packet().await;
    let Some(ToRadioPayload::Packet(packet)) = ToRadio::decode(&got).unwrap().payload else { panic!() };
    assert_eq!((packet.id, packet.hop_limit, packet.decoded().unwrap().payload), (42, 3, &b"hello"[..]));

    script.order(Order::Say(packet_from(7, b"from the mesh"))).await;
    let packet = event(&mut radio, "packet", |event| match event {
        RadioEvent::Packet(packet) => Some(packet),
        _ => None,
    })
    .await;
    assert_eq!((packet.from, packet.id), (9, 7));
    assert_eq!(packet.data().unwrap().payload, b"from the mesh");

    let notice = ClientNotification { message: "Region is not set".into(), ..ClientNotification::default() };
    script.order(Order::Say(said(FromRadioPayload::ClientNotification(notice)))).await;
    let notice = event(&mut radio, "notice", |event| match event {
        RadioEvent::Notice(notice) => Some(notice),
        _ => None,
    })
    .await;
    assert_eq!(notice, "Region is not set");
}

#[tokio::test]
async fn an_admin_request_has_its_answer() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    let request =
        AdminMessage { payload: Some(AdminPayload::GetChannelRequest(3)), ..AdminMessage::default() };
    let answer = radio.sender.admin(request.to_vec::<64>().unwrap().to_vec(), true).await.unwrap();
    match AdminMessage::decode(&answer).unwrap().payload {
        Some(AdminPayload::GetChannelResponse(channel)) => assert_eq!(channel.index, 2),
        other => panic!("{other:?}"),
    }
    let fault = radio.sender.admin(vec![0xFF], true).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Closed);
}

#[tokio::test]
async fn garbage_between_messages_costs_nothing_but_itself() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    // Debug text, a false header that claims 512 bytes, half a header; each followed by a true message.
    let mut bytes = b"DEBUG | 12:00 text\r\n\x94\xC3\x02".to_vec();
    bytes.extend(compotastic_client::framing::frame(&packet_from(1, b"a")).unwrap());
    bytes.extend([0x94, 0x94, 0xC3, 0xFF, 0xFF]);
    bytes.extend(compotastic_client::framing::frame(&packet_from(2, b"b")).unwrap());
    script.order(Order::Bytes(bytes)).await;
    let id = event(&mut radio, "packet", |event| match event {
        RadioEvent::Packet(packet) => Some(packet.id),
        _ => None,
    })
    .await;
    assert!(id == 1 || id == 2);
    assert_eq!(radio.state.borrow().phase, Phase::Up);
}

#[tokio::test]
async fn a_closed_link_is_opened_again_and_unsent_packets_fail_aloud() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    for round in 1..=2 {
        script.order(Order::Close).await;
        assert_eq!(down(&mut radio).await.kind, FaultKind::Closed);
        up(&mut radio).await;
        assert_eq!(radio.state.borrow().reconnects, round);
    }
    radio.sender.shutdown().await.unwrap();
    limited("end", radio.state.wait_for(|state| state.phase == Phase::Ended)).await.unwrap();

    // Nobody listens: a packet is not kept for a time that may never come.
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut radio = open(unused);
    assert_eq!(down(&mut radio).await.kind, FaultKind::Refused);
    radio.sender.send(text(5, "lost")).await.unwrap();
    let failed = event(&mut radio, "failure", |event| match event {
        RadioEvent::Failed { id, .. } => Some(id),
        _ => None,
    })
    .await;
    assert_eq!(failed, 5);
}

#[tokio::test]
async fn two_programs_that_push_each_other_out_are_named() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    for _ in 0..2 {
        up(&mut radio).await;
        script.order(Order::Close).await;
        assert_eq!(down(&mut radio).await.kind, FaultKind::Closed);
    }
    up(&mut radio).await;
    script.order(Order::Close).await;
    let fault = down(&mut radio).await;
    assert_eq!(fault.kind, FaultKind::Busy);
    assert!(fault.to_string().contains("--share"), "{fault}");
}

#[tokio::test]
async fn a_radio_that_starts_anew_is_asked_again() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    script.order(Order::Reboot).await;
    event(&mut radio, "Restarted", |event| (event == RadioEvent::Restarted).then_some(())).await;
    up(&mut radio).await;
    assert_eq!(radio.state.borrow().phase, Phase::Up);
}

#[tokio::test]
async fn a_radio_whose_power_was_off_while_the_link_was_down_has_started_anew() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    script.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    script.order(Order::Close).await;
    event(&mut radio, "Restarted", |event| match event {
        RadioEvent::Restarted => Some(()),
        RadioEvent::Up(_) => panic!("up before it was said"),
        _ => None,
    })
    .await;
    up(&mut radio).await;
}

#[tokio::test]
async fn a_silent_radio_is_noticed_and_opened_again() {
    let script = Script::new();
    let url: LinkUrl = format!("tcp:127.0.0.1:{}", script.listen().await).parse().unwrap();
    let session = Config { quiet_ms: 300, answer_ms: 200, ..Config::default() };
    let mut radio = RadioLink::spawn(&url, SessionConfig { session, ..config() }).unwrap();
    up(&mut radio).await;
    script.order(Order::Stall).await;
    assert_eq!(down(&mut radio).await.kind, FaultKind::Silent);
    up(&mut radio).await;
}

#[tokio::test]
async fn a_slow_host_is_told_what_it_missed_and_the_link_lives_on() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    limited("Up", radio.state.wait_for(|state| state.phase == Phase::Up)).await.unwrap();
    let frames: Vec<u8> = (1..=1000)
        .flat_map(|id| compotastic_client::framing::frame(&packet_from(id, b"x")).unwrap())
        .collect();
    script.order(Order::Bytes(frames)).await;
    limited("drops", radio.state.wait_for(|state| state.dropped > 0)).await.unwrap();
    let (mut packets, mut missed) = (0, 0);
    while packets + missed < 1000 {
        match limited("event", radio.events.recv()).await.unwrap() {
            RadioEvent::Packet(_) => packets += 1,
            RadioEvent::Lagged { dropped } => missed += dropped,
            _ => {}
        }
    }
    assert!(missed > 0 && packets > 0);
    assert_eq!(radio.state.borrow().dropped, missed);
}

#[tokio::test]
async fn many_messages_in_one_read_lose_no_change_of_state() {
    let script = Script::new();
    let mut radio = open(script.listen().await);
    up(&mut radio).await;
    let mut bytes =
        compotastic_client::framing::frame(&said(FromRadioPayload::Rebooted(true))).unwrap().to_vec();
    for _ in 0..150 {
        bytes.extend(compotastic_client::framing::frame(&common::status(9)).unwrap());
    }
    script.order(Order::Bytes(bytes)).await;
    event(&mut radio, "Restarted", |event| (event == RadioEvent::Restarted).then_some(())).await;
    up(&mut radio).await;
}

#[tokio::test]
async fn raw_messages_are_told_where_they_are_asked_for() {
    let mut script = Script::new();
    let url: LinkUrl = format!("tcp:127.0.0.1:{}", script.listen().await).parse().unwrap();
    let mut radio = RadioLink::spawn(&url, SessionConfig { raw: true, ..config() }).unwrap();
    let mut raw = Vec::new();
    event(&mut radio, "Up", |event| match event {
        RadioEvent::Raw(bytes) => {
            raw.push(bytes);
            None
        }
        RadioEvent::Up(_) => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(raw.len(), 8, "all of the state, before it is known to be whole");
    let packet = text(99, "as it is");
    let message = ToRadio::from(ToRadioPayload::Packet(packet.message())).to_vec::<512>().unwrap().to_vec();
    radio.sender.command(RadioCommand::SendRaw(message.clone())).await.unwrap();
    assert_eq!(script.packet().await, message);
}

/// A server that answers anything with `answer`, and then closes if told to.
async fn server(answer: &'static [u8], closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 256];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer).await;
                while !closes && stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            });
        }
    });
    port
}

#[tokio::test]
async fn hosts_that_are_no_radio_are_named() {
    for (answer, closes, kind, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, FaultKind::NotMeshtastic, "web server"),
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], true, FaultKind::NotMeshtastic, "SSH server"),
        (&b"220 mail.example ESMTP\r\n"[..], true, FaultKind::NotMeshtastic, "220 mail"),
        (&b""[..], true, FaultKind::Closed, "whether another program uses it"),
    ] {
        let mut radio = open(server(answer, closes).await);
        let fault = down(&mut radio).await;
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.to_string().contains(says), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_port_is_named() {
    let mut radio = open(server(b"", false).await);
    let fault = down(&mut radio).await;
    assert_eq!(fault.kind, FaultKind::Silent, "{fault}");
    assert!(fault.to_string().contains("takes connections and says nothing"), "{fault}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let url: LinkUrl = "tcp:no-such-host.invalid".parse().unwrap();
    let mut radio = RadioLink::spawn(&url, config()).unwrap();
    let fault = down(&mut radio).await;
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
}
