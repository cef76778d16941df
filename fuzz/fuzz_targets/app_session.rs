//! An app's session that hears any messages while time passes.
#![no_main]

use compotastic_client::app::{Config, Phase, Session};
use compotastic_messages::{
    FromRadio, FromRadioPayload, MeshPacket, Message, MyNodeInfo, ToRadio, ToRadioPayload,
};
use libfuzzer_sys::fuzz_target;

/// A session that is in use.
fn session() -> Session {
    let mut session = Session::new(Config::default(), 1);
    session.handle_connected(0);
    let asked = session.poll_transmit(0).expect("asks for the state");
    let Some(ToRadioPayload::WantConfigId(nonce)) = ToRadio::decode(&asked).expect("ours").payload else {
        return session;
    };
    let info = MyNodeInfo { my_node_num: 7, ..MyNodeInfo::default() };
    for payload in [FromRadioPayload::MyInfo(info), FromRadioPayload::ConfigCompleteId(nonce)] {
        let message = FromRadio::from(payload).to_vec::<32>().expect("short");
        let _ = session.handle_message(0, &message);
    }
    session
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 512 {
        return;
    }
    let mut session = session();
    let mut now_ms = 0u64;
    // Pieces: how long it took, how long it is, and the message.
    let mut rest = data;
    while let [wait, length, tail @ ..] = rest {
        let (message, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        now_ms += u64::from(*wait) * 100;
        session.handle_timeout(now_ms);
        let _ = session.handle_message(now_ms, message);
        let _ = session.send(&MeshPacket { id: u32::from(*wait), ..MeshPacket::default() });
        for _ in 0..16 {
            let Some(message) = session.poll_transmit(now_ms) else { break };
            assert!(ToRadio::decode(&message).is_ok_and(|message| message.payload.is_some()));
        }
        while session.poll_event().is_some() {}
        assert!(session.poll_timeout().is_some() || session.phase() == Phase::Connecting);
        if session.phase() == Phase::Connecting {
            session.handle_connected(now_ms);
        }
    }
    assert_eq!(session.lost_events(), 0, "one message makes few events");
});
