//! The training loop.

use std::thread;

use compotastic_text::{END, symbol_of};

use crate::kernel::LANES;
use crate::math::Random;
use crate::net::{Chunk, Net, Outcome, Sizes, Weights};
use crate::quant::rounded;
use crate::vary::vary;

/// Texts are read in this many shards; the sum of their gradients does not depend on threads.
const SHARDS: usize = 4;
/// Symbols read between two steps of the weights.
const STEPS: usize = 40;

/// Texts of one kind as symbols, without end marks.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// One text each.
    pub texts: Vec<Vec<u8>>,
}

impl Source {
    /// Turns lines into symbols.
    pub fn new(lines: &[String]) -> Self {
        Source { texts: lines.iter().map(|line| line.chars().map(symbol_of).collect()).collect() }
    }
}

/// How to train.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Steps of the weights.
    pub steps: usize,
    /// Steps at the end that use rounded weights.
    pub rounded_steps: usize,
    /// Largest step size.
    pub rate: f32,
    /// Share of symbols from each source at the start and at the end, in thousandths.
    pub mix: Vec<(u32, u32)>,
    /// Sizes of the network.
    pub sizes: Sizes,
    /// Threads; the result is the same with any number.
    pub threads: usize,
}

/// Reads texts of a mix of sources, lane by lane.
struct Reader<'a> {
    sources: &'a [Source],
    /// A shuffled order of each source's texts and the place in it.
    orders: Vec<(Vec<u32>, usize)>,
    /// The text each lane reads and the place in it.
    lanes: Vec<(Vec<u8>, usize)>,
    random: Random,
}

impl<'a> Reader<'a> {
    fn new(sources: &'a [Source]) -> Self {
        let orders = sources.iter().map(|source| ((0..source.texts.len() as u32).collect(), usize::MAX));
        Reader {
            sources,
            orders: orders.collect(),
            lanes: vec![(vec![END], 0); SHARDS * LANES],
            random: Random::new(7),
        }
    }

    /// The next text, with its end mark in front of it (the one behind it belongs to the next).
    fn text(&mut self, mix: &[u32]) -> Vec<u8> {
        let mut at = self.random.below(mix.iter().sum::<u32>() as usize) as u32;
        let source = mix.iter().position(|&share| match at.checked_sub(share) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        let source = source.unwrap_or(0);
        let (order, place) = &mut self.orders[source];
        if *place >= order.len() {
            for i in (1..order.len()).rev() {
                order.swap(i, self.random.below(i + 1));
            }
            *place = 0;
        }
        let text = &self.sources[source].texts[order[*place] as usize];
        *place += 1;
        let mut text = [&[END], text.as_slice()].concat();
        vary(&mut text[1..], &mut self.random);
        text
    }

    fn chunks(&mut self, mix: &[u32], chunks: &mut [Chunk]) {
        for lane in 0..SHARDS * LANES {
            let chunk = &mut chunks[lane / LANES];
            // The last symbol of the chunk before is the first of this one.
            chunk[0][lane % LANES] = chunk[STEPS][lane % LANES];
            for symbols in &mut chunk[1..] {
                if self.lanes[lane].1 == self.lanes[lane].0.len() {
                    self.lanes[lane] = (self.text(mix), 0);
                }
                let (text, place) = &mut self.lanes[lane];
                symbols[lane % LANES] = text[*place];
                *place += 1;
            }
        }
    }
}

/// Trains; `report` is told the step and the loss in bits per symbol every 100 steps.
pub fn train(plan: &Plan, sources: &[Source], report: impl FnMut(usize, f64, &Weights)) -> Weights {
    train_until(plan, plan.steps, sources, report)
}

/// Trains as [`train`] does, but ends after `last` steps.
pub fn train_until(
    plan: &Plan,
    last: usize,
    sources: &[Source],
    mut report: impl FnMut(usize, f64, &Weights),
) -> Weights {
    let sizes = plan.sizes;
    let mut weights = Weights::random(sizes, &mut Random::new(1));
    let mut first = Weights::zero(sizes);
    let mut second = Weights::zero(sizes);
    let mut reader = Reader::new(sources);
    let mut chunks: Vec<Chunk> = vec![vec![[END; LANES]; STEPS + 1]; SHARDS];
    let mut states = vec![vec![0.0; sizes.hidden * LANES]; SHARDS];
    let (mut loss, mut symbols) = (0.0, 0.0);
    let (mut decay_1, mut decay_2) = (1.0f32, 1.0f32);
    for step in 0..plan.steps.min(last) {
        let mix: Vec<u32> = plan
            .mix
            .iter()
            .map(|&(from, to)| (from * (plan.steps - step) as u32 + to * step as u32) / plan.steps as u32)
            .collect();
        reader.chunks(&mix, &mut chunks);
        let late = step + plan.rounded_steps >= plan.steps;
        let used = if late { &rounded(sizes, &weights) } else { &weights };
        let outcomes = run_shards(&Net::new(sizes, used), &mut states, &chunks, plan.threads);
        let mut gradient = Weights::zero(sizes);
        for outcome in &outcomes {
            gradient.add(&outcome.gradient);
            loss += outcome.loss;
        }
        symbols += (SHARDS * LANES * STEPS) as f64;
        // Adam with the gradient's length limited; the step size rises shortly, then falls evenly.
        let mean = 1.0 / (SHARDS * LANES * STEPS) as f32;
        let square: f32 =
            gradient.parts().iter().flat_map(|part| part.iter()).map(|g| g * mean * g * mean).sum();
        let limit = if square > 0.25 { mean * 0.5 / square.sqrt() } else { mean };
        let rise = ((step + 1) as f32 / 200.0).min(1.0);
        let fall = (plan.steps - step) as f32 / plan.steps as f32;
        let rate = plan.rate * rise * (0.01 + 0.99 * fall);
        decay_1 *= 0.9;
        decay_2 *= 0.99;
        let parts = weights.parts_mut().into_iter().zip(gradient.parts());
        for ((part, slopes), (first, second)) in
            parts.zip(first.parts_mut().into_iter().zip(second.parts_mut()))
        {
            for i in 0..part.len() {
                let slope = slopes[i] * limit;
                first[i] = 0.9 * first[i] + 0.1 * slope;
                second[i] = 0.99 * second[i] + 0.01 * slope * slope;
                let size = (second[i] / (1.0 - decay_2)).sqrt() + 1e-8;
                part[i] -= rate * (first[i] / (1.0 - decay_1)) / size;
            }
        }
        if (step + 1) % 100 == 0 {
            report(step + 1, loss / symbols / core::f64::consts::LN_2, &weights);
            (loss, symbols) = (0.0, 0.0);
        }
    }
    rounded(sizes, &weights)
}

fn run_shards(net: &Net, states: &mut [Vec<f32>], chunks: &[Chunk], threads: usize) -> Vec<Outcome> {
    let each = SHARDS.div_ceil(threads.clamp(1, SHARDS));
    thread::scope(|scope| {
        let work: Vec<_> = states
            .chunks_mut(each)
            .zip(chunks.chunks(each))
            .map(|(states, chunks)| {
                scope.spawn(move || -> Vec<Outcome> {
                    states.iter_mut().zip(chunks).map(|(state, chunk)| net.run(state, chunk, true)).collect()
                })
            })
            .collect();
        work.into_iter().flat_map(|handle| handle.join().expect("a shard cannot fail")).collect()
    })
}

/// Mean bits per symbol (end marks are symbols too) and per character of texts.
pub fn measure(sizes: Sizes, weights: &Weights, texts: &[Vec<u8>]) -> (f64, f64) {
    let net = Net::new(sizes, weights);
    let (mut loss, mut count) = (0.0, 0usize);
    for group in texts.chunks(LANES) {
        let longest = group.iter().map(Vec::len).max().unwrap_or(0);
        let mut chunk: Chunk = vec![[END; LANES]; longest + 2];
        for (lane, text) in group.iter().enumerate() {
            for (step, &symbol) in text.iter().enumerate() {
                chunk[step + 1][lane] = symbol;
            }
            count += text.len();
        }
        // What stands behind the texts' ends is measured apart and taken away.
        let all = net.run(&mut vec![0.0; sizes.hidden * LANES], &chunk, false).loss;
        let first = net.run(&mut vec![0.0; sizes.hidden * LANES], &vec![[END; LANES]; 2], false).loss;
        let per_end = first / LANES as f64;
        let ends: usize = (0..LANES).map(|lane| longest - group.get(lane).map_or(0, Vec::len)).sum();
        let unused = LANES - group.len();
        loss += all - per_end * (ends + unused) as f64;
    }
    let bits = loss / core::f64::consts::LN_2;
    (bits / (count + texts.len()) as f64, bits / count as f64)
}
