//! Distils an encoder: word vectors and a small layer whose output for a text points where the foundation model's embedding
//! points.
//!
//! 1. The teacher's embeddings are centred and reduced to principal components ([`super::targets`]).
//! 2. Words that occur most often become the vocabulary; all others are read by their pieces. Known words are taken for
//!    unknown ones at random, so that pieces learn to stand in.
//! 3. Everything is trained on 1 - cosine by AdamW.
//! 4. Word vectors are product-quantised ([`super::quantise`]); then codebooks and layer are trained on with fixed codes.
//! 5. Weights are rounded to bytes.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW};
use compotastic_model::{BaseEncoder, EncoderShape, MAX_DIMS, SUBSPACE, piece_row, words};
use sha2::{Digest, Sha256};

use super::{
    draws::Draws,
    quantise::{CENTROIDS, Quantised, quantise},
    targets::targets,
};

/// Size and schedule.
#[derive(Clone, Debug)]
pub struct DistilConfig {
    /// Entries of a word vector.
    pub embed: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Entries of a text's vector.
    pub dims: usize,
    /// Words of the vocabulary.
    pub words: usize,
    /// Rows for pieces of unknown words.
    pub pieces: usize,
    /// Passes over the texts with free word vectors.
    pub passes: usize,
    /// Passes with fixed codes.
    pub quantised_passes: usize,
    /// Step length at the start.
    pub rate: f64,
    /// Texts per step.
    pub batch: usize,
}

impl DistilConfig {
    /// The base encoder of field nodes: fits 320 KiB of flash.
    pub fn base() -> Self {
        Self {
            embed: 64,
            hidden: 128,
            dims: 96,
            words: 11_400,
            pieces: 2_600,
            passes: 10,
            quantised_passes: 8,
            rate: 4e-3,
            batch: 256,
        }
    }

    /// The encoder in the tree, which teaches where the foundation model is not at hand.
    pub fn small() -> Self {
        Self {
            embed: 128,
            hidden: 384,
            dims: 128,
            words: 30_000,
            pieces: 20_000,
            passes: 9,
            quantised_passes: 4,
            rate: 3e-3,
            batch: 256,
        }
    }
}

/// An encoder file, and how well it agrees with its teacher.
#[derive(Debug)]
pub struct Distilled {
    /// The file.
    pub file: Vec<u8>,
    /// Mean cosine with the teacher's direction on texts that were held out.
    pub held_out_cosine: f64,
}

/// Every 50th text is held out to tell how it goes.
fn held_out(index: usize) -> bool {
    index % 50 == 7
}

/// A word as training sees it.
struct Entry {
    /// Row in the table, if the word is in the vocabulary.
    known: Option<u32>,
    /// Rows of its pieces.
    pieces: Vec<u32>,
}

/// Texts as lists of words.
struct Reading {
    entries: Vec<Entry>,
    texts: Vec<Vec<u32>>,
    /// Stems of the vocabulary, in the order of its rows.
    stems: Vec<u32>,
    /// How often each row of the table is used.
    uses: Vec<f32>,
}

fn read(texts: &[&str], config: &DistilConfig) -> Reading {
    let mut ids: BTreeMap<(u32, Vec<u32>), u32> = BTreeMap::new();
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    let mut lists = Vec::with_capacity(texts.len());
    for text in texts {
        let mut list = Vec::new();
        words(text, |word| {
            let mut pieces = Vec::new();
            word.pieces(|piece| pieces.push((config.words + piece_row(piece, config.pieces as u32)) as u32));
            *counts.entry(word.stem()).or_default() += 1;
            let next = ids.len() as u32;
            list.push(*ids.entry((word.stem(), pieces)).or_insert(next));
        });
        lists.push(list);
    }
    let mut ranked: Vec<(u32, u32)> = counts.iter().map(|(stem, count)| (*count, *stem)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let mut stems: Vec<u32> = ranked.iter().take(config.words).map(|(_, stem)| *stem).collect();
    stems.sort_unstable();
    let mut entries: Vec<Option<Entry>> = (0..ids.len()).map(|_| None).collect();
    for ((stem, pieces), id) in ids {
        entries[id as usize] =
            Some(Entry { known: stems.binary_search(&stem).ok().map(|row| row as u32), pieces });
    }
    let entries: Vec<Entry> = entries.into_iter().flatten().collect();
    let mut uses = vec![0f32; config.words + config.pieces];
    for entry in lists.iter().flatten().map(|id| &entries[*id as usize]) {
        match entry.known {
            Some(row) => uses[row as usize] += 1.0,
            None => entry.pieces.iter().for_each(|row| uses[*row as usize] += 1.0),
        }
    }
    Reading { entries, texts: lists, stems, uses }
}

/// Texts of one step, as index lists.
#[derive(Default)]
struct Batch {
    rows: Vec<u32>,
    row_words: Vec<u32>,
    row_weights: Vec<f32>,
    word_texts: Vec<u32>,
    previous: Vec<u32>,
    next: Vec<u32>,
    targets: Vec<f32>,
    texts: usize,
}

impl Batch {
    /// `unknown`: one in so many known words is read by its pieces; 0 for none.
    fn new(
        reading: &Reading,
        chosen: &[usize],
        targets: &[Vec<f32>],
        unknown: usize,
        draws: &mut Draws,
    ) -> Self {
        let mut batch = Self::default();
        for &text in chosen {
            let list = &reading.texts[text];
            if list.is_empty() {
                continue;
            }
            let first = batch.word_texts.len() as u32;
            for (position, id) in list.iter().enumerate() {
                let entry = &reading.entries[*id as usize];
                let word = batch.word_texts.len() as u32;
                let forget = unknown > 0 && draws.below(unknown) == 0;
                match entry.known.filter(|_| !forget) {
                    Some(row) => batch.push(row, word, 1.0),
                    None => {
                        let weight = 1.0 / entry.pieces.len().max(1) as f32;
                        entry.pieces.iter().for_each(|row| batch.push(*row, word, weight));
                    }
                }
                batch.word_texts.push(batch.texts as u32);
                // The end of the text is word number 0 of the table with one more row; see `forward`.
                batch.previous.push(if position == 0 { 0 } else { word });
                batch.next.push(if position + 1 == list.len() { 0 } else { word + 2 });
                debug_assert!(word >= first);
            }
            batch.targets.extend(&targets[text]);
            batch.texts += 1;
        }
        batch
    }

    fn push(&mut self, row: u32, word: u32, weight: f32) {
        self.rows.push(row);
        self.row_words.push(word);
        self.row_weights.push(weight);
    }
}

/// What is trained.
struct Network {
    config: DistilConfig,
    /// (words + pieces, embed), or the codebooks (embed / 4 * 256, 4) once `codes` are fixed.
    table: Var,
    codes: Option<Tensor>,
    hidden: Var,
    bias: Var,
    direct: Var,
    context: Var,
}

const DEVICE: Device = Device::Cpu;

impl Network {
    fn new(config: &DistilConfig) -> Result<Self> {
        let mut draws = Draws::new(11);
        let mut drawn = |rows: usize, columns: usize, spread: f32| -> Result<Var> {
            let values: Vec<f32> =
                (0..rows * columns).map(|_| (draws.unit() + draws.unit() - 1.0) * spread).collect();
            Ok(Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &DEVICE)?)?)
        };
        let scale = |inputs: usize| 2.0 / (inputs as f32).sqrt();
        Ok(Self {
            table: drawn(config.words + config.pieces, config.embed, 0.3)?,
            codes: None,
            hidden: drawn(config.hidden, 3 * config.embed, scale(3 * config.embed))?,
            bias: Var::zeros(config.hidden, DType::F32, &DEVICE)?,
            direct: drawn(config.dims, config.embed, scale(config.embed))?,
            context: drawn(config.dims, config.hidden, scale(config.hidden))?,
            config: config.clone(),
        })
    }

    fn variables(&self) -> Vec<Var> {
        [&self.table, &self.hidden, &self.bias, &self.direct, &self.context].map(Clone::clone).to_vec()
    }

    /// Mean cosine of a batch with its targets.
    fn cosine(&self, batch: &Batch) -> Result<Tensor> {
        let words = batch.word_texts.len();
        let list = |values: &[u32]| Tensor::from_slice(values, values.len(), &DEVICE);
        let embed = self.config.embed;
        let table = match &self.codes {
            None => self.table.as_tensor().clone(),
            Some(codes) => self.table.index_select(codes, 0)?.reshape(((), embed))?,
        };
        let weights = Tensor::from_slice(&batch.row_weights, (batch.row_weights.len(), 1), &DEVICE)?;
        let rows = table.index_select(&list(&batch.rows)?, 0)?.broadcast_mul(&weights)?;
        let vectors = Tensor::zeros((words, embed), DType::F32, &DEVICE)?.index_add(
            &list(&batch.row_words)?,
            &rows,
            0,
        )?;
        // Row 0 is what stands before and after a text.
        let padded = Tensor::cat(&[&Tensor::zeros((1, embed), DType::F32, &DEVICE)?, &vectors], 0)?;
        let previous = padded.index_select(&list(&batch.previous)?, 0)?;
        let next = padded.index_select(&list(&batch.next)?, 0)?;
        let window = Tensor::cat(&[&previous, &vectors, &next], 1)?;
        let hidden = window.matmul(&self.hidden.t()?)?.broadcast_add(&self.bias)?.relu()?;
        let texts = list(&batch.word_texts)?;
        let sum = |values: &Tensor, width: usize| {
            Tensor::zeros((batch.texts, width), DType::F32, &DEVICE)?.index_add(&texts, values, 0)
        };
        let output = (sum(&vectors, embed)?.matmul(&self.direct.t()?)?
            + sum(&hidden, self.config.hidden)?.matmul(&self.context.t()?)?)?;
        let targets = Tensor::from_slice(&batch.targets, (batch.texts, self.config.dims), &DEVICE)?;
        let norm = (output.sqr()?.sum(1)? + 1e-8)?.sqrt()?;
        Ok((output * targets)?.sum(1)?.div(&norm)?.mean_all()?)
    }

    /// Fixes the codes of all rows; the codebooks are trained on.
    fn fix_codes(&mut self, uses: &[f32]) -> Result<Quantised> {
        let rows = self.table.flatten_all()?.to_vec1::<f32>()?;
        let weights: Vec<f32> = uses.iter().map(|uses| (uses + 1.0).sqrt()).collect();
        let made = quantise(&rows, &weights, self.config.embed);
        let subspaces = self.config.embed / SUBSPACE;
        let flat: Vec<u32> = made
            .codes
            .iter()
            .enumerate()
            .map(|(at, code)| (at % subspaces * CENTROIDS) as u32 + u32::from(*code))
            .collect();
        let count = flat.len();
        self.codes = Some(Tensor::from_vec(flat, count, &DEVICE)?);
        let books = Tensor::from_slice(&made.codebooks, (subspaces * CENTROIDS, SUBSPACE), &DEVICE)?;
        self.table = Var::from_tensor(&books)?;
        Ok(made)
    }
}

/// Distils an encoder from texts and the teacher's embeddings of them. `progress` is told the pass and its mean cosine.
pub fn distil(
    config: &DistilConfig,
    texts: &[&str],
    embeddings: &[Vec<f32>],
    mut progress: impl FnMut(usize, f64),
) -> Result<Distilled> {
    ensure!(texts.len() == embeddings.len() && texts.len() > 100, "an encoder needs more texts");
    let reading = read(texts, config);
    ensure!(
        reading.stems.len() == config.words,
        "the texts have {} different words, the encoder has room for {}: use more texts",
        reading.stems.len(),
        config.words
    );
    let targets = targets(embeddings, config.dims);
    let mut network = Network::new(config)?;
    let mut draws = Draws::new(12);
    let mut order: Vec<usize> = (0..texts.len()).filter(|index| !held_out(*index)).collect();
    let steps = order.len().div_ceil(config.batch);
    let mut train = |network: &Network, passes: usize, first: usize, rate: f64| -> Result<()> {
        let params = ParamsAdamW { lr: rate, weight_decay: 0.0, ..ParamsAdamW::default() };
        let mut optimiser = AdamW::new(network.variables(), params)?;
        for pass in 0..passes {
            draws.shuffle(&mut order);
            let mut sum = 0.0;
            for (step, chosen) in order.chunks(config.batch).enumerate() {
                let done = (pass * steps + step) as f64 / (passes * steps) as f64;
                optimiser.set_learning_rate(rate * (1.0 - done).max(0.02));
                let batch = Batch::new(&reading, chosen, &targets, 8, &mut draws);
                let cosine = network.cosine(&batch)?;
                optimiser.backward_step(&cosine.neg()?)?;
                sum += f64::from(cosine.to_scalar::<f32>()?);
            }
            progress(first + pass + 1, sum / steps as f64);
        }
        Ok(())
    };
    train(&network, config.passes, 0, config.rate)?;
    let quantised = network.fix_codes(&reading.uses)?;
    train(&network, config.quantised_passes, config.passes, config.rate / 2.0)?;
    let file = emit(&network, &reading, &quantised.codes, texts)?;
    let encoder = BaseEncoder::parse(&file)?;
    let mut vector = [0; MAX_DIMS];
    let (mut cosine, mut count) = (0.0, 0);
    for index in (0..texts.len()).filter(|index| held_out(*index)) {
        encoder.encode(texts[index], &mut vector);
        cosine += vector.iter().zip(&targets[index]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            / 1024.0;
        count += 1;
    }
    Ok(Distilled { file, held_out_cosine: cosine / f64::from(count.max(1)) })
}

/// Rounds everything to bytes and writes the file.
fn emit(network: &Network, reading: &Reading, codes: &[u8], texts: &[&str]) -> Result<Vec<u8>> {
    let config = &network.config;
    let flat = |var: &Var| -> Result<Vec<f32>> { Ok(var.flatten_all()?.to_vec1::<f32>()?) };
    let (books, hidden, bias) = (flat(&network.table)?, flat(&network.hidden)?, flat(&network.bias)?);
    let (direct, context) = (flat(&network.direct)?, flat(&network.context)?);
    let unit = |values: &[f32]| values.iter().fold(1e-9f32, |most, value| most.max(value.abs())) / 127.0;
    let bytes = |values: &[f32], unit: f32| -> Vec<u8> {
        values.iter().map(|value| (value / unit).round().clamp(-127.0, 127.0) as i8 as u8).collect()
    };
    let (book_unit, hidden_unit, direct_unit) = (unit(&books), unit(&hidden), unit(&direct));
    // Hidden sums over a text stay below 2^31: values of up to 3 * embed * 127 * 127 for 128 words.
    let hidden_shift = 4u8;
    // One unit of A's products is book * direct; one of U's is book * hidden * 2^shift * context. The ratio has to be a
    // power of two; the unit of U is rounded up to what makes it one.
    let context_one = book_unit * hidden_unit * f32::from(1u16 << hidden_shift);
    let wanted = unit(&context) * context_one / (book_unit * direct_unit);
    let power = wanted.log2().ceil() as i32;
    ensure!((-15..=15).contains(&power), "the two parts of the encoder differ too much: 2^{power}");
    let context_unit = 2f32.powi(power) * book_unit * direct_unit / context_one;
    let mut index_bits = 1u8;
    while 1usize << index_bits < config.words / 4 && index_bits < 13 {
        index_bits += 1;
    }
    let shape = EncoderShape {
        embed: config.embed as u16,
        hidden: config.hidden as u16,
        dims: config.dims as u16,
        hidden_shift,
        direct_shift: (-power).max(0) as u8,
        context_shift: power.max(0) as u8,
        index_bits,
        words: config.words as u32,
        pieces: config.pieces as u32,
    };
    let mut body = Vec::new();
    for bucket in 0..=(1u64 << index_bits) {
        let below = reading.stems.partition_point(|stem| u64::from(*stem) >> (32 - index_bits) < bucket);
        body.extend((below as u16).to_le_bytes());
    }
    reading.stems.iter().for_each(|stem| body.extend((*stem as u16).to_le_bytes()));
    body.extend(codes);
    body.extend(bytes(&books, book_unit));
    body.extend(bytes(&hidden, hidden_unit));
    bias.iter()
        .for_each(|value| body.extend(((value / (book_unit * hidden_unit)).round() as i32).to_le_bytes()));
    body.extend(bytes(&direct, direct_unit));
    body.extend(bytes(&context, context_unit));
    let hash: [u8; 32] = Sha256::digest(&body).into();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    let mut file = shape.emit(id).to_vec();
    file.extend(body);
    // What was written is what devices read.
    let encoder = BaseEncoder::parse(&file)?;
    let mut vector = [0; MAX_DIMS];
    for text in texts.iter().take(100) {
        encoder.encode(text, &mut vector);
        let square: i32 = vector.iter().map(|value| i32::from(*value).pow(2)).sum();
        ensure!(
            square == 0 || (square - (1 << 20)).abs() < 1 << 17,
            "the encoder's vectors have no fixed length"
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_learns_the_direction_of_its_teacher() {
        // Two topics, two directions of a made-up teacher.
        let names = ["flood", "water", "river", "rock", "snow", "stone"];
        let texts: Vec<String> = (0..600)
            .map(|n| format!("{} {} {}", names[n % 2 * 3], names[n % 2 * 3 + n / 2 % 3], n / 10))
            .collect();
        let embeddings: Vec<Vec<f32>> = (0..600)
            .map(|n| if n % 2 == 0 { vec![1.0, 0.1, 0.0, 0.2] } else { vec![0.0, 1.0, 0.3, 0.0] })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let config = DistilConfig {
            embed: 8,
            hidden: 8,
            dims: 2,
            words: 6,
            pieces: 64,
            passes: 6,
            quantised_passes: 3,
            rate: 0.02,
            batch: 32,
        };
        let made = distil(&config, &texts, &embeddings, |_, _| {}).unwrap();
        assert!(made.held_out_cosine > 0.9, "{}", made.held_out_cosine);
    }
}
