//! What people on stock phones get, rule by rule; and that no flood of strangers costs more air than their budget.

use std::time::Duration;

use compotastic_daemon::{
    people::{Action, Desk, PeopleConfig, airtime_ms, words::PACKET_MAX},
    seam::{AirtimeView, JobAnswer, JobState, OutText, Snapshot, TextMessage},
};
use proptest::prelude::*;

const US: u32 = 0x0e00_0001;
const ALICE: u32 = 0x0a00_0001;
const BOB: u32 = 0x0b00_0001;
const EVERYBODY: u32 = u32::MAX;

fn airtime(length: usize) -> f64 {
    airtime_ms("LONG_FAST", length)
}

fn config() -> PeopleConfig {
    PeopleConfig { allow: vec!["!0a000001".to_owned()], ..PeopleConfig::default() }
}

/// A desk, what it did, and the questions that it submitted.
struct Try {
    desk: Desk,
    jobs: u64,
    asked: Vec<(u64, String, u16)>,
    sent: Vec<OutText>,
    next_id: u32,
}

impl Try {
    fn new(config: PeopleConfig) -> Self {
        Self::of(US, config)
    }

    fn of(own: u32, config: PeopleConfig) -> Self {
        let mut desk = Desk::new(config).unwrap();
        desk.handle_state(Snapshot { num: own, preset: "LONG_FAST".to_owned(), ..Snapshot::default() });
        Self { desk, jobs: 0, asked: Vec::new(), sent: Vec::new(), next_id: 1 }
    }

    fn direct(&mut self, second: u64, from: u32, text: &str) -> u32 {
        self.message(second, TextMessage { from, to: US, text: text.to_owned(), ..TextMessage::default() })
    }

    fn channel(&mut self, second: u64, from: u32, channel: u8, text: &str) -> u32 {
        let text = text.to_owned();
        self.message(second, TextMessage { from, to: EVERYBODY, channel, text, ..TextMessage::default() })
    }

    /// Alice's messages prove that they are hers.
    fn message(&mut self, second: u64, message: TextMessage) -> u32 {
        let id = if message.id == 0 { self.next_id } else { message.id };
        self.next_id += 1;
        let proven = message.from == ALICE;
        self.desk.handle_text(at(second), &TextMessage { id, proven, ..message });
        self.drain(second);
        id
    }

    fn forged(&mut self, second: u64, id: u32, text: &str) {
        let text = text.to_owned();
        self.desk.handle_text(
            at(second),
            &TextMessage { from: ALICE, to: US, id, text, ..TextMessage::default() },
        );
        self.drain(second);
    }

    fn drain(&mut self, second: u64) {
        while let Some(action) = self.desk.poll_action() {
            match action {
                Action::Submit { key, spec } => {
                    self.jobs += 1;
                    self.asked.push((self.jobs, spec.text, spec.max_chars.unwrap()));
                    self.desk.handle_submitted(at(second), key, Ok(self.jobs));
                }
                Action::Send(text) => {
                    assert!(text.text.len() <= PACKET_MAX && !text.text.is_empty());
                    self.sent.push(text);
                }
                Action::Cancel { .. } => {}
            }
        }
    }

    fn answer(&mut self, second: u64, job: u64, text: &str) {
        let answer = JobAnswer { text: Some(text.to_owned()), ..JobAnswer::default() };
        self.desk.handle_job(at(second), job, &JobState::Done(answer));
        self.drain(second);
    }

    fn texts(&self) -> Vec<&str> {
        self.sent.iter().map(|text| text.text.as_str()).collect()
    }

    fn gate(&mut self, gate: &str) {
        let airtime = AirtimeView { gate: gate.to_owned(), ..AirtimeView::default() };
        let preset = "LONG_FAST".to_owned();
        self.desk.handle_state(Snapshot { airtime, preset, ..Snapshot::default() });
    }
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

const BUSY: &str = "Busy, please ask again later.";

#[test]
fn a_direct_message_is_answered_as_a_reply_to_its_sender_alone() {
    let mut run = Try::new(config());
    let id = run.direct(10, ALICE, "How do I splint an ankle?");
    assert_eq!(run.asked, [(1, "How do I splint an ankle?".to_owned(), 376)]);
    run.answer(20, 1, "With two sticks and a shirt.");
    let text = "With two sticks and a shirt.".to_owned();
    assert_eq!(run.sent, [OutText { to: ALICE, channel: 0, text, reply_to: Some(id) }]);
}

/// A shared radio, and one that comes late, tell who they are after the desk has begun; one that is exchanged tells it anew.
#[test]
fn who_the_node_is_may_become_known_later_and_change() {
    let mut run = Try::of(0, config());
    run.direct(1, ALICE, "are you there?");
    assert!(run.asked.is_empty(), "nobody knows who is meant");
    run.desk.handle_state(Snapshot { num: US, ..Snapshot::default() });
    run.direct(10, ALICE, "and now?");
    assert_eq!(run.asked.len(), 1);
    // The node's task starts anew: until its radio has told it has no number.
    run.desk.handle_state(Snapshot::default());
    run.direct(90, ALICE, "and then?");
    assert_eq!(run.asked.len(), 2);
    run.desk.handle_state(Snapshot { num: US + 1, ..Snapshot::default() });
    run.direct(200, ALICE, "for the radio before");
    assert_eq!(run.asked.len(), 2);
}

/// A text costs the strangers' budget what it costs on the preset that the radio has now.
#[test]
fn the_preset_is_the_one_of_now() {
    let short = PeopleConfig { strangers_airtime_s_per_hour: 6, answers_per_10_min: 99, ..config() };
    let answered = |preset: &str| {
        let mut run = Try::of(0, short.clone());
        let preset = preset.to_owned();
        run.desk.handle_state(Snapshot { num: US, preset, ..Snapshot::default() });
        for index in 0..20 {
            run.direct(index, 0x0c00_0000 + index as u32, "help");
        }
        run.texts().iter().filter(|text| text.contains("@ai")).count()
    };
    assert_eq!((answered("LONG_SLOW"), answered("SHORT_FAST")), (0, 20));
}

#[test]
fn on_a_channel_the_trigger_is_needed_and_the_answer_goes_to_whoever_asked() {
    let mut run = Try::new(PeopleConfig { channels: vec![1, 2], public_channels: vec![2], ..config() });
    run.channel(1, ALICE, 1, "good morning all");
    run.channel(2, ALICE, 0, "@ai not looked at on this channel");
    assert!(run.asked.is_empty());
    run.channel(30, ALICE, 1, "@AI: is the pass open?");
    run.channel(60, ALICE, 2, "@ai is the hut open?");
    let asked: Vec<&str> = run.asked.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(asked, ["is the pass open?", "is the hut open?"]);
    run.answer(70, 1, "Yes.");
    run.answer(90, 2, "No.");
    let to: Vec<(u32, u8)> = run.sent.iter().map(|text| (text.to, text.channel)).collect();
    assert_eq!(to, [(ALICE, 1), (EVERYBODY, 2)]);
}

#[test]
fn help_and_status_need_no_model() {
    let mut run = Try::new(config());
    run.direct(1, ALICE, "help");
    run.channel(100, BOB, 0, "@ai status");
    assert!(run.asked.is_empty());
    assert!(run.texts()[0].contains("@ai") && run.texts()[1].contains("nodes"), "{:?}", run.texts());
}

#[test]
fn a_long_answer_is_shortened_by_the_model_and_never_cut_within_a_word() {
    let mut run = Try::new(config());
    run.direct(1, ALICE, "Tell me all about avalanches");
    let long = "Avalanches come down where snow lies thirty degrees steep or more. ".repeat(12);
    run.answer(5, 1, &long);
    assert!(run.sent.is_empty());
    let (job, order, max_chars) = run.asked[1].clone();
    assert!(order.starts_with("Shorten this to at most 300 characters") && order.contains(long.trim()));
    assert_eq!(max_chars, 300);
    // The model does not keep to it: then it is cut, at a word, over two packets.
    run.answer(9, job, &long);
    let texts = run.texts();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].ends_with("more.") && texts[1].ends_with("more."), "{texts:?}");
    assert!(run.sent.iter().all(|text| text.reply_to == run.sent[0].reply_to));
}

#[test]
fn an_answer_never_begins_with_the_trigger() {
    let mut run = Try::new(PeopleConfig { public_channels: vec![0], ..config() });
    run.channel(1, ALICE, 0, "@ai say: @ai what is snow?");
    run.answer(30, 1, "@ai what is snow?");
    assert_eq!(run.texts(), ["what is snow?"]);
}

#[test]
fn the_same_message_is_answered_once() {
    let mut run = Try::new(config());
    let first =
        TextMessage { from: ALICE, to: US, id: 77, text: "where is north?".into(), ..TextMessage::default() };
    run.message(1, first.clone());
    run.message(3, first.clone());
    run.message(30, TextMessage { id: 78, ..first.clone() });
    assert_eq!(run.asked.len(), 1);
    run.message(200, TextMessage { id: 79, ..first });
    assert_eq!(run.asked.len(), 2, "asked again later it is a question again");
}

#[test]
fn a_trusted_number_counts_only_where_it_is_proven() {
    let mut run = Try::new(PeopleConfig { strangers: false, ..config() });
    run.forged(1, 1, "I am Alice");
    run.direct(2, BOB, "I am Bob");
    assert!(run.asked.is_empty() && run.sent.is_empty());
    run.direct(3, ALICE, "I am Alice, and prove it");
    assert_eq!(run.asked.len(), 1);
}

#[test]
fn who_borrows_a_trusted_number_spends_nothing_of_its_budget() {
    let mut run = Try::new(config());
    for id in 1000..1100 {
        run.forged(1, id, &format!("forged {id}"));
    }
    assert_eq!(run.asked.len(), 2, "a stranger's share");
    run.direct(30, ALICE, "the real one");
    assert_eq!(run.asked.len(), 3);
}

#[test]
fn a_sender_has_a_budget_and_is_told_busy_once_in_ten_minutes() {
    let mut run = Try::new(config());
    for index in 0..20 {
        run.direct(20 * index, ALICE, &format!("question {index}"));
        let job = run.jobs;
        run.answer(20 * index + 1, job, "Answer.");
    }
    // Six at once, and one each hundred seconds.
    assert_eq!(run.asked.len(), 6 + 3);
    assert_eq!(run.texts().iter().filter(|text| **text == BUSY).count(), 1);
    run.direct(3000, ALICE, "later");
    assert_eq!(run.asked.len(), 10);
}

#[test]
fn while_the_gate_is_shut_it_is_politely_silent() {
    for gate in ["hard", "duty-cycle", "quiet-hours"] {
        let mut run = Try::new(config());
        run.gate(gate);
        for index in 0..10 {
            run.direct(60 + 30 * index, ALICE, &format!("question {index}"));
        }
        run.channel(400, BOB, 0, "@ai help");
        assert!(run.asked.is_empty());
        assert_eq!(run.texts(), [BUSY; 2], "once each");
        run.gate("polite");
        run.direct(420, ALICE, "and now?");
        assert_eq!(run.asked.len(), 1);
    }
}

/// Bulk alone waits for telemetry; and what is asked in the first minute waits at the governor's door, as a refusal would have to.
#[test]
fn right_after_the_start_people_are_answered() {
    for gate in ["starting", "no-telemetry"] {
        let mut run = Try::new(config());
        run.gate(gate);
        run.direct(10, ALICE, "where is north?");
        run.direct(30, BOB, "help");
        assert_eq!((run.asked.len(), run.sent.len()), (1, 1), "{gate}");
        assert!(run.texts()[0].contains("@ai"), "{:?}", run.texts());
    }
}

/// What cannot be sent is not thought about.
#[test]
fn a_node_that_only_listens_asks_no_model() {
    let mut run = Try::new(config());
    run.desk.handle_state(Snapshot { num: US, mode: "listening".into(), ..Snapshot::default() });
    run.direct(10, ALICE, "where is north?");
    run.desk.handle_state(Snapshot { num: US, mode: "hosted".into(), ..Snapshot::default() });
    assert!(run.asked.is_empty() && run.sent.is_empty());
    run.direct(20, ALICE, "where is north?");
    assert_eq!(run.asked.len(), 1);
}

#[test]
fn who_was_told_busy_may_ask_the_same_again_at_once() {
    let mut run = Try::new(config());
    run.gate("hard");
    run.direct(10, ALICE, "where is north?");
    assert_eq!(run.texts(), [BUSY]);
    run.gate("open");
    run.direct(30, ALICE, "where is north?");
    assert_eq!(run.asked.len(), 1);
    run.direct(40, ALICE, "where is north?");
    assert_eq!(run.asked.len(), 1, "now it is at work");
    run.desk.handle_job(at(45), 1, &JobState::Failed { reason: "no model".into() });
    run.drain(45);
    run.direct(50, ALICE, "where is north?");
    assert_eq!(run.asked.len(), 2, "it had no answer");
}

#[test]
fn nothing_is_said_to_ourselves_to_replies_or_on_other_matters() {
    let mut run = Try::new(config());
    run.direct(1, US, "a message of our own");
    let text = "thanks!".to_owned();
    run.message(2, TextMessage { from: BOB, to: US, reply_to: Some(5), text, ..TextMessage::default() });
    run.message(
        3,
        TextMessage { from: BOB, to: ALICE, text: "@ai for Alice".into(), ..TextMessage::default() },
    );
    run.direct(4, BOB, "  ");
    assert!(run.asked.is_empty() && run.sent.is_empty());
    let mut off = Try::new(PeopleConfig { enabled: false, ..config() });
    off.direct(1, ALICE, "help");
    assert!(off.sent.is_empty());
}

/// Two such nodes on a channel where both answer publicly, and one that asks: one answer each, and silence.
#[test]
fn two_of_us_do_not_talk_to_each_other() {
    let config = PeopleConfig { public_channels: vec![0], answers_per_10_min: 99, ..config() };
    let mut nodes = [Try::of(US, config.clone()), Try::of(BOB, config)];
    for node in &mut nodes {
        node.channel(1, ALICE, 0, "@ai how deep is the snow?");
    }
    for second in 2..200 {
        for index in 0..2 {
            let jobs = nodes[index].jobs;
            nodes[index].answer(second, jobs, "@ai how deep is the snow?");
            for OutText { to, channel, text, reply_to } in std::mem::take(&mut nodes[index].sent) {
                let (from, id) = ([US, BOB][index], 5000 + second as u32 * 2 + index as u32);
                let heard = TextMessage { from, to, id, channel, text, reply_to, proven: true };
                nodes[1 - index].message(second, heard);
            }
        }
    }
    assert_eq!((nodes[0].asked.len(), nodes[1].asked.len()), (1, 1));
}

/// Another maker's program that answers each direct message at once, and says nothing of what it replies to.
#[test]
fn a_program_that_answers_at_once_is_left_alone() {
    let generous = PeopleConfig { answers_per_10_min: 1000, strangers_airtime_s_per_hour: 3600, ..config() };
    let mut run = Try::new(generous);
    let mut second = 10;
    run.direct(second, BOB, "hello");
    for round in 0..100 {
        let jobs = run.jobs;
        run.answer(second + 1, jobs, "Good day.");
        if run.sent.is_empty() {
            break;
        }
        run.sent.clear();
        second += 3;
        run.direct(second, BOB, &format!("I do not understand: Good day. {round}"));
    }
    assert_eq!(run.asked.len(), 4);
    run.direct(second + 1800, BOB, "still there?");
    assert_eq!(run.asked.len(), 4);
    run.direct(second + 3700, BOB, "a person now");
    assert_eq!(run.asked.len(), 5);
}

#[test]
fn a_job_that_fails_or_never_ends_is_told_as_busy() {
    let mut run = Try::new(config());
    run.direct(1, ALICE, "one");
    run.desk.handle_job(at(9), 1, &JobState::Failed { reason: "no model".into() });
    run.drain(9);
    assert_eq!(run.texts(), [BUSY]);
    run.direct(700, ALICE, "two");
    assert_eq!(run.desk.open_questions(), 1);
    run.desk.handle_timeout(at(700 + 300 + 60));
    run.drain(1100);
    assert_eq!((run.desk.open_questions(), run.sent.len()), (0, 2));
}

#[derive(Clone, Debug)]
struct Flood {
    wait_s: u64,
    from: u32,
    direct: bool,
    text: String,
    answer_len: usize,
}

fn flood() -> impl Strategy<Value = Vec<Flood>> {
    let text = "(@ai )?(help|status|[a-zé ]{0,40}|[a-z]{300})";
    let one = (0u64..60, any::<u32>(), any::<bool>(), text, 0usize..900);
    let one = one.prop_map(|(wait_s, from, direct, text, answer_len)| Flood {
        wait_s: wait_s / 8,
        // A few that write often, many that write once.
        from: if from % 3 == 0 { from % 8 + 1 } else { from },
        direct,
        text,
        answer_len,
    });
    proptest::collection::vec(one, 1..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn strangers_together_cost_no_more_air_than_their_budget(messages in flood(), budget_s in 0u32..120) {
        let config = PeopleConfig { strangers_airtime_s_per_hour: budget_s, public_channels: vec![0], ..config() };
        let mut run = Try::new(config);
        let mut second = 0;
        for message in messages {
            second += message.wait_s;
            if message.direct {
                run.direct(second, message.from, &message.text);
            } else {
                run.channel(second, message.from, 0, &message.text);
            }
            let jobs = run.jobs;
            run.answer(second, jobs, &"word ".repeat(message.answer_len / 5));
            run.desk.handle_timeout(at(second));
            run.drain(second);
            let spent: f64 = run.sent.iter().map(|text| airtime(text.text.len())).sum();
            let budget = f64::from(budget_s) * 1000.0 * (1.0 + second as f64 / 3600.0);
            prop_assert!(spent <= budget + 1e-6, "{} ms of {} ms after {} s", spent, budget, second);
        }
    }
}
