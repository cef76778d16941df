//! The store: what it keeps, what it refuses, and that the agent's own logs work on its flash.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use compotastic_daemon::{
    seam::{JobKind, JobPriority, JobSpec, JobState, JobView, NodeView, TextMessage},
    store::{AirtimeMark, FlashError, JobFilter, NODES, Store, TEXTS},
};
use compotastic_node::state::{Key, StateLog};
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("compotastic-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("deep/state.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spec(text: &str) -> JobSpec {
    JobSpec {
        kind: JobKind::Classify,
        text: text.to_string(),
        priority: JobPriority::High,
        deadline_s: Some(60),
        max_chars: None,
    }
}

#[test]
fn jobs_are_found_again_and_numbers_are_not_given_twice() {
    let folder = Folder::new("jobs");
    let store = Store::open(folder.file()).unwrap();
    let first = store.add_job(&spec("one"), 5).unwrap();
    let second = store.add_job(&spec("two"), 6).unwrap();
    assert_eq!((first.id, second.id), (1, 2));
    store.put_job(&JobView { state: JobState::Cancelled, ..second.clone() }).unwrap();
    store.put_job(&JobView { state: JobState::Running { by: Some(9) }, ..first.clone() }).unwrap();
    drop(store);
    let store = Store::open(folder.file()).unwrap();
    assert_eq!(store.open_jobs().unwrap(), [JobView { state: JobState::Running { by: Some(9) }, ..first }]);
    assert_eq!(store.job(2).unwrap().unwrap().state, JobState::Cancelled);
    assert_eq!(store.add_job(&spec("three"), 7).unwrap().id, 3);
    let ids = |filter, before| -> Vec<u64> {
        store.jobs(filter, before, 10).unwrap().iter().map(|job| job.id).collect()
    };
    assert_eq!(ids(JobFilter::All, None), [3, 2, 1]);
    assert_eq!(ids(JobFilter::All, Some(3)), [2, 1]);
    assert_eq!(ids(JobFilter::Open, None), [3, 1]);
    assert_eq!(ids(JobFilter::Cancelled, None), [2]);
    assert_eq!(store.job(4).unwrap(), None);
}

#[test]
fn what_grows_is_bounded() {
    let folder = Folder::new("bounds");
    let store = Store::open(folder.file()).unwrap();
    for number in 0..TEXTS as u32 + 20 {
        let text = TextMessage {
            from: 1,
            to: 2,
            id: number,
            channel: 0,
            text: "x".to_string(),
            proven: false,
            reply_to: None,
        };
        store.add_text(&text, 0).unwrap();
    }
    let texts = store.texts(0, usize::MAX).unwrap();
    assert_eq!((texts.len() as u64, texts[0].message.id), (TEXTS, 20));
    assert_eq!(store.texts(TEXTS + 18, 10).unwrap().len(), 2);
    assert_eq!(store.texts(0, 1).unwrap()[0].message.id, TEXTS as u32 + 19);
    for num in 0..NODES as u32 + 3 {
        // Node 5 was not heard for the longest time, then those that were never heard are older still.
        let age = if num == 5 { 900 } else { 10 };
        let heard_s_ago = (num != 6).then_some(age);
        store.put_node(&NodeView { num, heard_s_ago, ..NodeView::default() }, 1_000_000).unwrap();
    }
    let nodes = store.nodes(1_060_000).unwrap();
    assert_eq!(nodes.len() as u64, NODES);
    assert!(!nodes.iter().any(|node| node.num == 5 || node.num == 6));
    assert_eq!(nodes[0].heard_s_ago, Some(70), "ages go on");
    assert!(store.put_bundle("00000001", &vec![0; (1 << 20) + 1]).is_err());
    for tag in 0..64 {
        store.put_bundle(&format!("{tag:08x}"), &vec![0; 1 << 20]).unwrap();
    }
    let full = store.put_bundle("ffffffff", &[1]).unwrap_err().to_string();
    assert!(full.contains("withdraw one"), "{full}");
    assert!(store.remove_bundle("00000003").unwrap() && !store.remove_bundle("00000003").unwrap());
    assert_eq!(store.bundles().unwrap().len(), 63);
    assert_eq!(store.bundle("00000002").unwrap().unwrap().len(), 1 << 20);
}

#[test]
fn keys_and_settings_are_the_owners_alone() {
    let folder = Folder::new("keys");
    let store = Store::open(folder.file()).unwrap();
    store.set("swarm/key", &[7_u8; 32]).unwrap();
    store.set("swarm/name", &"hill").unwrap();
    store.set("other", &1).unwrap();
    store.set_airtime(AirtimeMark { at_ms: 5, spent_ms: 9 }).unwrap();
    drop(store);
    assert_eq!(std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(folder.file()).unwrap();
    assert_eq!(std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600, "mended");
    assert_eq!(store.get::<[u8; 32]>("swarm/key").unwrap(), Some([7; 32]));
    assert_eq!(store.settings("swarm/").unwrap(), ["swarm/key", "swarm/name"]);
    assert!(store.get::<u8>("swarm/name").is_err(), "another kind is not taken for nothing");
    assert!(store.unset("other").unwrap() && store.get::<u8>("other").unwrap().is_none());
    assert_eq!(store.airtime().unwrap(), Some(AirtimeMark { at_ms: 5, spent_ms: 9 }), "closing writes all");
}

#[test]
fn a_store_that_is_in_use_says_by_whom() {
    let folder = Folder::new("twice");
    let store = Store::open(folder.file()).unwrap();
    let error = Store::open(folder.file()).unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(store);
    Store::open(folder.file()).unwrap();
}

#[test]
fn a_newer_store_and_other_files_are_refused() {
    let folder = Folder::new("newer");
    drop(Store::open(folder.file()).unwrap());
    let database = redb::Database::open(folder.file()).unwrap();
    let write = database.begin_write().unwrap();
    let rows = redb::TableDefinition::<&[u8], &[u8]>::new("rows");
    let version = [&[1][..], b"version"].concat();
    write.open_table(rows).unwrap().insert(&version[..], &99_u64.to_be_bytes()[..]).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = Store::open(folder.file()).unwrap_err().to_string();
    assert!(error.contains("newer") && error.contains("99"), "{error}");
    std::fs::write(folder.file(), b"this is no store at all").unwrap();
    let error = Store::open(folder.file()).unwrap_err().to_string();
    assert!(error.contains("cannot be opened as a store"), "{error}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), b"this is no store at all", "and left as it is");
    let error = Store::open("/proc/nowhere/state.redb").unwrap_err().to_string();
    assert!(error.contains("--state"), "{error}");
}

#[test]
fn flash_obeys_the_rules_of_nor_flash() {
    let folder = Folder::new("flash");
    let store = Store::open(folder.file()).unwrap();
    let mut flash = store.flash("slots", 3 * 4096).unwrap();
    assert!(store.flash("slots", 3 * 4096).is_err(), "only one has it");
    flash.write(4092, &[0xF0; 8]).unwrap();
    flash.write(4092, &[0x30; 8]).unwrap();
    assert_eq!(flash.write(4092, &[0x31; 4]), Err(FlashError::NotErased));
    assert!(matches!(flash.write(2, &[0; 4]), Err(FlashError::Arguments(_))));
    assert!(matches!(flash.write(12284, &[0; 8]), Err(FlashError::Arguments(_))));
    assert!(matches!(flash.erase(0, 100), Err(FlashError::Arguments(_))));
    flash.erase(0, 4096).unwrap();
    drop(flash);
    drop(store);
    let store = Store::open(folder.file()).unwrap();
    assert!(store.flash("slots", 4096).is_err(), "a part does not shrink");
    assert!(store.flash("slots", 5000).is_err());
    let mut flash = store.flash_batched("slots", 4 * 4096).unwrap();
    let mut bytes = [0; 12];
    flash.read(4090, &mut bytes).unwrap();
    let left = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x30, 0x30, 0x30, 0x30, 0xFF, 0xFF];
    assert_eq!((bytes, flash.capacity()), (left, 4 * 4096));
}

#[test]
fn the_agents_log_of_state_lives_on_it() {
    let folder = Folder::new("log");
    for round in 0..4_u32 {
        let store = Store::open(folder.file()).unwrap();
        let mut log = StateLog::open(store.flash("state", 8192).unwrap()).unwrap();
        assert_eq!(log.get(Key::PacketIds), Ok(round.checked_sub(1).map(|last| last * 1000 + 199)));
        for value in 0..200 {
            log.set(Key::PacketIds, round * 1000 + value).unwrap();
        }
        log.set(Key::Airtime, round).unwrap();
    }
}
