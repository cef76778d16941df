//! all-MiniLM-L6-v2, run by candle: tokens, six layers, mean over the tokens, length 1.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// Entries of an embedding.
pub const DIMS: usize = 384;
/// Tokens that the model was made for; longer texts are cut, as in the reference implementation.
const TOKENS_MAX: usize = 256;
/// Texts in one pass.
const BATCH: usize = 32;

/// The loaded model.
pub struct MiniLm {
    model: BertModel,
    tokenizer: Tokenizer,
}

impl MiniLm {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            std::fs::read(folder.join(name))
                .with_context(|| format!("cannot read {}", folder.join(name).display()))
        };
        let config: Config = serde_json::from_slice(&read("config.json")?).context("config.json")?;
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?)
            .map_err(|error| anyhow!("tokenizer.json: {error}"))?;
        tokenizer.with_padding(Some(PaddingParams::default()));
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: TOKENS_MAX, ..Default::default() }))
            .map_err(|error| anyhow!("tokenizer.json: {error}"))?;
        let weights = read("model.safetensors")?;
        let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { model: BertModel::load(builder, &config)?, tokenizer })
    }

    /// Embeddings of texts, [`DIMS`] entries each, of length 1.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            all.extend(self.embed_batch(batch)?);
        }
        Ok(all)
    }

    fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let encodings = self
            .tokenizer
            .encode_batch(texts.to_vec(), true)
            .map_err(|error| anyhow!("cannot split into tokens: {error}"))?;
        let (rows, columns) =
            (encodings.len(), encodings.first().map_or(0, |encoding| encoding.get_ids().len()));
        let gather = |pick: fn(&tokenizers::Encoding) -> &[u32]| -> Result<Tensor> {
            let values: Vec<u32> =
                encodings.iter().flat_map(|encoding| pick(encoding).iter().copied()).collect();
            Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
        };
        let ids = gather(tokenizers::Encoding::get_ids)?;
        let kinds = gather(tokenizers::Encoding::get_type_ids)?;
        let mask = gather(tokenizers::Encoding::get_attention_mask)?;
        let states = self.model.forward(&ids, &kinds, Some(&mask))?;
        let weights = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sum = states.broadcast_mul(&weights)?.sum(1)?;
        let mean = sum.broadcast_div(&weights.sum(1)?)?;
        let norm = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&norm)?.to_vec2::<f32>()?)
    }
}
