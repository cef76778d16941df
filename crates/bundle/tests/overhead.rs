//! What the erasure code costs beyond the ideal, in packets.

mod common;

use common::{Bundle, Lcg, content};
use compotastic_bundle::ramflash::RamFlash;
use compotastic_bundle::{FlashStore, ObjectReceiver};

type Flash = RamFlash<32_768, 4, 4096>;

/// A bundle of exactly `k` small pieces: their number is what matters here.
fn bundle_of(k: usize) -> Bundle {
    let bundle = Bundle::with_piece_size(content(8 * k + 8, 1), 1, 16);
    assert_eq!(bundle.manifest.object().layout.pieces() as usize, k);
    bundle
}

/// One receiver's luck: packets received and packets sent until it was complete, and packets sent until it had
/// received k, which is when an ideal code completes.
struct Run {
    received: u32,
    sent: u32,
    ideal: u32,
}

/// All pieces once, the last first, then coded symbols until the receiver is complete.
fn run(bundle: &Bundle, loss: u32, rng: &mut Lcg, first_coded: u16) -> Run {
    let object = bundle.manifest.object();
    let k = object.layout.generation_len(0);
    let mut flash = Flash::new();
    let mut store = FlashStore::new(&mut flash, 0..8192, 8192..32_768, &object.layout, 1).unwrap();
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    let mut run = Run { received: 0, sent: 0, ideal: 0 };
    for id in (0..k).rev().chain(first_coded.max(k)..) {
        run.sent += 1;
        if rng.chance(loss) {
            continue;
        }
        run.received += 1;
        if run.received == u32::from(k) {
            run.ideal = run.sent;
        }
        if rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().complete {
            break;
        }
    }
    run
}

/// Mean at most 0.1 symbols, at most 1 in 99.9 % of runs. `compotastic bench fec` has more runs, and the peers.
#[test]
fn overhead_of_one_receiver() {
    println!("|    K | loss | mean overhead | 99.9 % of 500 |");
    println!("|-----:|-----:|--------------:|--------------:|");
    for k in [8, 24, 64, 256] {
        let bundle = bundle_of(k);
        for loss in [10, 30] {
            let mut rng = Lcg(u64::from(loss));
            let trials = 500;
            let mut overheads: Vec<u32> = (0..trials)
                .map(|n| run(&bundle, loss, &mut rng, 256 + 80 * n as u16).received - k as u32)
                .collect();
            overheads.sort_unstable();
            let mean = f64::from(overheads.iter().sum::<u32>()) / f64::from(trials);
            let p999 = overheads[trials as usize * 999 / 1000];
            println!("| {k:4} | {loss:2} % | {mean:13.4} | {p999:13} |");
            assert!(mean <= 0.1 && p999 <= 1, "K {k}, loss {loss}: {mean}, {p999}");
        }
    }
}

/// Packets until all of N receivers are complete, with free feedback: the columns of the known anchors.
#[test]
fn packets_until_all_are_complete() {
    println!("|    K | loss |  N | ideal | this code |");
    println!("|-----:|-----:|---:|------:|----------:|");
    for (k, loss, n, allowed) in
        [(24, 30, 24, 0.2), (64, 10, 10, 0.2), (64, 30, 50, 0.3), (256, 10, 50, 0.3), (256, 30, 50, 0.3)]
    {
        let bundle = bundle_of(k);
        let mut rng = Lcg(u64::from(loss) + k as u64);
        let runs = 10;
        let (mut ideal, mut sent) = (0, 0);
        for r in 0..runs {
            let all: Vec<Run> = (0..n).map(|_| run(&bundle, loss, &mut rng, 256 + 1000 * r as u16)).collect();
            ideal += all.iter().map(|r| r.ideal).max().unwrap();
            sent += all.iter().map(|r| r.sent).max().unwrap();
        }
        let mean = |total: u32| f64::from(total) / f64::from(runs);
        println!("| {k:4} | {loss:2} % | {n:2} | {:5.1} | {:9.1} |", mean(ideal), mean(sent));
        assert!(mean(sent) - mean(ideal) <= allowed);
    }
}
