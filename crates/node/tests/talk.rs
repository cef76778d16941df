//! Jobs in words between agents whose frames are lost, doubled and overtake each other: each ends once, with the answer as it was given
//! or with a reason; a restart on either side joins no halves of two answers.

mod common;

use common::{Flash, Node, agent, at, events, restarted, sent};
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, AgentEvent, JobFailure, Kind, SubmitError, Ticket, Trouble,
    agent::{InFrame, OutFrame},
    jobs::TALKS,
    letters::PART_LEN,
    policy::Priority,
    talk::{TALK_TEXT_MAX, text_fits},
};
use proptest::prelude::*;

const ASKER: NodeNum = NodeNum(1);
const MODEL: NodeNum = NodeNum(2);

/// A text that no coder makes short.
fn dense(length: usize, salt: usize) -> String {
    (0..length)
        .map(|index| char::from(b'!' + ((index * 31 + index / 7 * 17 + salt * 13) % 90) as u8))
        .collect()
}

/// What happens to frames.
#[derive(Clone, Copy, Debug)]
struct Air {
    loss_percent: u32,
    double_percent: u32,
    /// Each takes up to so long.
    delay_s: u32,
}

struct Pair {
    nodes: [Node; 2],
    /// When, to whom, from whom.
    flying: Vec<(Instant, usize, OutFrame)>,
    air: Air,
    rng: Rng,
    now: Instant,
    /// The model's answers in words, by how often it was asked.
    executions: usize,
    answer_len: usize,
    frames: usize,
    bytes: usize,
}

impl Pair {
    fn new(air: Air, seed: u64, answer_len: usize) -> Self {
        let mut nodes = [agent(ASKER), agent(MODEL)];
        nodes[1].set_offers(at(0), true, true);
        let rng = Rng::from_seed(seed);
        let (flying, now) = (Vec::new(), at(0));
        Self { nodes, flying, air, rng, now, executions: 0, answer_len, frames: 0, bytes: 0 }
    }

    fn offer_and_meet(&mut self) {
        let calm = Air { loss_percent: 0, double_percent: 0, delay_s: 0 };
        let air = std::mem::replace(&mut self.air, calm);
        self.run(600);
        self.air = air;
    }

    /// Runs for so many seconds; what the asker was told.
    fn run(&mut self, seconds: u64) -> Vec<AgentEvent> {
        let until = self.now + Duration::from_secs(seconds);
        let mut told = Vec::new();
        while self.now < until {
            self.now = self.now + Duration::from_secs(1);
            let now = self.now;
            let (due, later) =
                std::mem::take(&mut self.flying).into_iter().partition(|(arrives, ..)| *arrives <= now);
            self.flying = later;
            let mut due: Vec<(Instant, usize, OutFrame)> = due;
            due.sort_by_key(|(arrives, ..)| *arrives);
            for (_, to, out) in due {
                let from = [MODEL, ASKER][to];
                let airtime = Duration::from_millis(600);
                let frame = InFrame {
                    from,
                    to: out.to,
                    id: out.id,
                    hops_away: Some(2),
                    airtime,
                    payload: &out.payload,
                };
                self.nodes[to].handle_frame(now, &frame);
            }
            for event in events(&mut self.nodes[1]) {
                if let AgentEvent::Execute(ticket) = event {
                    self.execute(ticket);
                }
            }
            told.extend(events(&mut self.nodes[0]));
            for from in 0..2 {
                for out in sent(&mut self.nodes[from], now) {
                    self.frames += 1;
                    self.bytes += out.payload.len();
                    let copies = 1 + u32::from(self.rng.below(100) < self.air.double_percent);
                    for _ in 0..copies {
                        if self.rng.below(100) >= self.air.loss_percent {
                            let delay = u64::from(self.rng.below(1000 * self.air.delay_s + 1));
                            self.flying.push((now + Duration::from_millis(delay), 1 - from, out.clone()));
                        }
                    }
                }
            }
        }
        told
    }

    fn execute(&mut self, ticket: Ticket) {
        let mut buffer = [0; TALK_TEXT_MAX];
        let question = self.nodes[1].ticket_long_text(ticket, &mut buffer).unwrap().to_owned();
        self.executions += 1;
        let answer = answer(&question, self.executions, self.answer_len);
        self.nodes[1].complete_text(self.now, ticket, &answer, 9).unwrap();
    }
}

/// The model answers differently each time.
fn answer(question: &str, executions: usize, length: usize) -> String {
    format!("{executions} {} {}", question.len(), dense(length, executions))
}

fn ask(
    agent: &mut Agent<'static, Flash>,
    now: Instant,
    text: &str,
) -> Result<compotastic_node::JobId, SubmitError> {
    agent.submit_job(now, Kind::Chat, text, Priority::Routine, Duration::from_secs(2 * 3600), 200)
}

fn words(agent: &Node, event: &AgentEvent) -> Option<String> {
    let AgentEvent::AnsweredText { job, answer } = event else { return None };
    let mut buffer = [0; TALK_TEXT_MAX];
    let text = agent.answer_text(*job, &mut buffer).expect("it was just told").to_owned();
    assert_eq!((answer.kind, answer.model, answer.by), (Kind::Chat, 9, MODEL));
    Some(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_question_ends_once(
        loss_percent in 0u32..45,
        double_percent in 0u32..60,
        delay_s in 0u32..15,
        seed in any::<u64>(),
        lengths in proptest::collection::vec((1usize..590, 1usize..760), 1..4),
    ) {
        let mut pair = Pair::new(Air { loss_percent, double_percent, delay_s }, seed, 0);
        pair.offer_and_meet();
        for (round, (question_len, answer_len)) in lengths.into_iter().enumerate() {
            pair.answer_len = answer_len;
            let question = dense(question_len, seed as usize % 1000 + round);
            let now = pair.now;
            let job = ask(&mut pair.nodes[0], now, &question).unwrap();
            let mut ended = Vec::new();
            for _ in 0..2 * 720 {
                for event in pair.run(10) {
                    if let Some(text) = words(&pair.nodes[0], &event) {
                        prop_assert_eq!(&text, &answer(question.trim(), pair.executions, answer_len));
                        ended.push(job);
                    } else if let AgentEvent::JobFailed { job, reason } = event {
                        // Nobody else could have been asked, and losses may eat two hours of tries.
                        prop_assert!(matches!(reason, JobFailure::NoAnswer | JobFailure::NoExecutor));
                        prop_assert!(loss_percent > 25, "{:?} at {} % loss", reason, loss_percent);
                        ended.push(job);
                    }
                }
                if !ended.is_empty() {
                    break;
                }
            }
            ended.extend(pair.run(60).iter().filter_map(|event| words(&pair.nodes[0], event).map(|_| job)));
            prop_assert_eq!(ended, vec![job]);
        }
    }

    /// The executor forgets all, at any moment: what arrives is one of its answers, whole.
    #[test]
    fn a_restart_joins_no_halves(seed in any::<u64>(), restart_after in 1u64..60, question_len in 1usize..500) {
        let mut pair = Pair::new(Air { loss_percent: 20, double_percent: 20, delay_s: 6 }, seed, 600);
        pair.offer_and_meet();
        let now = pair.now;
        let question = dense(question_len, 3);
        ask(&mut pair.nodes[0], now, &question).unwrap();
        let mut told = pair.run(restart_after);
        let now = pair.now;
        let [asker, model] = pair.nodes;
        let mut model = restarted(model, now);
        model.set_offers(now, true, true);
        pair.nodes = [asker, model];
        let mut texts = Vec::new();
        for _ in 0..720 {
            texts.extend(told.iter().filter_map(|event| words(&pair.nodes[0], event)));
            told = pair.run(10);
        }
        prop_assert_eq!(texts.len(), 1, "executions {}", pair.executions);
        let known: Vec<String> = (1..=pair.executions).map(|count| answer(question.trim(), count, 600)).collect();
        prop_assert!(known.contains(&texts[0]));
    }
}

/// The sizes that PROTOCOL.md promises: what a job costs where nothing is lost.
#[test]
fn what_a_job_costs() {
    for (question_len, answer_len, frames) in [(60, 60, 2), (150, 180, 2), (390, 590, 5), (590, 780, 7)] {
        let mut pair = Pair::new(Air { loss_percent: 0, double_percent: 0, delay_s: 1 }, 1, answer_len);
        pair.offer_and_meet();
        pair.run(20_000);
        (pair.frames, pair.bytes) = (0, 0);
        let now = pair.now;
        ask(&mut pair.nodes[0], now, &dense(question_len, 1)).unwrap();
        let told = pair.run(120);
        assert!(told.iter().any(|event| words(&pair.nodes[0], event).is_some()));
        println!(
            "question {question_len}, answer {answer_len}: {} frames, {} bytes",
            pair.frames, pair.bytes
        );
        assert!(
            (frames..=frames + 1).contains(&pair.frames),
            "a beacon may come in between: {}",
            pair.frames
        );
    }
}

#[test]
fn a_job_can_be_taken_back_and_a_node_has_room_for_four() {
    let mut pair = Pair::new(Air { loss_percent: 0, double_percent: 0, delay_s: 0 }, 1, 300);
    pair.offer_and_meet();
    let now = pair.now;
    let jobs: Vec<_> =
        (0..TALKS).map(|salt| ask(&mut pair.nodes[0], now, &dense(500, salt)).unwrap()).collect();
    assert_eq!(ask(&mut pair.nodes[0], now, "one more"), Err(SubmitError::Busy));
    assert!(pair.nodes[0].cancel_job(jobs[2]) && !pair.nodes[0].cancel_job(jobs[2]));
    assert!(ask(&mut pair.nodes[0], now, "one more").is_ok());
    let told = pair.run(600);
    let ended: Vec<u32> = told
        .iter()
        .filter_map(|event| match event {
            AgentEvent::AnsweredText { job, .. } => Some(job.0),
            _ => None,
        })
        .collect();
    assert_eq!(ended.len(), TALKS);
    assert!(!ended.contains(&jobs[2].0));
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let mut pair = Pair::new(Air { loss_percent: 0, double_percent: 0, delay_s: 0 }, 1, 300);
    pair.offer_and_meet();
    let now = pair.now;
    assert_eq!(ask(&mut pair.nodes[0], now, " \n"), Err(SubmitError::Empty));
    assert_eq!(ask(&mut pair.nodes[0], now, &dense(3 * PART_LEN + 1, 1)), Err(SubmitError::TooLong));
    assert!(ask(&mut pair.nodes[0], now, &dense(3 * PART_LEN, 1)).is_ok());
    assert!(text_fits(&dense(4 * PART_LEN, 1), false) && !text_fits(&dense(4 * PART_LEN + 1, 1), false));
    // A request that comes while the model has its hands full is refused, and comes again.
    let told = pair.run(120);
    assert!(told.iter().any(|event| words(&pair.nodes[0], event).is_some()));
    let unknown = Ticket { requester: ASKER, reference: 1 };
    assert!(pair.nodes[1].complete_text(now, unknown, "late", 9).is_err());
    pair.nodes[1].complete_failed(now, unknown, Trouble::Model);
}
