//! Members that say anything about letters: nothing panics, what waits to be sent stays bounded, and a real question is answered all the
//! same.

mod common;

use common::{Mate, agent, at, events, sent};
use compotastic_mesh::{packet::NodeNum, time::Duration};
use compotastic_node::{AgentEvent, Kind, policy::Priority, talk::TALK_TEXT_MAX};
use compotastic_wire::{Award, Frame, JobResult, Offer, Part, PartRequest, Request, ResultStatus};
use proptest::prelude::*;

const STATUSES: [ResultStatus; 8] = [
    ResultStatus::Ok,
    ResultStatus::Unsure,
    ResultStatus::Busy,
    ResultStatus::Unsupported,
    ResultStatus::Declined,
    ResultStatus::Received,
    ResultStatus::Working,
    ResultStatus::Failed,
];

#[derive(Clone, Debug)]
struct Said {
    what: u8,
    from: u8,
    job: u16,
    a: u8,
    b: u8,
    flag: bool,
    bytes: Vec<u8>,
}

fn said() -> impl Strategy<Value = Said> {
    let lengths = prop_oneof![0usize..12, Just(199), Just(200), Just(201)];
    let bytes = lengths.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    (0u8..6, 0u8..3, 0u16..6, any::<u8>(), any::<u8>(), any::<bool>(), bytes)
        .prop_map(|(what, from, job, a, b, flag, bytes)| Said { what, from, job, a, b, flag, bytes })
}

fn frame(said: &Said) -> Option<Frame<'_>> {
    let Said { job, a, b, flag, ref bytes, .. } = *said;
    Some(match said.what {
        0 => Frame::Request(Request {
            kind: 1 + a % 3,
            priority: a >> 4 & 3,
            wants_offers: flag,
            task: b,
            deadline_code: 5,
            wake: 0,
            back: Some(job),
            codec: b,
            text: bytes,
        }),
        1 => {
            let parts = 2 + a % 6;
            let part = 1 + b % (parts - 1);
            let bytes = Some(bytes).filter(|bytes| !bytes.is_empty())?;
            Frame::Part(Part { job, part, parts, of_answer: flag, tag: a >> 6, bytes })
        }
        2 => Frame::PartRequest(PartRequest { job, of_answer: flag, missing: (a & 127).max(1) }),
        3 => Frame::Award(Award { job }),
        4 => Frame::Offer(Offer { job, suitability: a, wait_s: b }),
        _ => {
            let status = STATUSES[usize::from(a % 8)];
            let text = flag.then_some((b, bytes.as_slice()));
            Frame::Result(JobResult {
                requester: None,
                job,
                status,
                confidence: 0,
                class: a >> 6,
                model_version: 1,
                text,
            })
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_that_members_say_does_harm(all in proptest::collection::vec((said(), 0u64..40), 1..120)) {
        let mut node = agent(NodeNum(1));
        let mut mates = [Mate::new(0x0a00_0001), Mate::new(0x0a00_0002), Mate::new(0x0a00_0003)];
        node.set_offers(at(0), true, true);
        let mut now = at(600);
        mates[0].beacons(&mut node, now);
        let lifetime = Duration::from_secs(600);
        for (said, wait) in &all {
            // Ids of the mates begin at 1, so small references are jobs of theirs, or of ours.
            let _ = node.submit_job(now, Kind::Chat, "what now?", Priority::Low, lifetime, 0);
            if let Some(frame) = frame(said) {
                let to = node.num();
                mates[usize::from(said.from)].says(&mut node, now, to, &frame);
            }
            let mut buffer = [0; TALK_TEXT_MAX];
            for event in events(&mut node) {
                match event {
                    AgentEvent::Execute(ticket) => {
                        let text = node.ticket_long_text(ticket, &mut buffer).map(str::to_owned);
                        match node.ticket_kind(ticket) {
                            Some(Kind::Chat) => drop(node.complete_text(now, ticket, "words", 1)),
                            Some(Kind::Embed) => drop(node.complete_vector(now, ticket, &[1.0, 2.0], 1)),
                            kind => panic!("{kind:?} of {text:?}"),
                        }
                    }
                    AgentEvent::AnsweredText { job, .. } => {
                        let _ = node.answer_text(job, &mut buffer);
                        let _ = node.answer_vector(job, &mut [0.0; 99]);
                    }
                    _ => {}
                }
            }
            prop_assert!(sent(&mut node, now).len() <= 64);
            now = now + Duration::from_secs(*wait);
        }
        // And then a person asks: once what was begun has lapsed, there is room.
        now = now + Duration::from_secs(1200);
        sent(&mut node, now);
        events(&mut node);
        let mut asker = Mate::new(0x0b00_0001);
        let question = Request {
            kind: 1,
            priority: 1,
            wants_offers: false,
            task: 0,
            deadline_code: 5,
            wake: 0,
            back: None,
            codec: 0,
            text: b"is anybody there?",
        };
        let to = node.num();
        asker.says(&mut node, now, to, &Frame::Request(question));
        let asked = events(&mut node).into_iter().any(|event| matches!(event, AgentEvent::Execute(_)));
        prop_assert!(asked);
    }
}
