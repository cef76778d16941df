//! The station behind a stock radio: what it hands over, in which form, and when.

mod common;

use common::{Flash, agent_with_hops, keys};
use compotastic_mesh::{
    lora::{Preset, Region},
    packet::{NodeNum, PacketId},
    router::Priority,
    time::{Duration, Instant},
};
use compotastic_node::{
    HostedStation,
    beside::Ways,
    hosted::{FromRadio, HostedConfig, RadioTelemetry, ToRadio},
    manners::Purpose,
};
use compotastic_wire::{self as wire, Address, Beacon, Frame, PORT};
use proptest::prelude::*;

const US: NodeNum = NodeNum(7);
const EDGE: u32 = 0x0a00_0001;
const CHANNEL: u8 = 1;

struct Host {
    station: HostedStation<'static, Flash>,
    now: Instant,
    /// Every minute, if there is any.
    telemetry: Option<RadioTelemetry>,
    given: Vec<(Instant, ToRadio)>,
    /// What it hears comes by a link beside the radio.
    hears_beside: bool,
}

const QUIET: RadioTelemetry = RadioTelemetry { channel_utilization_permille: 20, air_util_tx_permille: 2 };

impl Host {
    fn new(channel_unicasts: bool, hop_limit: u8) -> Self {
        let config = HostedConfig {
            preset: Preset::LongFast,
            region: Region::Eu868,
            own_port: PORT,
            channel: CHANNEL,
            channel_unicasts,
        };
        let station = HostedStation::new(config, *agent_with_hops(US, hop_limit), Instant::ZERO);
        Self { station, now: Instant::ZERO, telemetry: Some(QUIET), given: Vec::new(), hears_beside: false }
    }

    /// An edge node tells that it is there.
    fn meet_edge(&mut self) {
        let beacon = Beacon {
            flags: Beacon::EXECUTES | Beacon::FOUNDATION_MODEL | Beacon::MAINS_POWER,
            task: 1,
            battery: 15,
            ..Beacon::default()
        };
        let id = 1 + (self.now.as_micros() / 1_000_000) as u32;
        let address = Address { from: EDGE, to: u32::MAX, id };
        let mut payload = [0; 200];
        let length = wire::seal(&Frame::Beacon(beacon), &keys(), &address, &mut payload).unwrap();
        self.hear(PORT, CHANNEL, id, &payload[..length]);
    }

    fn hear(&mut self, port: u16, channel: u8, id: u32, payload: &[u8]) {
        if self.hears_beside {
            return self.hear_beside(port, channel, id, payload);
        }
        let packet = FromRadio {
            from: NodeNum(EDGE),
            to: NodeNum::BROADCAST,
            id: PacketId(id),
            channel,
            port,
            hops_away: Some(1),
            payload,
        };
        self.station.handle_packet(self.now, &packet);
        self.drain();
    }

    fn hear_beside(&mut self, port: u16, channel: u8, id: u32, payload: &[u8]) {
        let packet = FromRadio {
            from: NodeNum(EDGE),
            to: NodeNum::BROADCAST,
            id: PacketId(id),
            channel,
            port,
            hops_away: Some(1),
            payload,
        };
        self.station.handle_beside(self.now, &packet);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(packet) = self.station.poll_packet(self.now) {
            self.given.push((self.now, packet));
            self.station.settle(self.now);
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        let mut telemetry_at = self.now;
        loop {
            let due = self.station.poll_timeout().unwrap_or(until).max(self.now).min(until);
            self.now = due.min(telemetry_at.max(self.now));
            if self.now >= until {
                break;
            }
            if self.now >= telemetry_at {
                telemetry_at = self.now + minute;
                if let Some(telemetry) = self.telemetry {
                    self.station.handle_telemetry(self.now, telemetry);
                }
            }
            self.station.handle_timeout(self.now);
            self.drain();
            let next = self.station.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "woken for nothing");
        }
        self.now = until;
    }

    fn ask(&mut self) {
        self.station.agent().submit(self.now, "two hikers below the hut").unwrap();
        self.station.settle(self.now);
        self.drain();
    }

    fn requests(&self) -> Vec<&ToRadio> {
        self.given
            .iter()
            .map(|(_, packet)| packet)
            .filter(|packet| packet.priority == Priority::Reliable)
            .collect()
    }

    fn bulk(&self) -> usize {
        self.given.iter().filter(|(_, packet)| packet.priority == Priority::Background).count()
    }
}

#[test]
fn a_request_to_one_node_goes_as_a_broadcast_that_is_sealed_for_it() {
    let mut host = Host::new(false, 7);
    host.run(70);
    host.meet_edge();
    host.ask();
    host.run(10);
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    let out = requests[0];
    assert_eq!((out.to, out.want_ack, out.hop_limit), (NodeNum::BROADCAST, false, 7));
    assert_eq!((out.port, out.channel), (PORT, CHANNEL));
    let sealed_for = |to| wire::open(&out.payload, &keys(), &Address { from: US.0, to, id: out.id.0 });
    assert!(matches!(sealed_for(EDGE), Ok((Frame::Request(_), _))));
    assert!(sealed_for(u32::MAX).is_err());
}

#[test]
fn a_radio_without_a_private_key_is_given_unicasts() {
    let mut host = Host::new(true, 7);
    host.run(70);
    host.meet_edge();
    host.ask();
    host.run(10);
    let requests = host.requests();
    assert_eq!((requests[0].to, requests[0].want_ack), (NodeNum(EDGE), true));
}

#[test]
fn hop_limit_0_goes_without_an_acknowledgement_or_the_radio_would_take_its_default() {
    for channel_unicasts in [false, true] {
        let mut host = Host::new(channel_unicasts, 0);
        host.run(10);
        host.meet_edge();
        host.ask();
        host.run(3600);
        assert!(!host.requests().is_empty());
        assert!(host.given.iter().all(|(_, out)| out.hop_limit == 0 && !out.want_ack));
    }
}

#[test]
fn without_telemetry_nothing_of_bulk_goes_and_requests_do() {
    let mut host = Host::new(false, 7);
    host.telemetry = None;
    host.run(1800);
    host.meet_edge();
    host.ask();
    host.run(1800);
    assert_eq!(host.bulk(), 0);
    assert!(!host.requests().is_empty());
    host.telemetry = Some(QUIET);
    host.run(3600);
    assert!(host.bulk() > 0, "beacons go");
}

#[test]
fn after_its_own_restart_it_believes_no_old_telemetry_and_waits_a_minute() {
    let mut host = Host::new(false, 7);
    host.telemetry = None;
    // The radio hands over what it had kept: it was quiet once.
    host.run(2);
    for _ in 0..32 {
        host.station.handle_telemetry(host.now, QUIET);
        host.drain();
    }
    host.meet_edge();
    host.ask();
    host.run(50);
    assert!(host.given.is_empty(), "nothing is known of the air: {:?}", host.given);
    host.run(20);
    assert!(!host.requests().is_empty() && host.bulk() == 0, "the request goes, bulk waits for telemetry");
}

#[test]
fn after_a_restart_of_the_radio_its_telemetry_is_waited_for() {
    let mut host = Host::new(false, 7);
    host.run(600);
    let before = host.bulk();
    assert!(before > 0);
    host.telemetry = None;
    host.station.handle_radio_restarted(host.now);
    // A new neighbour, to whom it would beacon at once.
    host.meet_edge();
    host.run(250);
    assert_eq!(host.bulk(), before);
}

#[test]
fn nothing_goes_while_the_duty_cycle_is_spent() {
    let mut host = Host::new(false, 7);
    // 10 % of an hour, most of it by relays.
    host.telemetry = Some(RadioTelemetry { channel_utilization_permille: 20, air_util_tx_permille: 100 });
    host.run(120);
    host.meet_edge();
    host.ask();
    host.run(3600);
    assert!(host.given.is_empty(), "{:?}", host.given);
    host.telemetry = Some(QUIET);
    host.run(3600);
    assert!(!host.requests().is_empty() && host.bulk() > 0);
}

#[test]
fn other_ports_and_channels_are_not_for_the_agent() {
    let mut host = Host::new(false, 7);
    host.hear(1, CHANNEL, 1, b"a letter");
    host.hear(PORT, 0, 2, b"on the primary channel");
    assert_eq!(host.station.agent_ref().refused_frames(), 0);
    host.hear(PORT, CHANNEL, 3, b"not a frame");
    assert_eq!(host.station.agent_ref().refused_frames(), 1);
}

const BOTH: Ways = Ways { radio: true, beside: true };
const PAST_THE_RADIO: Ways = Ways { radio: false, beside: true };

#[test]
fn a_node_that_is_heard_beside_the_radio_alone_is_asked_past_it_and_takes_no_air() {
    let mut host = Host::new(false, 7);
    host.station.set_beside();
    host.hears_beside = true;
    host.run(70);
    host.meet_edge();
    host.ask();
    host.run(10);
    assert_eq!(host.requests()[0].ways, PAST_THE_RADIO);
    let everybody: Vec<Ways> = host
        .given
        .iter()
        .filter(|(_, out)| out.priority == Priority::Background)
        .map(|(_, out)| out.ways)
        .collect();
    assert!(everybody.iter().all(|ways| *ways == BOTH), "{everybody:?}");
    // The radio hears it too: now it is asked by both.
    host.hears_beside = false;
    host.meet_edge();
    let before = host.requests().len();
    host.station.agent().submit(host.now, "smoke above the hut").unwrap();
    host.run(30);
    assert!(host.requests()[before..].iter().any(|out| out.ways == BOTH), "{:?}", host.requests());
}

#[test]
fn while_the_radio_is_gone_the_node_goes_on_beside_it() {
    let mut host = Host::new(false, 7);
    host.station.set_beside();
    host.station.set_radio_up(false);
    host.telemetry = None;
    host.hears_beside = true;
    host.run(1800);
    host.meet_edge();
    host.ask();
    host.run(60);
    assert!(host.bulk() > 0 && !host.requests().is_empty(), "beacons go, and requests");
    assert!(host.given.iter().all(|(_, out)| out.ways == PAST_THE_RADIO));
    let jobs =
        host.station.manners().shares().counts().find(|(purpose, _)| *purpose == Purpose::Jobs).unwrap().1;
    assert!(jobs.packets > 0, "they are counted");
    assert_eq!(host.station.manners().spent(host.now), Duration::ZERO, "and took no air of the radio");
}

#[test]
fn where_the_air_behind_the_links_is_used_up_the_radio_has_the_packet_alone() {
    let mut host = Host::new(false, 7);
    host.station.set_beside();
    host.run(70);
    host.station.beside().unwrap().spend(host.now, Duration::from_secs(72));
    host.meet_edge();
    host.ask();
    host.run(10);
    assert_eq!(host.requests()[0].ways, Ways { radio: true, beside: false });
    // What reaches the links alone and goes no further is free.
    assert!(host.station.beside().unwrap().allows(host.now, Duration::ZERO));
}

#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Telemetry(Option<(u16, u16)>),
    Hear(u16, u8, Vec<u8>),
    Edge,
    Ask,
    Failed(u32),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..900u64).prop_map(Step::Run),
        2 => any::<Option<(u16, u16)>>().prop_map(Step::Telemetry),
        2 => (0..400u16, 0..200u16).prop_map(|(busy, own)| Step::Telemetry(Some((busy, own)))),
        3 => (prop_oneof![Just(PORT), any::<u16>()], 0..3u8, proptest::collection::vec(any::<u8>(), 0..234))
            .prop_map(|(port, channel, payload)| Step::Hear(port, channel, payload)),
        2 => Just(Step::Edge),
        3 => Just(Step::Ask),
        1 => any::<u32>().prop_map(Step::Failed),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_packet_is_of_a_form_that_the_radio_mistakes(channel_unicasts in any::<bool>(), steps in steps()) {
        let mut host = Host::new(channel_unicasts, 7);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Run(seconds) => host.run(seconds),
                Step::Telemetry(told) => host.telemetry = told.map(|(channel_utilization_permille, air_util_tx_permille)| {
                    RadioTelemetry { channel_utilization_permille, air_util_tx_permille }
                }),
                Step::Hear(port, channel, payload) => host.hear(port, channel, 0x4000_0000 + number as u32, &payload),
                Step::Edge => host.meet_edge(),
                Step::Ask => drop(host.station.agent().submit(host.now, "two hikers below the hut")),
                Step::Failed(id) => host.station.handle_failed(host.now, PacketId(id)),
                Step::Restart => host.station.handle_radio_restarted(host.now),
            }
        }
        for (_, out) in &host.given {
            prop_assert!(!(out.want_ack && out.hop_limit == 0));
            prop_assert!(channel_unicasts || out.to == NodeNum::BROADCAST);
        }
        let mut ids: Vec<u32> = host.given.iter().map(|(_, out)| out.id.0).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), count, "the radio drops a packet under an id that it knows");
    }
}
