//! Jobs over the mesh: asked at one daemon's node, answered by the models of another.

mod mesh_of_cores;

use std::sync::Arc;

use compotastic_daemon::{
    brain::TaskNames,
    seam::{Brain as _, Command, Event, JobKind, JobSpec, JobState},
};
use mesh_of_cores::{Echo, World, spec};

/// A node with models and one without.
fn two(name: &str) -> (World, usize, usize) {
    let mut world = World::new(name);
    let edge = world.add(Some(Arc::new(Echo)), true);
    let asker = world.add(None, true);
    (world, edge, asker)
}

#[test]
fn each_kind_of_job_is_answered_by_the_other_node() {
    let (mut world, edge, asker) = two("kinds");
    world.run(300);
    let known =
        world.snapshot(asker).nodes.into_iter().find(|node| node.member && node.foundation_model).unwrap();
    assert_eq!(known.answers, [JobKind::Classify, JobKind::Chat, JobKind::Embed]);
    for (kind, text) in [
        (JobKind::Classify, "fire below the hut"),
        (JobKind::Chat, "where is the spring"),
        (JobKind::Embed, "where is the spring"),
    ] {
        let job = world.submit(asker, spec(kind, text)).unwrap();
        let JobState::Done(answer) = world.finish(asker, job.id, 900).state else {
            panic!("{kind:?}: {:?}", world.job(asker, job.id));
        };
        assert_eq!(answer.by, world.nodes[edge].radio.num);
        assert!(answer.attempts >= 1 && answer.latency_ms > 0, "{answer:?}");
        match kind {
            // Names of classes are the task's, which this node was not told.
            JobKind::Classify => assert_eq!(answer.class.as_deref(), Some("class 1")),
            JobKind::Chat => assert_eq!(answer.text.as_deref(), Some("you said: where is the spring")),
            JobKind::Embed => assert_eq!(answer.embedding.map(|vector| vector.len()), Some(8)),
        }
    }
    let told: Vec<&str> = world.nodes[asker]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Job(view) if view.id == 1 => Some(match view.state {
                JobState::Queued => "queued",
                JobState::Running { .. } => "running",
                JobState::Done(_) => "done",
                _ => "other",
            }),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["queued", "running", "done"]);
}

/// A node without a model that knows the task names the class, and still asks the other one.
#[test]
fn classes_have_the_names_of_the_task_also_without_a_model() {
    let mut world = World::new("names");
    let edge = world.add(Some(Arc::new(Echo)), true);
    let names = TaskNames::new(Echo.classes());
    let asker = world.add(Some(Arc::new(names)), true);
    world.run(300);
    assert_eq!(world.snapshot(asker).model, None);
    let job = world.submit(asker, spec(JobKind::Classify, "fire below the hut")).unwrap();
    let JobState::Done(answer) = world.finish(asker, job.id, 900).state else { panic!("not answered") };
    assert_eq!((answer.by, answer.class.as_deref()), (world.nodes[edge].radio.num, Some("fire")));
    let here = world.nodes[asker].radio.num;
    let shown = world.snapshot(edge).nodes.into_iter().find(|node| node.num == here).unwrap();
    assert!(shown.member && !shown.foundation_model && shown.answers.is_empty(), "{shown:?}");
}

#[test]
fn a_node_with_models_answers_itself_and_spends_no_air() {
    let mut world = World::new("itself");
    let alone = world.add(Some(Arc::new(Echo)), false);
    let job = world.submit(alone, spec(JobKind::Chat, "hello")).unwrap();
    let JobState::Done(answer) = world.job(alone, job.id).state else { panic!("not answered") };
    assert_eq!((answer.attempts, answer.text.as_deref()), (0, Some("you said: hello")));
    world.run(3600);
    assert!(world.nodes[alone].given.is_empty(), "no swarm is joined: it listens only");
}

#[test]
fn a_job_survives_the_death_of_its_daemon_with_the_time_that_is_left() {
    let (mut world, edge, asker) = two("death");
    world.nodes[edge].deaf = true;
    let long = world.submit(asker, JobSpec { deadline_s: Some(7200), ..spec(JobKind::Chat, "one") }).unwrap();
    let short = world.submit(asker, JobSpec { deadline_s: Some(600), ..spec(JobKind::Chat, "two") }).unwrap();
    world.run(300);
    world.restart(asker);
    world.pass(600);
    world.restart(asker);
    let JobState::Failed { reason } = world.job(asker, short.id).state else { panic!("not ended") };
    assert!(reason.contains("while the daemon was not running"), "{reason}");
    world.nodes[edge].deaf = false;
    let JobState::Done(answer) = world.finish(asker, long.id, 6000).state else { panic!("not answered") };
    assert_eq!(answer.text.as_deref(), Some("you said: one"));
    let next = world.submit(asker, spec(JobKind::Chat, "three")).unwrap();
    assert!(next.id > short.id);
}

#[test]
fn nobody_there_ends_with_a_reason_at_the_deadline() {
    let mut world = World::new("nobody");
    let asker = world.add(None, true);
    let job = world.submit(asker, JobSpec { deadline_s: Some(900), ..spec(JobKind::Chat, "hello") }).unwrap();
    let start = world.now;
    let JobState::Failed { reason } = world.finish(asker, job.id, 2000).state else { panic!("not ended") };
    assert!(reason.contains("no node that answers such jobs"), "{reason}");
    let took = world.now.saturating_duration_since(start).as_secs();
    assert!((900..=931).contains(&took), "{took}");
}

#[test]
fn more_jobs_than_the_agent_takes_wait_their_turn_and_are_all_answered() {
    let (mut world, _, asker) = two("many");
    world.run(300);
    let ids: Vec<u64> = (0..40)
        .map(|index| world.submit(asker, spec(JobKind::Classify, &format!("report {index}"))).unwrap().id)
        .collect();
    assert!(matches!(world.job(asker, ids[39]).state, JobState::Queued));
    let all = world.run_until(3500, |world| {
        ids.iter().all(|id| matches!(world.job(asker, *id).state, JobState::Done(_)))
    });
    assert!(all, "{:?}", ids.iter().map(|id| world.job(asker, *id).state).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_job_ends_once_and_its_answer_is_ignored() {
    let (mut world, _, asker) = two("cancel");
    world.run(300);
    let job = world.submit(asker, spec(JobKind::Chat, "hello")).unwrap();
    assert!(world.command(asker, |reply| Command::Cancel(job.id, reply)).try_recv().unwrap());
    assert!(!world.command(asker, |reply| Command::Cancel(job.id, reply)).try_recv().unwrap());
    world.run(600);
    assert_eq!(world.job(asker, job.id).state, JobState::Cancelled);
}

#[test]
fn the_failure_of_a_model_is_told_to_who_asked() {
    let (mut world, edge, asker) = two("failure");
    world.run(300);
    let job = world.submit(asker, spec(JobKind::Chat, "please fail")).unwrap();
    let JobState::Failed { reason } = world.finish(asker, job.id, 900).state else { panic!("not failed") };
    assert!(reason.contains("model of the node that was asked failed"), "{reason}");
    // At the node itself the mesh is asked, where nobody else has a model.
    let job =
        world.submit(edge, JobSpec { deadline_s: Some(700), ..spec(JobKind::Chat, "please fail") }).unwrap();
    assert!(matches!(world.finish(edge, job.id, 900).state, JobState::Failed { .. }));
}
