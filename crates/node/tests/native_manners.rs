//! A station on a radio of its own keeps to the manners that hold behind a stock radio: quiet hours, a share of the air for each peer, and
//! counts by purpose.

mod common;

use common::{Flash, agent, router_config};
use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message},
    modules::{NODEINFO_PORT, TELEMETRY_PORT},
    nodedb::User,
    packet::{Header, NodeNum},
    pkc::KeyPair,
    router::{Gate, Role},
    time::{Duration, Instant},
};
use compotastic_node::{
    Station,
    manners::{Hold, Purpose},
    station::NotSent,
};

fn keys(index: usize) -> KeyPair {
    KeyPair::from_private([index as u8 + 1; 32])
}

fn num(index: usize) -> NodeNum {
    keys(index).node_num()
}

fn station(index: usize) -> Box<Station<'static, Flash>> {
    let config = router_config(num(index));
    let seed = index as u64 + 1;
    let mut station = Box::new(Station::new(config, *agent(num(index)), seed, Instant::ZERO));
    let citizen = CitizenConfig::new(User::named("a node", "n"), Some(keys(index)), Role::Client);
    station.settle_citizen(citizen, seed, Instant::ZERO);
    station
}

/// What one of them put on the air.
struct Sent {
    by: usize,
    at: Instant,
    header: Header,
    airtime: Duration,
}

/// Stations in a line: each hears its neighbours.
struct Line {
    now: Instant,
    stations: Vec<Box<Station<'static, Flash>>>,
    sent: Vec<Sent>,
    events: Vec<(usize, CitizenEvent)>,
}

impl Line {
    fn new(count: usize) -> Self {
        let stations = (0..count).map(station).collect();
        Self { now: Instant::ZERO, stations, sent: Vec::new(), events: Vec::new() }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let due = self
                .stations
                .iter()
                .enumerate()
                .filter_map(|(index, station)| Some((station.poll_timeout()?.max(self.now), index)));
            let Some((when, by)) = due.min().filter(|(when, _)| *when <= until) else { break };
            // A clock that stands still would be a node that spins.
            self.now = when + Duration::from_micros(1);
            let station = &mut self.stations[by];
            station.handle_timeout(self.now);
            if let Some(frame) = station.poll_transmit(self.now, false) {
                let header = Header::parse(&frame.bytes).unwrap();
                self.sent.push(Sent { by, at: self.now, header, airtime: frame.airtime });
                self.now = self.now + frame.airtime;
                for (other, station) in self.stations.iter_mut().enumerate() {
                    match other.abs_diff(by) {
                        0 => station.handle_tx_done(self.now),
                        1 => station.handle_frame(self.now, &frame.bytes, 30, -80),
                        _ => {}
                    }
                }
            }
            for (index, station) in self.stations.iter_mut().enumerate() {
                self.events
                    .extend(std::iter::from_fn(|| station.poll_mesh_event()).map(|event| (index, event)));
            }
        }
        self.now = until;
    }

    /// Frames of its own that a station has sent since then: how many, and their air time, microseconds.
    fn originated(&self, by: usize, since: Instant, to: Option<NodeNum>) -> (usize, u64) {
        let own = self.sent.iter().filter(|sent| {
            let meant = to.is_none_or(|to| sent.header.to == to);
            sent.by == by && sent.header.from == num(by) && sent.at >= since && meant
        });
        own.fold((0, 0), |(count, us), sent| (count + 1, us + sent.airtime.as_micros()))
    }
}

fn packets(station: &Station<'static, Flash>, purpose: Purpose) -> u64 {
    station.shares().counts().find(|(what, _)| *what == purpose).unwrap().1.packets
}

#[test]
fn all_that_is_sent_is_counted_under_what_it_was_for() {
    let mut line = Line::new(3);
    line.run(400);
    for text in ["one", "two"] {
        let now = line.now;
        line.stations[0].send_text(now, NodeNum::BROADCAST, 0, text, None).unwrap();
        let answer = Message::text(NodeNum::BROADCAST, 0, "an answer", None);
        line.stations[1].send_for(now, Purpose::People, &answer).unwrap();
        line.run(60);
    }
    line.run(3000);
    for (index, station) in line.stations.iter().enumerate() {
        let counted: u64 = station.shares().counts().map(|(_, count)| count.airtime.as_micros()).sum();
        let sent = line.sent.iter().filter(|sent| sent.by == index);
        assert_eq!(counted, sent.map(|sent| sent.airtime.as_micros()).sum::<u64>(), "station {index}");
    }
    let [first, middle, _] = &line.stations[..] else { unreachable!() };
    assert_eq!((packets(first, Purpose::Texts), packets(first, Purpose::People)), (2, 0));
    assert_eq!((packets(middle, Purpose::Texts), packets(middle, Purpose::People)), (0, 2));
    assert!(packets(first, Purpose::Beacons) > 0 && packets(first, Purpose::Mesh) > 0);
    assert!(packets(middle, Purpose::Relays) >= 2, "the texts of the first go on to the last");
    let state = middle.manners_state(line.now);
    assert!(state.own_permille > 0 && state.limit_permille == 100 && state.hold.is_none(), "{state:?}");
}

#[test]
fn in_quiet_hours_it_says_nothing_but_acknowledges() {
    let mut line = Line::new(2);
    line.run(400);
    line.stations[0].set_quiet(true);
    let begin = line.now;
    assert_eq!(line.stations[0].manners_state(begin).hold, Some(Hold::QuietHours));
    let refused = line.stations[0].send_text(begin, NodeNum::BROADCAST, 0, "hello", None);
    assert_eq!(refused, Err(NotSent::Held(Hold::QuietHours)));
    // Who it is would be due within three hours, and beacons sooner; a question is not answered either.
    for port in [NODEINFO_PORT, TELEMETRY_PORT] {
        let question = Message { want_response: true, want_ack: false, ..Message::new(num(0), 0, port, &[]) };
        line.stations[1].send(line.now, &question).unwrap();
        line.run(60);
    }
    line.run(4 * 3600);
    assert_eq!(line.originated(0, begin, None).0, 0, "it is quiet");
    let id = line.stations[1].send_text(line.now, num(0), 0, "are you there", None).unwrap();
    line.run(60);
    let acked = |event: &CitizenEvent| matches!(event, CitizenEvent::Acked { id: acked } if *acked == id);
    assert!(line.events.iter().any(|(index, event)| *index == 1 && acked(event)));
    let alert = Message { gate: Gate::Alert, ..Message::text(NodeNum::BROADCAST, 0, "fire", None) };
    assert!(line.stations[0].send(line.now, &alert).is_ok(), "alerts go");
    line.run(60);
    let end = line.now;
    line.stations[0].set_quiet(false);
    line.stations[0].settle(end);
    line.run(120);
    assert!(line.originated(0, end, None).0 > 0, "what was due goes now");
    assert!(line.stations[0].send_text(line.now, NodeNum::BROADCAST, 0, "hello", None).is_ok());
}

/// An eighth of EU_868's hour: at once, and in the course of an hour.
const PART_US: u64 = 45_000_000;

#[test]
fn one_peer_gets_no_more_than_its_share_of_texts() {
    let mut line = Line::new(3);
    line.run(400);
    let begin = line.now;
    let long = "x".repeat(190);
    let mut held = 0;
    for _ in 0..60 {
        match line.stations[1].send_text(line.now, num(0), 0, &long, None) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, NotSent::Held(Hold::Peer));
                held += 1;
            }
        }
        line.run(20);
    }
    let (_, us) = line.originated(1, begin, Some(num(0)));
    // 45 s at once, and a third of that in twenty minutes.
    assert!(held > 0 && us <= PART_US * 4 / 3 + 3_000_000 && us > PART_US, "{held} held, {us} us");
    assert!(line.stations[1].send_text(line.now, num(2), 0, &long, None).is_ok(), "others have theirs");
    line.run(3600);
    assert!(line.stations[1].send_text(line.now, num(0), 0, &long, None).is_ok(), "an hour heals");
}

#[test]
fn one_peer_gets_no_more_than_its_share_of_answers() {
    let mut line = Line::new(3);
    line.run(400);
    let begin = line.now;
    for _ in 0..180 {
        // Each asks for the metrics of the one in the middle.
        let question = Message { want_response: true, ..Message::new(num(1), 0, TELEMETRY_PORT, &[]) };
        let _ = line.stations[0].send(line.now, &question);
        line.run(20);
    }
    let (answers, us) = line.originated(1, begin, Some(num(0)));
    assert!(answers > 40 && us <= 2 * PART_US + 3_000_000, "{answers} answers, {us} us");
}
