//! [`encode`] and [`decode`]: symbols, model and range coder put together.

use core::fmt;

use crate::model::{Model, TOTAL};
use crate::range::{Decoder, Encoder, Progress};
use crate::symbols::{self, END, ESCAPE, ESCAPE_RANGES, ESCAPE_WEIGHTS, SYMBOLS};
use crate::{CODEC_RAW, CODEC_TEXT};

/// Why a text was not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The output buffer is shorter than the shortest form of the text.
    BufferTooSmall,
}

/// Why a payload was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The codec byte is none that this version knows.
    UnknownCodec(u8),
    /// The text does not fit the output buffer.
    BufferTooSmall,
    /// The payload is not a text of this codec.
    Malformed,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output buffer is too small for the text")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownCodec(codec) => write!(f, "unknown text codec {codec}"),
            DecodeError::BufferTooSmall => f.write_str("the output buffer is too small for the text"),
            DecodeError::Malformed => f.write_str("the payload is not a coded text"),
        }
    }
}

impl core::error::Error for EncodeError {}
impl core::error::Error for DecodeError {}

/// A text ends with fewer unspent bits than this: one byte, and what the end mark may cost.
const END_WINDOW: i32 = 16;

/// The end mark's share. Both ends know the payload's length, so the end cannot come while a
/// shorter payload would have done, and is likely once the payload is nearly used up. That makes
/// an end cost less than its model says. The numbers were found by trial on training texts.
///
/// `left` is the number of payload bits not spent yet.
fn end_share(left: i32, model_share: u32) -> u32 {
    let (odds, least, most) = match left {
        END_WINDOW.. => return 0,
        // Rare, but it must stay possible, or some texts would have no code.
        8.. => (2, TOTAL / 128, TOTAL / 16),
        _ => (12, TOTAL / 16, TOTAL / 4 * 3),
    };
    let boosted = u64::from(model_share) * odds;
    let share = boosted * u64::from(TOTAL) / (boosted + u64::from(TOTAL - model_share));
    (share as u32).clamp(least, most)
}

/// Encodes `text` into `out`. Returns the codec byte, which travels beside the payload, and the
/// payload's length. The payload is never longer than the text; `out` of the text's length is
/// always enough.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] when neither the coded nor the raw form fits `out`.
pub fn encode(text: &str, out: &mut [u8]) -> Result<(u8, usize), EncodeError> {
    let limit = text.len().saturating_sub(1).min(out.len());
    if let Some(len) = encode_model(text, &mut out[..limit]) {
        return Ok((CODEC_TEXT, len));
    }
    let raw = out.get_mut(..text.len()).ok_or(EncodeError::BufferTooSmall)?;
    raw.copy_from_slice(text.as_bytes());
    Ok((CODEC_RAW, text.len()))
}

/// Everything that changes while a text is written.
#[derive(Clone, Copy)]
struct Writer {
    model: Model,
    escapes: Escapes,
    last: u8,
    progress: Progress,
    /// Bytes of the text that are written.
    at: usize,
}

/// Finds the shortest coded form that fits `out`.
fn encode_model(text: &str, out: &mut [u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    let room = out.len();
    let mut encoder = Encoder::new(out);
    let progress = encoder.progress();
    let mut writer = Writer { model: Model::new(), escapes: Escapes::new(), last: END, progress, at: 0 };
    // The end mark's share depends on the payload's length, which is not known yet; but as long as
    // the payload's end is far it is zero. So write without end marks first, and keep where each
    // of the last few payload bytes began, to write the rest again from there.
    const KEPT: usize = 6;
    let mut kept = [writer; KEPT];
    let mut newest = 0;
    let mut bytes = 0;
    for c in text.chars() {
        let spent = encoder.spent_bits() / 8;
        if spent != bytes {
            bytes = spent;
            newest = (newest + 1) % KEPT;
            kept[newest] = Writer { progress: encoder.progress(), ..writer };
        }
        writer.write(c, &mut encoder, None);
        if encoder.overflowed() {
            return None;
        }
    }
    let spent = encoder.spent_bits() as usize;
    let least = spent.div_ceil(8);
    // The newest place from which the end of the shortest payload was still too far to matter. All
    // tries start there: each overwrites what lies behind.
    let mut place = kept[(newest + 1) % KEPT];
    for i in 2..=KEPT {
        let later = kept[(newest + i) % KEPT];
        let left = least as i32 * 8 - later.progress.spent_bits() as i32;
        if left >= END_WINDOW && later.at >= place.at {
            place = later;
        }
    }
    for len in least..=room.min(spent / 8 + 3) {
        let bits = len as i32 * 8;
        let mut start = place;
        encoder.restore(start.progress);
        for c in text[start.at..].chars() {
            start.write(c, &mut encoder, Some(bits));
        }
        let mut shares = [0; SYMBOLS];
        start.model.shares(&mut shares);
        let share = end_share(bits - encoder.spent_bits() as i32, shares[usize::from(END)]);
        if share == 0 {
            continue;
        }
        encoder.encode(0, share, TOTAL);
        if let Some(used) = encoder.finish(len) {
            out[used..len].fill(0);
            return Some(len);
        }
    }
    None
}

impl Writer {
    /// Writes a character; `bits` is the payload's length once it is decided.
    fn write(&mut self, c: char, encoder: &mut Encoder<'_>, bits: Option<i32>) {
        let mut shares = [0; SYMBOLS];
        self.model.shares(&mut shares);
        let model_end = shares[usize::from(END)];
        let end = bits.map_or(0, |bits| end_share(bits - encoder.spent_bits() as i32, model_end));
        if end > 0 {
            encoder.encode(end, TOTAL - end, TOTAL);
        }
        let symbol = symbols::symbol_of(c);
        let again = self.last == ESCAPE && {
            self.escapes.again.encode(symbol == ESCAPE, encoder);
            symbol == ESCAPE
        };
        if !again {
            let start = shares[1..usize::from(symbol)].iter().sum();
            encoder.encode(start, shares[usize::from(symbol)], symbol_total(&shares, self.last));
        }
        if symbol == ESCAPE {
            self.escapes.encode(c, encoder);
        }
        self.model.update(symbol);
        self.last = symbol;
        self.at += c.len_utf8();
    }
}

/// Decodes a payload that travelled with `codec` into `out` and returns the text.
///
/// # Errors
/// See [`DecodeError`]. Arbitrary bytes give some text or an error, never a panic, and take time
/// proportional to the text at most.
pub fn decode<'a>(codec: u8, payload: &[u8], out: &'a mut [u8]) -> Result<&'a str, DecodeError> {
    let len = match codec {
        CODEC_RAW => {
            out.get_mut(..payload.len()).ok_or(DecodeError::BufferTooSmall)?.copy_from_slice(payload);
            payload.len()
        }
        CODEC_TEXT => decode_model(payload, out)?,
        other => return Err(DecodeError::UnknownCodec(other)),
    };
    core::str::from_utf8(&out[..len]).map_err(|_| DecodeError::Malformed)
}

fn decode_model(payload: &[u8], out: &mut [u8]) -> Result<usize, DecodeError> {
    if payload.is_empty() {
        return Ok(0);
    }
    let bits = i32::try_from(payload.len()).ok().and_then(|len| len.checked_mul(8));
    let bits = bits.ok_or(DecodeError::Malformed)?;
    let mut decoder = Decoder::new(payload);
    let mut model = Model::new();
    let mut escapes = Escapes::new();
    let mut last = END;
    let mut shares = [0u32; SYMBOLS];
    let mut len = 0;
    loop {
        let left = bits - decoder.spent_bits() as i32;
        // Every text ends inside its payload, give or take the last interval's width.
        if left < -32 {
            return Err(DecodeError::Malformed);
        }
        model.shares(&mut shares);
        let end = end_share(left, shares[usize::from(END)]);
        if end > 0 {
            if decoder.peek(TOTAL) < end {
                return Ok(len);
            }
            decoder.consume(end, TOTAL - end, TOTAL);
        }
        let again = last == ESCAPE && escapes.again.decode(&mut decoder);
        let symbol = if again { ESCAPE } else { decode_symbol(&mut decoder, &shares, last) };
        let c = match symbols::char_of(symbol) {
            Some(c) => c,
            None => escapes.decode(&mut decoder).ok_or(DecodeError::Malformed)?,
        };
        let end_of_char = len + c.len_utf8();
        let slot = out.get_mut(len..end_of_char).ok_or(DecodeError::BufferTooSmall)?;
        c.encode_utf8(slot);
        len = end_of_char;
        model.update(symbol);
        last = symbol;
    }
}

/// Sum of the shares of the symbols that can stand here: not the end mark, which is coded apart,
/// and no escape behind one, for the same reason. The escape is the last symbol, the end mark the
/// first, so what is left lies together.
fn symbol_total(shares: &[u32; SYMBOLS], last: u8) -> u32 {
    let escape = if last == ESCAPE { shares[usize::from(ESCAPE)] } else { 0 };
    TOTAL - shares[usize::from(END)] - escape
}

/// Reads a symbol other than the end mark.
fn decode_symbol(decoder: &mut Decoder<'_>, shares: &[u32; SYMBOLS], last: u8) -> u8 {
    let total = symbol_total(shares, last);
    let at = decoder.peek(total);
    let (mut symbol, mut start) = (1u8, 0);
    while start + shares[usize::from(symbol)] <= at {
        start += shares[usize::from(symbol)];
        symbol += 1;
    }
    decoder.consume(start, shares[usize::from(symbol)], total);
    symbol
}

/// Codes the characters behind escapes, and whether escapes follow each other. Characters of one
/// alphabet lie close together, so the block of 128 code points of the last one is likely to be
/// the next one's; a text in another alphabet is mostly escapes.
#[derive(Clone, Copy)]
struct Escapes {
    block: u32,
    same_block: Flag,
    again: Flag,
}

/// Code points in a block.
const BLOCK: u32 = 128;

impl Escapes {
    fn new() -> Self {
        // Western accents and the degree sign: the likeliest guess for a first escape.
        Escapes { block: 0x80 / BLOCK, same_block: Flag::new(40), again: Flag::new(24) }
    }

    fn encode(&mut self, c: char, encoder: &mut Encoder<'_>) {
        let code = u32::from(c);
        let same = code / BLOCK == self.block;
        self.same_block.encode(same, encoder);
        if !same {
            let index = symbols::escape_range(c);
            let start = ESCAPE_RANGES[..index].iter().map(|r| r.2).sum();
            let (from, to, weight) = ESCAPE_RANGES[index];
            encoder.encode(start, weight, ESCAPE_WEIGHTS);
            encoder.encode((code - from) / BLOCK, 1, (to - from).div_ceil(BLOCK));
            self.block = code / BLOCK;
        }
        encoder.encode(code % BLOCK, 1, BLOCK);
    }

    /// Nothing when the payload holds no valid character here.
    fn decode(&mut self, decoder: &mut Decoder<'_>) -> Option<char> {
        if !self.same_block.decode(decoder) {
            let at = decoder.peek(ESCAPE_WEIGHTS);
            let mut start = 0;
            let mut index = 0;
            while start + ESCAPE_RANGES[index].2 <= at {
                start += ESCAPE_RANGES[index].2;
                index += 1;
            }
            let (from, to, weight) = ESCAPE_RANGES[index];
            decoder.consume(start, weight, ESCAPE_WEIGHTS);
            let blocks = (to - from).div_ceil(BLOCK);
            let block = decoder.peek(blocks);
            decoder.consume(block, 1, blocks);
            self.block = from / BLOCK + block;
        }
        let low = decoder.peek(BLOCK);
        decoder.consume(low, 1, BLOCK);
        char::from_u32(self.block * BLOCK + low)
    }
}

/// A yes or no whose share follows what was seen in this text.
#[derive(Clone, Copy)]
struct Flag {
    /// Share of "yes", of [`FLAG_TOTAL`].
    yes: u32,
}

const FLAG_TOTAL: u32 = 64;

impl Flag {
    fn new(yes: u32) -> Self {
        Flag { yes }
    }

    fn encode(&mut self, yes: bool, encoder: &mut Encoder<'_>) {
        let (start, size) = self.part(yes);
        encoder.encode(start, size, FLAG_TOTAL);
        self.update(yes);
    }

    fn decode(&mut self, decoder: &mut Decoder<'_>) -> bool {
        let yes = decoder.peek(FLAG_TOTAL) < self.yes;
        let (start, size) = self.part(yes);
        decoder.consume(start, size, FLAG_TOTAL);
        self.update(yes);
        yes
    }

    fn part(&self, yes: bool) -> (u32, u32) {
        if yes { (0, self.yes) } else { (self.yes, FLAG_TOTAL - self.yes) }
    }

    fn update(&mut self, yes: bool) {
        self.yes = if yes { self.yes + (FLAG_TOTAL - self.yes) / 4 } else { self.yes - self.yes / 4 };
    }
}
