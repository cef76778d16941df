//! Paired comparison by the bootstrap over seeds (Efron, 1979).

use compotastic_mesh::rng::Rng;

use super::valley::Traffic;

/// Samples of seeds that are drawn.
const RESAMPLES: usize = 2000;

/// What is compared, of several runs together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Share of deliveries, 0..1.
    pub delivery: f64,
    /// Mean delay, seconds.
    pub delay_mean_s: f64,
    /// 95th percentile of the delay, seconds.
    pub delay_p95_s: f64,
}

impl Figures {
    /// Of all messages of these runs.
    pub fn of<'t>(runs: impl Iterator<Item = &'t Traffic> + Clone) -> Self {
        let delivered: Vec<f64> = runs.clone().flat_map(|run| run.delivered.iter().copied()).collect();
        let mut delays: Vec<f64> = runs.flat_map(|run| run.delays_s.iter().copied()).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let (delivery, delay_mean_s) = (mean(&delivered), mean(&delays));
        let at = (delays.len() * 95).div_ceil(100).saturating_sub(1);
        let delay_p95_s =
            if delays.is_empty() { 0.0 } else { *delays.select_nth_unstable_by(at, f64::total_cmp).1 };
        Self { delivery, delay_mean_s, delay_p95_s }
    }

    /// By how much each got worse, relative to what it was: fewer deliveries, longer delays.
    pub fn suffers(&self, with: &Self) -> [f64; 3] {
        [
            1.0 - with.delivery / self.delivery,
            with.delay_mean_s / self.delay_mean_s - 1.0,
            with.delay_p95_s / self.delay_p95_s - 1.0,
        ]
    }
}

/// Relative changes to the worse and the upper ends of their 95 % intervals (97.5th percentile over samples of seeds, each with its
/// pair).
pub fn compare(pairs: &[(Traffic, Traffic)], seed: u64) -> ([f64; 3], [f64; 3]) {
    let change = |chosen: &[usize]| {
        let without = Figures::of(chosen.iter().map(|index| &pairs[*index].0));
        without.suffers(&Figures::of(chosen.iter().map(|index| &pairs[*index].1)))
    };
    let all: Vec<usize> = (0..pairs.len()).collect();
    let mut rng = Rng::from_seed(seed).child(0x626f_6f74);
    let samples: Vec<[f64; 3]> = (0..RESAMPLES)
        .map(|_| {
            let chosen: Vec<usize> = all.iter().map(|_| rng.below(pairs.len() as u32) as usize).collect();
            change(&chosen)
        })
        .collect();
    let upper = std::array::from_fn(|figure| {
        let mut values: Vec<f64> = samples.iter().map(|sample| sample[figure]).collect();
        values.sort_by(f64::total_cmp);
        values[(RESAMPLES * 975).div_ceil(1000) - 1]
    });
    (change(&all), upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(delivery: f64, delay_s: f64) -> Traffic {
        Traffic {
            delivered: vec![delivery; 10],
            delays_s: (1..=100).map(|part| delay_s * f64::from(part) / 50.0).collect(),
            ..Traffic::default()
        }
    }

    #[test]
    fn figures_and_their_changes() {
        let without = Figures::of([traffic(0.8, 10.0)].iter());
        assert!((without.delivery - 0.8).abs() < 1e-9 && (without.delay_mean_s - 10.1).abs() < 1e-9);
        assert!((without.delay_p95_s - 19.0).abs() < 1e-9);
        let with = Figures::of([traffic(0.6, 12.0)].iter());
        let [delivery, mean, p95] = without.suffers(&with);
        assert!((delivery - 0.25).abs() < 1e-9 && (mean - 0.2).abs() < 1e-9 && (p95 - 0.2).abs() < 1e-9);
    }

    #[test]
    fn the_upper_end_is_the_change_itself_where_all_seeds_agree_and_above_it_where_they_do_not() {
        let alike: Vec<_> = (0..30).map(|_| (traffic(0.8, 10.0), traffic(0.76, 10.5))).collect();
        let (change, upper) = compare(&alike, 1);
        for figure in 0..3 {
            assert!((change[figure] - 0.05).abs() < 1e-9 && (upper[figure] - 0.05).abs() < 1e-9);
        }
        let spread: Vec<_> = (0..30)
            .map(|seed| (traffic(0.8, 10.0), traffic(0.76, if seed % 2 == 0 { 9.0 } else { 12.0 })))
            .collect();
        let (change, upper) = compare(&spread, 1);
        // Standard deviation 0.15 over 30 seeds: 1.96 * 0.15 / sqrt(30) = 0.054.
        assert!((change[1] - 0.05).abs() < 1e-9 && (upper[1] - 0.104).abs() < 0.012, "{change:?} {upper:?}");
    }
}
