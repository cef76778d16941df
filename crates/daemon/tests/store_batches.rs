//! What beacons tell is written in batches: an SD card is not worn out by a busy mesh. Alone in its process, since it reads
//! what this process has written.

use std::{fs, path::PathBuf};

use compotastic_daemon::{
    seam::NodeView,
    store::{AirtimeMark, Store},
};

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn beacons_cost_few_bytes() {
    let folder: PathBuf = std::env::temp_dir().join(format!("compotastic-wear-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let store = Store::open(folder.join("state.redb")).unwrap();
    store.flush().unwrap();
    let size = || fs::metadata(store.path()).unwrap().len();
    let (before, size_before) = (written(), size());
    // 60 nodes with a beacon every 100 s, and our own air time each second, for 1,000 s.
    let mut now_ms = 1_700_000_000_000;
    for second in 0..1000_u32 {
        for num in (0..60).filter(|num| (second + num).is_multiple_of(100)) {
            let node = NodeView {
                num,
                long_name: "a node".to_string(),
                heard_s_ago: Some(0),
                ..NodeView::default()
            };
            store.put_node(&node, now_ms).unwrap();
        }
        store.set_airtime(AirtimeMark { at_ms: now_ms, spent_ms: second }).unwrap();
        now_ms += 1000;
    }
    let waiting = written() - before;
    store.flush().unwrap();
    let all = written() - before;
    eprintln!(
        "1,600 writes: {waiting} bytes while they wait, {all} with one batch, the file grew by {}",
        size().saturating_sub(size_before)
    );
    assert!(waiting < 100_000, "{waiting} bytes were written before the batch was due");
    assert!(all < 1_000_000, "{all} bytes");
    assert!(size().saturating_sub(size_before) < 4_000_000, "the file grew to {}", size());
    // The same writes, each on the disk at once, for comparison.
    let before = written();
    for n in 0..100 {
        store.set("now", &n).unwrap();
    }
    let each = (written() - before) / 100;
    eprintln!("one write at once: {each} bytes");
    assert!(each * 1600 > 10 * all);
    drop(store);
    fs::remove_dir_all(&folder).unwrap();
}
