//! A session, and a radio that says what the test wants.
#![allow(dead_code)]

use compotastic_client::app::{Config, Event, Phase, Session, Taken};
use compotastic_messages::*;

/// The radio's number.
pub const NUM: u32 = 0x1234_0001;

/// A session, its time, and what it sent.
pub struct Host {
    pub session: Session,
    pub now_ms: u64,
}

impl Host {
    pub fn new(config: Config) -> Self {
        Self { session: Session::new(config, 7), now_ms: 1_000 }
    }

    /// Opened, and through the handshake.
    pub fn ready(config: Config) -> Self {
        let mut host = Self::new(config);
        host.session.handle_connected(host.now_ms);
        host.answer_handshake();
        assert_eq!(host.events().last(), Some(&Event::Ready { num: NUM }));
        host
    }

    /// All that it sends now.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.session.poll_transmit(self.now_ms))
            .map(|message| message.to_vec())
            .collect()
    }

    /// Ids of the packets that it sends now.
    pub fn sent_ids(&mut self) -> Vec<u32> {
        let sent = self.sent();
        let ids = sent.iter().filter_map(|message| match ToRadio::decode(message).unwrap().payload {
            Some(ToRadioPayload::Packet(packet)) => Some(packet.id),
            _ => None,
        });
        ids.collect()
    }

    /// The number of the handshake that it asks for now.
    pub fn nonce(&mut self) -> Option<u32> {
        self.sent().iter().find_map(|message| match ToRadio::decode(message).unwrap().payload {
            Some(ToRadioPayload::WantConfigId(nonce)) => Some(nonce),
            _ => None,
        })
    }

    /// True if it asks for a sign of life now.
    pub fn heartbeat(&mut self) -> bool {
        let beat = ToRadio::from(ToRadioPayload::Heartbeat(Heartbeat::default())).to_vec::<16>().unwrap();
        self.sent().iter().any(|message| **message == *beat)
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The radio says something.
    pub fn hears(&mut self, payload: FromRadioPayload<'_>) -> Option<u32> {
        let bytes = FromRadio::from(payload).to_vec::<512>().unwrap();
        let Taken { answers, .. } = self.session.handle_message(self.now_ms, &bytes).unwrap();
        answers
    }

    pub fn hears_my_info(&mut self, num: u32) {
        self.hears(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: num, ..MyNodeInfo::default() }));
    }

    /// The radio answers a handshake that was asked for.
    pub fn answer_handshake(&mut self) {
        let nonce = self.nonce().expect("asks for the state");
        self.hears_my_info(NUM);
        self.hears(FromRadioPayload::ConfigCompleteId(nonce));
        assert_eq!(self.session.phase(), Phase::Ready);
    }

    pub fn hears_status(&mut self, free: u32, res: i32, id: u32) {
        self.hears(FromRadioPayload::QueueStatus(QueueStatus { res, free, maxlen: 16, mesh_packet_id: id }));
    }

    /// A packet from `from` that is about ours with this id.
    pub fn hears_reply(
        &mut self,
        from: u32,
        portnum: PortNum,
        request_id: u32,
        payload: &[u8],
    ) -> Option<u32> {
        let data = Data { portnum, payload, request_id, ..Data::default() };
        let payload = Some(MeshPacketPayload::Decoded(data));
        self.hears(FromRadioPayload::Packet(MeshPacket { from, to: NUM, payload, ..MeshPacket::default() }))
    }

    /// Lets time pass up to `until_ms`, calling whenever the session asks for it.
    pub fn run_until(&mut self, until_ms: u64, mut each: impl FnMut(&mut Self)) {
        while let Some(due_ms) = self.session.poll_timeout().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.session.handle_timeout(self.now_ms);
            each(self);
            let next = self.session.poll_timeout();
            assert!(
                next != Some(due_ms) || next > Some(self.now_ms),
                "asks for the same time again: {next:?}"
            );
        }
        self.now_ms = until_ms;
    }
}

/// A text to everybody.
pub fn text(id: u32) -> MeshPacket<'static> {
    let data = Data { portnum: PortNum::TEXT_MESSAGE_APP, payload: b"hello", ..Data::default() };
    MeshPacket {
        to: BROADCAST,
        id,
        hop_limit: 3,
        payload: Some(MeshPacketPayload::Decoded(data)),
        ..MeshPacket::default()
    }
}
