//! What a task part makes of its logits: class, confidence, and when it had rather ask.

use compotastic_model::{
    Answer, BaseEncoder, Logits, MAX_CLASSES, MAX_DIMS, ModelError, Scratch, TaskHeader, TaskPart, classify,
    correction_keys, logits,
};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

/// A part without weights: its logits are the biases, in 1/256, and the corrections.
struct Part {
    header: TaskHeader,
    biases: Vec<i16>,
    corrections: Vec<(u16, u8, i8)>,
}

impl Part {
    /// Confidence of 100 at no margin, 10 more for each half.
    fn new(biases: &[i16]) -> Self {
        let header = TaskHeader {
            task: 1,
            classes: biases.len() as u8,
            version: 1,
            base_id: *b"whatever",
            dims: 0,
            corrections: 0,
            shift: 0,
            correction_step: 32,
            threshold: 0,
            urgent_margin: 0,
            urgent: 0,
            calibration: std::array::from_fn(|point| 100 + 10 * point as u8),
        };
        Self { header, biases: biases.to_vec(), corrections: Vec::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut corrections = self.corrections.clone();
        corrections.sort_by_key(|correction| correction.0);
        let header = TaskHeader { corrections: corrections.len() as u16, ..self.header };
        let mut bytes = header.emit().to_vec();
        bytes.extend(self.biases.iter().flat_map(|bias| bias.to_le_bytes()));
        for (key, class, amount) in corrections {
            bytes.extend(key.to_le_bytes());
            bytes.extend([class, amount as u8]);
        }
        bytes
    }

    fn answer(&self, text: &str) -> Answer {
        let bytes = self.bytes();
        let part = TaskPart::parse(&bytes).unwrap();
        classify(&BaseEncoder::parse(BASE).unwrap(), &part, text, &mut Scratch::default())
    }
}

/// The keys of a text, words and pairs as they come.
fn keys(text: &str) -> Vec<u16> {
    let mut found = Vec::new();
    correction_keys(text, |key| found.push(key));
    found
}

#[test]
fn the_largest_logit_wins_and_of_equals_the_first() {
    assert_eq!(Part::new(&[-5, 7, 6]).answer("").class, 1);
    assert_eq!(Part::new(&[3, 9, 9]).answer("").class, 1);
    assert_eq!(Part::new(&[i16::MIN, i16::MIN]).answer("").class, 0);
    let mut many = [0; MAX_CLASSES];
    many[MAX_CLASSES - 1] = 1;
    assert_eq!(usize::from(Part::new(&many).answer("").class), MAX_CLASSES - 1);
}

#[test]
fn confidence_is_read_between_the_points() {
    // A half of a logit is 128.
    let cases =
        [(0, 100), (64, 105), (127, 109), (128, 110), (15 * 128 - 1, 249), (15 * 128, 250), (i16::MAX, 250)];
    for (margin, confidence) in cases {
        assert_eq!(Part::new(&[0, margin]).answer("").confidence, confidence, "margin {margin}");
    }
    // The margin is to the second best.
    assert_eq!(Part::new(&[0, 192, 256]).answer("").confidence, 105);
    // The largest one that there is.
    assert_eq!(Part::new(&[i16::MIN, i16::MAX]).answer("").confidence, 250);
}

#[test]
fn below_its_threshold_it_had_rather_ask() {
    for (threshold, unsure) in [(0, false), (110, false), (111, true), (255, true)] {
        let mut part = Part::new(&[0, 128]);
        part.header.threshold = threshold;
        let expected = Answer { class: 1, confidence: 110, unsure };
        assert_eq!(part.answer(""), expected, "threshold {threshold}");
    }
}

#[test]
fn an_urgent_class_that_is_near_makes_it_ask() {
    // One logit is 16 of the margin's units.
    for (urgent, margin, unsure) in [
        (0b01, 0, false),
        (0b01, 16, false),
        (0b01, 17, true),
        (0b01, 255, true),
        // The answer itself is the urgent one, or none is.
        (0b10, 255, false),
        (0b11, 255, false),
        (0b00, 255, false),
        // Of a class that there is not.
        (0b100, 255, false),
    ] {
        let mut part = Part::new(&[0, 256]);
        (part.header.urgent, part.header.urgent_margin) = (urgent, margin);
        let answer = part.answer("");
        assert_eq!((answer.class, answer.unsure), (1, unsure), "urgent {urgent:b}, margin {margin}");
    }
}

#[test]
fn corrections_count_for_their_words_and_pairs_in_any_form() {
    let text = "rope needed";
    let [rope, needed, pair] = keys(text)[..] else { panic!("two words and a pair") };
    let class = |corrections: &[(u16, u8, i8)], text| {
        let mut part = Part::new(&[100, 0]);
        part.corrections = corrections.to_vec();
        part.answer(text).class
    };
    assert_eq!(class(&[], text), 0);
    // 4 * 32 = 128 is more than 100, 3 * 32 is not.
    assert_eq!(class(&[(rope, 1, 4)], text), 1);
    assert_eq!(class(&[(rope, 1, 3)], text), 0);
    assert_eq!(class(&[(rope, 1, 4)], "ROPES!"), 1);
    assert_eq!(class(&[(rope, 1, 4)], "needed"), 0);
    assert_eq!(class(&[(rope, 1, 2), (needed, 1, 2)], text), 1, "they add up");
    assert_eq!(class(&[(rope, 1, 2)], "rope and rope"), 1, "each time");
    assert_eq!(class(&[(rope, 0, -4)], text), 1, "they subtract");
    assert_eq!(class(&[(pair, 1, 4)], text), 1);
    assert_eq!(class(&[(pair, 1, 4)], "needed rope"), 0, "a pair has an order");
    assert_eq!(class(&[(rope, 0, 1), (rope, 1, 6)], text), 1, "one word, two classes");
    // Neighbours in the list are not touched.
    let around = [(rope.wrapping_sub(1), 1, 100), (rope, 0, 1), (rope.wrapping_add(1), 1, 100)];
    assert_eq!(class(&around, "rope"), 0);
}

#[test]
fn each_of_many_corrections_is_found() {
    let mut part = Part::new(&[1, 0]);
    let all: Vec<u16> = (0..1000u32).map(|index| keys(&format!("word{}", letters(index)))[0]).collect();
    part.corrections = all.iter().map(|key| (*key, 1, 1)).collect();
    let bytes = part.bytes();
    let (base, parsed) = (BaseEncoder::parse(BASE).unwrap(), TaskPart::parse(&bytes).unwrap());
    for index in 0..1000 {
        let text = format!("word{}", letters(index));
        assert_eq!(classify(&base, &parsed, &text, &mut Scratch::default()).class, 1, "{text}");
    }
}

/// Letters only, since digits are one word whatever they are.
fn letters(mut number: u32) -> String {
    let mut text = String::new();
    for _ in 0..3 {
        text.push(char::from(b'a' + (number % 13) as u8));
        number /= 13;
    }
    text
}

#[test]
fn fields_out_of_range_are_refused_each() {
    /// The file of `part` after `change`, with the body that its header asks for.
    fn changed(change: impl Fn(&mut Part)) -> Result<(), ModelError> {
        let mut part = Part::new(&[1, 2]);
        part.corrections = vec![(10, 0, 1), (20, 1, 1)];
        change(&mut part);
        let mut bytes = part.header.emit().to_vec();
        bytes.extend(vec![0; usize::from(part.header.classes) * (usize::from(part.header.dims) + 2)]);
        for (key, class, amount) in &part.corrections {
            bytes.extend(key.to_le_bytes());
            bytes.extend([*class, *amount as u8]);
        }
        bytes[18..20].copy_from_slice(&(part.corrections.len() as u16).to_le_bytes());
        TaskPart::parse(&bytes).map(drop)
    }
    assert_eq!(changed(|_| ()), Ok(()));
    assert_eq!(changed(|part| part.header.classes = MAX_CLASSES as u8), Ok(()));
    assert_eq!(changed(|part| part.header.dims = MAX_DIMS as u16), Ok(()));
    assert_eq!(changed(|part| part.header.shift = 24), Ok(()));
    assert_eq!(changed(|part| part.corrections[1].0 = 10), Ok(()), "one key twice");
    let bad: [fn(&mut Part); 8] = [
        |part| {
            part.header.classes = 0;
            part.corrections.clear();
        },
        |part| {
            part.header.classes = 1;
            part.corrections.clear();
        },
        |part| part.header.classes = MAX_CLASSES as u8 + 1,
        |part| part.header.dims = MAX_DIMS as u16 + 1,
        |part| part.header.shift = 25,
        |part| part.header.calibration[8] = 1,
        |part| part.corrections[1].1 = 2,
        |part| part.corrections[0].0 = 21,
    ];
    for (number, change) in bad.into_iter().enumerate() {
        assert_eq!(changed(change), Err(ModelError::Field), "case {number}");
    }
}

#[test]
fn a_hostile_part_saturates() {
    let key = keys("rope")[0];
    for amount in [i8::MIN, i8::MAX] {
        let mut part = Part::new(&[i16::MAX, i16::MIN]);
        part.header.correction_step = 255;
        part.corrections = vec![(key, 0, amount); 65_535];
        // 128 words, each with all corrections.
        let answer = part.answer(&"rope ".repeat(200));
        assert_eq!(answer.class, u8::from(amount < 0));
        assert_eq!(answer.confidence, 250);
    }
}

#[test]
fn a_part_of_other_dimensions_uses_those_that_there_are() {
    let base = BaseEncoder::parse(BASE).unwrap();
    let values = |dims: usize| {
        let mut part = Part::new(&[0, 0]);
        (part.header.dims, part.header.shift) = (dims as u16, 4);
        let mut bytes = part.header.emit().to_vec();
        // The second class is against the first in all.
        bytes.extend((0..dims).map(|at| (at * 37 % 127) as u8));
        bytes.extend((0..dims).map(|at| (at * 37 % 127) as u8).map(u8::wrapping_neg));
        bytes.extend([0; 4]);
        let (mut vector, mut out): (_, Logits) = ([0; MAX_DIMS], [0; MAX_CLASSES]);
        let text = "two hikers below the ridge";
        logits(&base, &TaskPart::parse(&bytes).unwrap(), text, &mut vector, &mut out);
        let expected: i32 =
            (0..dims.min(base.dims())).map(|at| (at * 37 % 127) as i32 * i32::from(vector[at])).sum();
        assert_eq!(out[..2], [expected >> 4, -expected >> 4], "{dims} dimensions");
        assert!(out[2..].iter().all(|value| *value == 0));
    };
    for dims in [0, 1, base.dims() - 1, base.dims(), MAX_DIMS] {
        values(dims);
    }
}
