//! `bench fec`: what erasure codes cost one receiver beyond the ideal, and its RAM.
//!
//! A run is one receiver: K pieces are sent once, each is lost with chance p, then whatever the code sends next, lost as
//! often, until the receiver has everything. Its *overhead* are the symbols it received beyond K, pieces included. Each run
//! is of its own seed, so that the figures are the same on any number of threads.
//!
//! What counts as decoder RAM is what grows with the losses, at its peak over all runs, and everything that does not:
//! bookkeeping, tables, and memory for two pieces of [`PIECE`] bytes while it decodes. Data that goes straight to flash does
//! not.

mod ideal;
mod ours;
mod raptor;
mod ts004;

use anyhow::{Result, ensure};
use serde::Serialize;

/// Bytes of a piece: the most that fit one packet.
const PIECE: usize = 208;
/// Receivers that listen together, for the packets until all of them are complete.
const TOGETHER: usize = 50;
const LENGTHS: [u16; 3] = [64, 256, 1024];
const LOSSES: [f64; 2] = [0.1, 0.3];
/// RaptorQ's runs are so much fewer: one takes milliseconds.
const RAPTOR_FEWER: u32 = 10;

/// Options of `bench fec`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  compotastic bench fec\n  compotastic bench fec --runs 1000 --json\n\nRaptorQ has a tenth of the runs. Its RAM is counted if the program is built with the feature `bench-heap`; else the row says\nthe least it can be."
)]
pub struct FecArgs {
    /// Receivers for each code, length and loss
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Prints rows as JSON
    #[arg(long)]
    pub json: bool,
}

/// One code at one length and loss.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub code: &'static str,
    /// Pieces of a generation.
    pub k: u16,
    /// Chance that a symbol is lost.
    pub loss: f64,
    /// Symbols received beyond K, mean.
    pub overhead_mean: f64,
    /// The same, exceeded by one run in a thousand at most.
    pub overhead_p999: u32,
    /// Peak over the runs; null where no decoder exists.
    pub decoder_ram_bytes: Option<u64>,
    /// How that was found: `counted`, or `at least`.
    pub decoder_ram: &'static str,
    /// Packets sent until all of fifty receivers were complete, mean; their feedback costs nothing and is never lost. Null if
    /// some waited, since each of them would wait for other pieces.
    pub sent_50: Option<f64>,
    /// Share of the runs that had lost more than the decoder's RAM holds, and waited for pieces as they are.
    pub waited: f64,
    /// Number of runs.
    pub runs: u32,
}

/// What one receiver saw.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    received: u32,
    /// Packets sent until it was complete.
    sent: u32,
    ram: usize,
    waited: bool,
}

/// A code under measurement.
trait Code: Sync {
    /// One receiver; `run` makes it different from others.
    fn trial(&self, loss: f64, run: u32) -> Trial;

    /// Packets until all receivers of a group are complete, from what each of them saw.
    fn sent_together(&self, group: &[Trial], _loss: f64, _seed: u32) -> u32 {
        group.iter().map(|trial| trial.sent).max().unwrap_or(0)
    }

    /// RAM that no trial knows of.
    fn fixed_ram(&self) -> Option<usize> {
        Some(0)
    }

    fn ram_is(&self) -> &'static str {
        "counted"
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn new(loss: f64, run: u32) -> Self {
        Self((loss * 1000.0) as u64 + (u64::from(run) << 20))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn chance(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }
}

/// Runs on all processors, in the order of the runs.
fn trials(code: &dyn Code, loss: f64, runs: u32) -> Vec<Trial> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut all = vec![Trial::default(); runs as usize];
    let each = runs.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (part, trials) in (0..).zip(all.chunks_mut(each as usize)) {
            scope.spawn(move || {
                for (n, trial) in (part * each..).zip(trials) {
                    *trial = code.trial(loss, n);
                }
            });
        }
    });
    all
}

fn measure(name: &'static str, code: &dyn Code, k: u16, loss: f64, runs: u32) -> Row {
    let all = trials(code, loss, runs);
    let mut overheads: Vec<u32> = all.iter().map(|trial| trial.received - u32::from(k)).collect();
    overheads.sort_unstable();
    let mean = |sum: f64, count: usize| sum / count.max(1) as f64;
    let groups: Vec<u32> =
        (0..).zip(all.chunks(TOGETHER)).map(|(n, group)| code.sent_together(group, loss, n)).collect();
    let waited = all.iter().filter(|trial| trial.waited).count();
    let peak = all.iter().map(|trial| trial.ram).max().unwrap_or(0);
    Row {
        code: name,
        k,
        loss,
        overhead_mean: mean(overheads.iter().map(|o| f64::from(*o)).sum(), overheads.len()),
        overhead_p999: overheads[(overheads.len() * 999).div_ceil(1000).saturating_sub(1)],
        decoder_ram_bytes: code.fixed_ram().map(|fixed| (fixed + peak) as u64),
        decoder_ram: code.ram_is(),
        sent_50: (waited == 0).then(|| mean(groups.iter().map(|n| f64::from(*n)).sum(), groups.len())),
        waited: mean(waited as f64, all.len()),
        runs,
    }
}

/// Measures all codes at all lengths and losses, and gives each row to `each` when it is ready.
pub fn rows(runs: u32, mut each: impl FnMut(&Row)) -> Result<()> {
    ensure!(runs > 0, "--runs must be at least 1");
    for k in LENGTHS {
        let ours = ours::Ours::new(k)?;
        let raptor = raptor::RaptorQ::new(k)?;
        let codes: [(&str, &dyn Code, u32); 5] = [
            ("ideal", &ideal::Fountain { k }, runs),
            ("compotastic", &ours, runs),
            ("ts004", &ts004::Ts004 { k }, runs),
            ("selective-nack", &ideal::SelectiveNack { k }, runs),
            ("raptorq", &raptor, runs.div_ceil(RAPTOR_FEWER)),
        ];
        for loss in LOSSES {
            for (name, code, runs) in &codes {
                each(&measure(name, *code, k, loss, *runs));
            }
        }
    }
    Ok(())
}

/// Runs the benchmark and prints a table, or JSON rows.
pub fn run(args: &FecArgs) -> Result<()> {
    if args.json {
        return rows(args.runs, |row| println!("{}", serde_json::to_string(row).unwrap_or_default()));
    }
    println!(
        "Symbols that one receiver takes beyond K, and its RAM; packets until all of 50 receivers are complete."
    );
    println!(
        "| code           |    K | loss |   mean | 99.9 % |      RAM, bytes | packets for 50 | waited |   runs |"
    );
    println!(
        "|----------------|-----:|-----:|-------:|-------:|----------------:|---------------:|-------:|-------:|"
    );
    rows(args.runs, |row| {
        let ram = match (row.decoder_ram_bytes, row.decoder_ram) {
            (None, _) => "-".to_owned(),
            (Some(bytes), "counted") => bytes.to_string(),
            (Some(bytes), how) => format!("{how} {bytes}"),
        };
        let sent = row.sent_50.map_or("-".to_owned(), |sent| format!("{sent:.1}"));
        println!(
            "| {:14} | {:4} | {:2.0} % | {:6.4} | {:6} | {ram:>15} | {sent:>14} | {:4.0} % | {:6} |",
            row.code,
            row.k,
            100.0 * row.loss,
            row.overhead_mean,
            row.overhead_p999,
            100.0 * row.waited,
            row.runs
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few runs of the short lengths, so that the targets and the peers' published figures show.
    #[test]
    fn targets_and_peers() {
        for k in [64, 256] {
            let ours = ours::Ours::new(k).unwrap();
            for loss in LOSSES {
                let row = measure("compotastic", &ours, k, loss, 200);
                assert!(row.overhead_mean <= 0.1 && row.overhead_p999 <= 1, "{row:?}");
                assert!(row.decoder_ram_bytes.unwrap() <= 12 * 1024 && row.waited == 0.0, "{row:?}");
                let ideal = measure("ideal", &ideal::Fountain { k }, k, loss, 200);
                assert_eq!((ideal.overhead_mean, ideal.overhead_p999), (0.0, 0));
                assert!(
                    (row.sent_50.unwrap() - ideal.sent_50.unwrap()).abs() < 1.0,
                    "the same losses: {row:?} {ideal:?}"
                );
                let ts004 = measure("ts004", &ts004::Ts004 { k }, k, loss, 400);
                assert!((1.0..3.5).contains(&ts004.overhead_mean), "{ts004:?}");
                let nack = measure("selective-nack", &ideal::SelectiveNack { k }, k, loss, 400);
                assert!(
                    nack.overhead_mean == 0.0 && nack.sent_50 > ideal.sent_50.map(|sent| sent + 20.0),
                    "{nack:?}"
                );
            }
        }
    }

    #[test]
    fn raptorq_needs_hardly_more_than_k() {
        let code = raptor::RaptorQ::new(64).unwrap();
        let row = measure("raptorq", &code, 64, 0.3, 30);
        assert!(row.overhead_mean < 0.2, "{row:?}");
        assert!(row.decoder_ram_bytes.unwrap() > 64 * PIECE as u64);
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let code = ts004::Ts004 { k: 64 };
        let all = trials(&code, 0.1, 7);
        for (n, trial) in (0..).zip(all) {
            assert_eq!(code.trial(0.1, n).sent, trial.sent);
        }
    }

    /// Longer than memory for all losses: it waits, and still needs no more symbols.
    #[test]
    fn at_1024_pieces_it_waits() {
        let code = ours::Ours::new(1024).unwrap();
        let row = measure("compotastic", &code, 1024, 0.3, 4);
        assert!(row.waited > 0.5 && row.overhead_mean <= 1.0, "{row:?}");
        assert!(row.decoder_ram_bytes.unwrap() <= 16 * 1024, "{row:?}");
    }
}
