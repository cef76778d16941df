//! Model files: any bytes are a file or an error, and a file that was taken classifies any text without a fault.
#![no_main]

use compotastic_model::{BaseEncoder, CALIBRATION_POINTS, Scratch, TaskHeader, TaskPart, classify};
use libfuzzer_sys::fuzz_target;

/// The fuzzer's bytes, over and over, as the rest of a file.
fn filled(mut file: Vec<u8>, length: usize, bytes: &[u8]) -> Vec<u8> {
    file.extend(bytes.iter().copied().chain([0]).cycle().take(length));
    file
}

/// An encoder of small sizes with any numbers in it.
fn encoder_file(dims: u8, shifts: &[u8; 3], numbers: &[u8]) -> Vec<u8> {
    const WORDS: u16 = 6;
    const PIECES: usize = 9;
    const INDEX_BITS: u8 = 2;
    let (embed, hidden, dims) = (8, 5, usize::from(dims).max(1));
    let mut file = b"CBE2".to_vec();
    file.extend([embed as u8, 0, hidden as u8, 0, dims as u8, 0]);
    file.extend([shifts[0] % 31, shifts[1] % 16, shifts[2] % 16, INDEX_BITS]);
    file.extend(u32::from(WORDS).to_le_bytes());
    file.extend((PIECES as u32).to_le_bytes());
    file.extend(b"fuzzbase");
    file.resize(40, 0);
    // The index rises to the number of words.
    let mut below: Vec<u16> =
        numbers.iter().map(|n| u16::from(*n) % (WORDS + 1)).chain([WORDS; 5]).take(5).collect();
    below.sort_unstable();
    file.extend(below.iter().flat_map(|n| n.to_le_bytes()));
    let codebooks = embed / 4 * 256 * 4;
    let layers = hidden * 3 * embed + 4 * hidden + dims * (embed + hidden);
    let rest = 2 * usize::from(WORDS) + (usize::from(WORDS) + PIECES) * embed / 4 + codebooks + layers;
    filled(file, rest, numbers)
}

fn task_file(head: &[u8; 8], dims: u8, body: &[u8]) -> Vec<u8> {
    let [classes, shift, correction_step, threshold, urgent_margin, urgent, point, count] = *head;
    let classes = 2 + classes % 63;
    let corrections = u16::from(count) * 4;
    let mut calibration = [point; CALIBRATION_POINTS];
    calibration[CALIBRATION_POINTS - 1] = 255;
    let header = TaskHeader {
        task: 1,
        classes,
        version: 1,
        base_id: *b"fuzzbase",
        dims: u16::from(dims),
        corrections,
        shift: shift % 25,
        correction_step,
        threshold,
        urgent_margin,
        urgent: u64::from(urgent) * 0x0101_0101_0101_0101,
        calibration,
    };
    let weights = usize::from(classes) * (usize::from(dims) + 2);
    let mut file = filled(header.emit().to_vec(), weights, body);
    // Corrections for the classes that there are, sorted by hash; for half of the parts all alike, since sums of many
    // are what may go wrong.
    let alike = point & 1 == 1;
    let source = if alike { &body[..body.len().min(4)] } else { body };
    let mut bytes = source.iter().copied().chain(if alike { None } else { Some(0) }).cycle();
    let mut entries: Vec<[u8; 4]> = (0..corrections)
        .map(|_| core::array::from_fn(|_| bytes.next().unwrap_or(0)))
        .map(|[low, high, class, amount]| [low, high, class % classes, amount])
        .collect();
    entries.sort_by_key(|entry| u16::from_le_bytes([entry[0], entry[1]]));
    file.extend(entries.concat());
    file
}

fn run(encoder: &[u8], part: &[u8], text: &str) {
    let (Ok(base), Ok(part)) = (BaseEncoder::parse(encoder), TaskPart::parse(part)) else { return };
    let mut scratch = Scratch::default();
    let answer = classify(&base, &part, text, &mut scratch);
    assert!(usize::from(answer.class) < part.classes());
    assert_eq!(classify(&base, &part, text, &mut scratch), answer);
}

fuzz_target!(|data: &[u8]| {
    let _ = BaseEncoder::parse(data);
    let _ = TaskPart::parse(data);
    let Some((head, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((&[dims, text_length], rest)) = rest.split_first_chunk::<2>() else { return };
    let (text, body) = rest.split_at(usize::from(text_length).min(rest.len()));
    let text = String::from_utf8_lossy(text);
    // As they come, and with headers that fit.
    let (raw_encoder, raw_part) = body.split_at(body.len() / 2);
    run(raw_encoder, raw_part, &text);
    let shifts = [head[1], head[2], head[3]];
    run(&encoder_file(dims, &shifts, body), &task_file(head, dims, body), &text);
});
