//! Whatever is asked of a router, it originates nothing over its gate and stays within the duty cycle. The counts are the
//! test's own, from frames alone.

mod common;

use std::collections::VecDeque;

use common::{TEXT_PORT, config, node, outgoing, property};
use compotastic_mesh::{
    lora::{Preset, Region},
    packet::{Header, NodeNum, PacketId},
    router::{Gate, Priority, Role, Router, RouterConfig},
    time::{Duration, Instant},
};
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Send {
        gate: u8,
        length: u8,
        to: u8,
    },
    /// A frame of another node is heard, to be relayed or not.
    Hear {
        from: u8,
        length: u8,
        hop_limit: u8,
    },
    /// Noise.
    Bad {
        ms: u16,
    },
    /// So many milliseconds pass, in which the router may send.
    Wait {
        ms: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3u8, 1..200u8, 0..5u8).prop_map(|(gate, length, to)| Step::Send { gate, length, to }),
        4 => (0..40u8, 1..200u8, 0..8u8)
            .prop_map(|(from, length, hop_limit)| Step::Hear { from, length, hop_limit }),
        1 => (1..3000u16).prop_map(|ms| Step::Bad { ms }),
        4 => (1..40_000u32).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..250)
}

/// Air time heard and sent, with the time at which it ended.
#[derive(Default)]
struct Air(VecDeque<(u64, u64)>);

impl Air {
    fn within(&self, now_us: u64, window_us: u64) -> u64 {
        self.0.iter().filter(|(end, _)| end + window_us > now_us).map(|(_, airtime)| airtime).sum()
    }
}

struct Bench {
    router: Router,
    now: Instant,
    heard: Air,
    own: Air,
    originated: Vec<(PacketId, Gate)>,
    duty_permille: u64,
}

impl Bench {
    fn pass(&mut self, until: Instant) {
        // A router that is held looks again once a second, and each packet that waits for its proof every two.
        for _ in 0..50_000 {
            let Some(due) = self.router.poll_timeout().map(|due| due.max(self.now)) else { break };
            if due > until {
                break;
            }
            self.now = due;
            self.router.handle_timeout(due);
            if let Some(frame) = self.router.poll_transmit(due, false) {
                let (start_us, airtime_us) = (due.as_micros(), frame.airtime.as_micros());
                let header = Header::parse(&frame.bytes).unwrap();
                let gate = self.originated.iter().find(|(id, _)| header.from == node(0) && *id == header.id);
                let load = (self.heard.within(start_us, 60_000_000) + airtime_us) * 1000 / 60_000_000;
                match gate {
                    Some((_, Gate::Bulk)) => assert!(load < 250, "bulk at {load} permille"),
                    Some((_, Gate::Normal)) => assert!(load < 400, "normal at {load} permille"),
                    _ => {}
                }
                let end_us = start_us + airtime_us;
                self.own.0.push_back((end_us, airtime_us));
                self.heard.0.push_back((end_us, airtime_us));
                let hour = self.own.within(end_us, 3_600_000_000);
                assert!(hour <= self.duty_permille * 3_600_000, "{hour} us in an hour");
                self.now = Instant::from_micros(end_us);
                self.router.handle_tx_done(self.now);
            }
            while self.router.poll_event().is_some() {}
        }
        let due = self.router.poll_timeout();
        assert!(due.is_none_or(|due| due > until) || self.now > until, "the router spins at {due:?}");
        self.now = self.now.max(until);
    }
}

fn check(steps: &[Step], region: Region) {
    let config = RouterConfig { region, preset: Preset::LongFast, ..config(0, Role::Client) };
    let mut bench = Bench {
        router: Router::new(config, 5, Instant::ZERO),
        now: Instant::ZERO,
        heard: Air::default(),
        own: Air::default(),
        originated: Vec::new(),
        duty_permille: u64::from(region.duty_cycle_permille()),
    };
    // The other nodes' own router makes well-formed frames.
    for (index, step) in steps.iter().enumerate() {
        let id = index as u32 + 1;
        match *step {
            Step::Send { gate, length, to } => {
                let payload = vec![7; usize::from(length)];
                let to = if to == 0 { NodeNum::BROADCAST } else { node(usize::from(to)) };
                let mut out = outgoing(to, id, TEXT_PORT, &payload);
                (out.gate, out.priority) = match gate {
                    0 => (Gate::Bulk, Priority::Background),
                    1 => (Gate::Normal, Priority::Reliable),
                    _ => (Gate::Alert, Priority::Alert),
                };
                if bench.router.send(bench.now, &out).is_ok() {
                    bench.originated.push((PacketId(id), out.gate));
                }
            }
            Step::Hear { from, length, hop_limit } => {
                let header = Header {
                    to: NodeNum::BROADCAST,
                    from: node(100 + usize::from(from)),
                    id: PacketId(id),
                    hop_limit,
                    want_ack: false,
                    via_mqtt: false,
                    hop_start: hop_limit,
                    channel_hash: 3,
                    next_hop: 0,
                    relay_node: 9,
                };
                let mut frame = header.emit().to_vec();
                frame.resize(frame.len() + usize::from(length), 1);
                let airtime = bench.router.time_on_air(frame.len());
                let end = bench.now + airtime;
                bench.pass(end);
                bench.heard.0.push_back((bench.now.as_micros(), airtime.as_micros()));
                let now = bench.now;
                bench.router.handle_frame(now, &frame, 10, -90);
            }
            Step::Bad { ms } => {
                let airtime = Duration::from_millis(u64::from(ms));
                bench.heard.0.push_back((bench.now.as_micros(), airtime.as_micros()));
                let now = bench.now;
                bench.router.handle_bad_frame(now, airtime);
            }
            Step::Wait { ms } => {
                let until = bench.now + Duration::from_millis(u64::from(ms));
                bench.pass(until);
            }
        }
    }
    let until = bench.now + Duration::from_secs(7200);
    bench.pass(until);
}

proptest! {
    #![proptest_config(property(60))]

    #[test]
    fn nothing_is_originated_over_its_gate_or_the_duty_cycle(steps in steps()) {
        check(&steps, Region::Eu868);
    }

    #[test]
    fn the_strictest_duty_cycle_holds_too(steps in steps()) {
        check(&steps, Region::Eu866);
    }
}
