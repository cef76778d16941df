//! The calling contract: whatever is called in whatever order, each wake-up does something or sets a later one, extra
//! calls change nothing, and the same calls give the same frames.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{OWN_PORT, TEXT_PORT, config, frame, header, node, outgoing, property};
use compotastic_mesh::{
    packet::{Data, Header, NodeNum, PacketId},
    router::{Gate, Priority, ROUTING_PORT, Rebroadcast, Relaying, Role, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Send { to: u8, own_port: bool, want_ack: bool, gate: u8, length: u8 },
    Hear(Heard),
    Remind { to: u8, id: u8 },
    Bad { ms: u32 },
    Wait { ms: u32, busy: bool },
}

/// A frame with the fields that make something happen.
#[derive(Clone, Debug)]
struct Heard {
    to: u8,
    from: u8,
    id: u8,
    hop_limit: u8,
    hop_start: u8,
    want_ack: bool,
    next_hop: u8,
    relay: u8,
    /// Nothing, a stock message, one on our own port, one on a channel that is not ours, an acknowledgement.
    kind: u8,
    snr_qdb: i16,
}

impl Heard {
    fn frame(&self) -> Vec<u8> {
        let name = |index: u8| if index == 0 { 0 } else { node(usize::from(index) - 1).last_byte() };
        let to = if self.to == 0 { NodeNum::BROADCAST } else { node(usize::from(self.to) - 1) };
        let header = Header {
            hop_limit: self.hop_limit,
            hop_start: self.hop_start,
            want_ack: self.want_ack,
            next_hop: name(self.next_hop),
            relay_node: name(self.relay),
            ..header(node(usize::from(self.from)), to, u32::from(self.id))
        };
        let request_id = (self.kind == 4).then_some(u32::from(self.id));
        match self.kind {
            0 => header.emit().to_vec(),
            1 => frame(&header, &Data { port: TEXT_PORT, payload: b"letter", ..Data::default() }),
            2 => frame(&header, &Data { port: OWN_PORT, payload: b"frame", ..Data::default() }),
            3 => {
                let header = Header { channel_hash: !header.channel_hash, ..header };
                frame(&header, &Data { port: TEXT_PORT, payload: b"secret", ..Data::default() })
            }
            _ => frame(
                &header,
                &Data { port: ROUTING_PORT, payload: &[0x18, 0], request_id, ..Data::default() },
            ),
        }
    }
}

fn heard() -> impl Strategy<Value = Heard> {
    let addresses = (0..6u8, 0..5u8, 0..60u8);
    let hops = (0..8u8, 0..8u8, any::<bool>(), 0..6u8, 0..6u8);
    let kind = (0..5u8, prop_oneof![-80..40i16, any::<i16>()]);
    (addresses, hops, kind).prop_map(|(addresses, hops, (kind, snr_qdb))| {
        let (to, from, id) = addresses;
        let (hop_limit, hop_start, want_ack, next_hop, relay) = hops;
        Heard { to, from, id, hop_limit, hop_start, want_ack, next_hop, relay, kind, snr_qdb }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u8, any::<bool>(), any::<bool>(), 0..3u8, 0..220u8)
            .prop_map(|(to, own_port, want_ack, gate, length)| Step::Send { to, own_port, want_ack, gate, length }),
        8 => heard().prop_map(Step::Hear),
        1 => (1..6u8, 0..60u8).prop_map(|(to, id)| Step::Remind { to, id }),
        1 => (1..30_000u32).prop_map(|ms| Step::Bad { ms }),
        6 => (1..20_000u32, proptest::bool::weighted(0.1)).prop_map(|(ms, busy)| Step::Wait { ms, busy }),
    ];
    proptest::collection::vec(step, 1..150)
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![2 => Just(Role::Client), 3 => proptest::sample::select(&Role::ALL[..])]
}

/// All, as a rule; or any mode with tight limits.
fn relaying() -> impl Strategy<Value = Relaying> {
    let limits = (proptest::option::of(0..3u16), proptest::option::of(0..6u16));
    let tight = (proptest::sample::select(&Rebroadcast::ALL[..]), limits, 1..5usize);
    let tight = tight.prop_map(|(rebroadcast, (unknown_limit, sender_limit), favourite)| Relaying {
        rebroadcast,
        unknown_limit,
        sender_limit,
        favourites: [node(favourite)].into_iter().collect(),
    });
    prop_oneof![Just(Relaying::default()), tight]
}

/// What a run showed to the outside.
#[derive(Default, PartialEq, Debug)]
struct Seen {
    frames: Vec<(u64, Vec<u8>)>,
    events: Vec<String>,
}

struct Run {
    router: Router,
    now: Instant,
    extra_calls: bool,
    seen: Seen,
    /// How often each packet was told as failed.
    failed: BTreeMap<PacketId, u32>,
    acked: BTreeSet<PacketId>,
}

impl Run {
    fn drain(&mut self) {
        let mut count = 0;
        while let Some(event) = self.router.poll_event() {
            count += 1;
            self.seen.events.push(format!("{event:?}"));
            match event {
                RouterEvent::Acked { id } => drop(self.acked.insert(id)),
                RouterEvent::Failed { id } => {
                    // The router's own acknowledgements are among them, if they go by name.
                    let times = self.failed.entry(id).or_default();
                    *times += 1;
                    assert_eq!(*times, 1, "{id:?} is told as failed again");
                    assert!(!self.acked.contains(&id), "{id:?} was acknowledged before");
                }
                _ => {}
            }
        }
        assert!(count <= 8 && self.router.queue_len() <= 16);
    }

    fn extra(&mut self) {
        if self.extra_calls {
            let due = self.router.poll_timeout();
            if due.is_none_or(|due| due > self.now) {
                self.router.handle_timeout(self.now);
                assert_eq!(self.router.poll_timeout(), due);
            }
        }
    }

    fn wait(&mut self, until: Instant, busy: bool) {
        while let Some(due) = self.router.poll_timeout().map(|due| due.max(self.now)) {
            if due > until {
                break;
            }
            self.now = due;
            self.router.handle_timeout(due);
            if let Some(frame) = self.router.poll_transmit(due, busy) {
                self.seen.frames.push((due.as_micros(), frame.bytes.to_vec()));
                self.now = due + frame.airtime;
                self.router.handle_tx_done(self.now);
            } else {
                let next = self.router.poll_timeout();
                assert!(next.is_none_or(|next| next > due), "woken at {due:?} for nothing");
            }
            self.drain();
        }
        self.now = self.now.max(until);
        self.extra();
    }

    fn step(&mut self, number: u32, step: &Step) {
        match step {
            Step::Send { to, own_port, want_ack, gate, length } => {
                let payload = vec![1; usize::from(*length)];
                let to = if *to == 0 { NodeNum::BROADCAST } else { node(usize::from(*to)) };
                let port = if *own_port { OWN_PORT } else { TEXT_PORT };
                let mut out = outgoing(to, 1000 + number, port, &payload);
                out.want_ack = *want_ack;
                (out.gate, out.priority) = match gate {
                    0 => (Gate::Bulk, Priority::Background),
                    1 => (Gate::Normal, Priority::Reliable),
                    _ => (Gate::Alert, Priority::Alert),
                };
                let _ = self.router.send(self.now, &out);
            }
            // Half of the time about one of ours.
            Step::Hear(heard) => {
                let mut frame = heard.frame();
                if heard.id % 2 == 1 && matches!(heard.kind, 0 | 4) {
                    let id = 1000 + number.saturating_sub(u32::from(heard.id) / 8);
                    frame[8..12].copy_from_slice(&id.to_le_bytes());
                    frame[4..8].copy_from_slice(&node(0).0.to_le_bytes());
                }
                self.router.handle_frame(self.now, &frame, heard.snr_qdb, -90);
            }
            Step::Remind { to, id } => {
                self.router.remind(self.now, node(usize::from(*to)), PacketId(u32::from(*id)), 0);
            }
            Step::Bad { ms } => self.router.handle_bad_frame(self.now, Duration::from_millis(u64::from(*ms))),
            Step::Wait { ms, busy } => self.wait(self.now + Duration::from_millis(u64::from(*ms)), *busy),
        }
        self.drain();
    }
}

fn run(role: Role, relaying: &Relaying, steps: &[Step], extra_calls: bool) -> Seen {
    let config = RouterConfig { relaying: relaying.clone(), ..config(0, role) };
    let mut run = Run {
        router: Router::new(config, 5, Instant::ZERO),
        now: Instant::ZERO,
        extra_calls,
        seen: Seen::default(),
        failed: BTreeMap::new(),
        acked: BTreeSet::new(),
    };
    for (number, step) in steps.iter().enumerate() {
        run.step(number as u32, step);
    }
    // Left alone, it comes to rest: nothing waits for ever.
    run.wait(run.now + Duration::from_secs(7200), false);
    assert_eq!((run.router.queue_len(), run.router.poll_timeout()), (0, None));
    run.seen
}

proptest! {
    #![proptest_config(property(300))]

    #[test]
    fn it_never_wakes_for_nothing_tells_failures_once_and_comes_to_rest(
        role in role(),
        relaying in relaying(),
        steps in steps(),
    ) {
        let once = run(role, &relaying, &steps, false);
        prop_assert_eq!(&once, &run(role, &relaying, &steps, false), "the same calls, the same frames");
        prop_assert_eq!(&once, &run(role, &relaying, &steps, true), "extra calls change nothing");
    }
}
