//! The task between people and the node: a message comes in as an event, its answer leaves through the governor's door.

use std::time::Duration;

use compotastic_daemon::{
    people::{self, PeopleConfig},
    seam::{Command, Event, JobAnswer, JobState, JobView, NodeHandle, OutText, Snapshot, TextMessage},
};
use tokio::sync::mpsc;

const US: u32 = 0x0e00_0001;
const ALICE: u32 = 0x0a00_0001;

/// A node that answers each job after a moment, and notes what it is to send.
fn node() -> (NodeHandle, tokio::sync::broadcast::Sender<Event>, mpsc::Receiver<OutText>) {
    let (handle, mut commands, events) = NodeHandle::new();
    let (sent, seen) = mpsc::channel(16);
    let tell = events.clone();
    tokio::spawn(async move {
        let mut jobs = 0;
        while let Some(command) = commands.recv().await {
            match command {
                Command::Snapshot(reply) => {
                    let _ =
                        reply.send(Snapshot { num: US, preset: "LONG_FAST".into(), ..Snapshot::default() });
                }
                Command::Submit(spec, reply) => {
                    jobs += 1;
                    let mut job = JobView { id: jobs, spec, submitted_ms: 0, state: JobState::Queued };
                    // One that fails at once, one that is answered before its submitter knows its number, others later.
                    let early = job.spec.text.contains("early");
                    if job.spec.text.contains("refuse") {
                        let _ = reply.send(Err("no model".into()));
                        continue;
                    }
                    let text = Some(format!("About {}", job.spec.text));
                    let done = JobState::Done(JobAnswer { text, ..JobAnswer::default() });
                    if early {
                        job.state = done;
                        let _ = tell.send(Event::Job(job.clone()));
                        let _ = reply.send(Ok(job));
                        continue;
                    }
                    let _ = reply.send(Ok(job.clone()));
                    let tell = tell.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        job.state = done;
                        let _ = tell.send(Event::Job(job));
                    });
                }
                Command::SendText(text, reply) => {
                    let _ = reply.send(Ok(1));
                    let _ = sent.send(text).await;
                }
                _ => {}
            }
        }
    });
    (handle, events, seen)
}

fn direct(id: u32, text: &str) -> Event {
    let text = text.to_owned();
    Event::Text(TextMessage { from: ALICE, to: US, id, text, proven: true, ..TextMessage::default() })
}

async fn next(seen: &mut mpsc::Receiver<OutText>) -> OutText {
    tokio::time::timeout(Duration::from_secs(10), seen.recv()).await.expect("in time").expect("a text")
}

#[tokio::test]
async fn a_message_is_answered_and_the_task_ends_with_the_node() {
    let (handle, events, mut seen) = node();
    let config = PeopleConfig { allow: vec!["!0a000001".into()], ..PeopleConfig::default() };
    let task = tokio::spawn(people::run(handle, config));
    // Until it listens.
    while events.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for (id, text, said) in [(1, "snow", "About snow"), (2, "early birds", "About early birds")] {
        events.send(direct(id, text)).unwrap();
        let answer = next(&mut seen).await;
        assert_eq!((answer.text.as_str(), answer.to, answer.reply_to), (said, ALICE, Some(id)));
    }
    events.send(direct(3, "help")).unwrap();
    assert!(next(&mut seen).await.text.contains("@ai"));
    events.send(direct(4, "refuse this")).unwrap();
    assert!(next(&mut seen).await.text.starts_with("Busy"));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_and_a_node_that_is_gone_ends_it() {
    let (handle, commands, events) = NodeHandle::new();
    let wrong = PeopleConfig { trigger: String::new(), ..PeopleConfig::default() };
    let error = people::run(handle.clone(), wrong).await.unwrap_err();
    assert!(error.to_string().contains("trigger"));
    drop((commands, events));
    people::run(handle, PeopleConfig::default()).await.unwrap();
}
