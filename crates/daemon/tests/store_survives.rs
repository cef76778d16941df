//! A store whose process is killed in the middle of writes has all that it acknowledged.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use compotastic_daemon::{
    seam::{JobAnswer, JobKind, JobPriority, JobSpec, JobState, JobView, NodeView},
    store::{JOBS, JobFilter, Store},
};
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};

const CHILD: &str = "COMPOTASTIC_TEST_STORE";
const ROUNDS: u64 = 30;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("compotastic-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn spec(text: String) -> JobSpec {
    JobSpec { kind: JobKind::Chat, text, priority: JobPriority::Normal, deadline_s: None, max_chars: None }
}

/// Not a test by itself: the process that is killed. Each line on its output is something that it may not forget.
#[test]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = Store::open(path).expect("opens after each kill");
    let mut flash = store.flash("ids", 8192).expect("flash");
    let mut out = std::io::stdout().lock();
    let mut at = (0..8192).step_by(4).find(|at| word(&mut flash, *at) == u32::MAX).expect("room");
    for turn in 0_u64.. {
        let job = store.add_job(&spec(format!("job of turn {turn}")), turn).expect("takes a job");
        writeln!(out, "job {}", job.id).unwrap();
        let node = NodeView { num: turn as u32 % 50, heard_s_ago: Some(1), ..NodeView::default() };
        store.put_node(&node, 1_000_000).unwrap();
        let running = JobView { state: JobState::Running { by: Some(7) }, ..job.clone() };
        store.put_job(&running).unwrap();
        if turn.is_multiple_of(2) {
            let answer = JobAnswer { by: 7, text: Some("x".repeat(200)), ..JobAnswer::default() };
            store.put_job(&JobView { state: JobState::Done(answer), ..job }).unwrap();
            writeln!(out, "done {}", running.id).unwrap();
        }
        if turn.is_multiple_of(16) && at < 8192 {
            flash.write(at, &at.to_le_bytes()).unwrap();
            writeln!(out, "flash {at}").unwrap();
            at += 4;
        }
    }
}

fn word(flash: &mut compotastic_daemon::store::StoreFlash, at: u32) -> u32 {
    let mut word = [0; 4];
    flash.read(at, &mut word).unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_to_kill_9() {
    let path = folder("kill").join("state.redb");
    let mut taken: BTreeMap<u64, bool> = BTreeMap::new();
    let mut flashed = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        // Each time at another moment, from before the store is open to far into its writes.
        std::thread::sleep(Duration::from_millis(10 + round * 37 % 190));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            // The harness writes its own words before the first line, and the last line may be cut.
            let mut words = line.split_whitespace().rev();
            let (Some(number), Some(what)) = (words.next().and_then(|word| word.parse().ok()), words.next())
            else {
                continue;
            };
            match what {
                "job" => assert!(taken.insert(number, false).is_none(), "job {number} was given twice"),
                "done" => *taken.get_mut(&number).expect("it was taken") = true,
                "flash" => flashed.push(number as u32),
                _ => {}
            }
        }
        let store = Store::open(&path).unwrap();
        // Of very many jobs the oldest that have ended are dropped on purpose.
        let kept = taken.keys().next_back().map_or(0, |last| last.saturating_sub(JOBS / 2));
        for (id, done) in taken.range(kept..) {
            let job = store.job(*id).unwrap().unwrap_or_else(|| panic!("round {round}: job {id} is lost"));
            assert!(
                !done || matches!(job.state, JobState::Done(_)),
                "round {round}: the answer of {id} is lost"
            );
        }
        let open: Vec<u64> = store.open_jobs().unwrap().iter().map(|job| job.id).collect();
        assert!(taken.range(kept..).all(|(id, done)| *done || open.contains(id) || is_done(&store, *id)));
        let mut flash = store.flash("ids", 8192).unwrap();
        for at in &flashed {
            assert_eq!(word(&mut flash, *at), *at, "round {round}: flash lost a word");
        }
    }
    let store = Store::open(&path).unwrap();
    assert!(taken.len() > 100, "only {} jobs in {ROUNDS} rounds: nothing was tried", taken.len());
    let highest = *taken.keys().next_back().unwrap();
    assert!(store.add_job(&spec("after".to_string()), 0).unwrap().id > highest);
    assert_eq!(store.jobs(JobFilter::All, None, 3).unwrap().len(), 3);
    drop(store);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// The kill came between the answer and its acknowledgement.
fn is_done(store: &Store, id: u64) -> bool {
    store.job(id).unwrap().is_some_and(|job| job.state.is_final())
}
