//! The rows of the text benchmark.

use compotastic_text_train::bench::{messages, run};

const MESSAGES: &str = include_str!("../../../tests/data/text/radio-messages.txt");

#[test]
fn ours_is_shortest_and_never_grows() {
    let texts = messages(MESSAGES);
    assert_eq!(texts.len(), 25);
    let training: Vec<String> = (0..400)
        .map(|i| format!("Team {i} at checkpoint {}, all well, battery {}%", i % 7, i % 90))
        .collect();
    let training: Vec<&str> = training.iter().map(String::as_str).collect();
    let rows = run(&texts, &training).expect("every codec gives back what went in");
    let names: Vec<&str> = rows.iter().map(|row| row.codec.as_str()).collect();
    assert_eq!(names[..4], ["compotastic", "raw", "7-bit", "smaz"]);
    assert!(names.last().is_some_and(|name| name.starts_with("zstd")));
    let ours = &rows[0];
    assert!(ours.table_bytes <= 65_536);
    assert_eq!(ours.grown_messages, 0);
    assert!(ours.bits_per_char <= 3.4, "{} bits per character", ours.bits_per_char);
    for row in &rows[1..] {
        assert!(row.bits_per_char > ours.bits_per_char, "{row:?}");
    }
    assert_eq!(rows[1].bits_per_char, 8.0);
}

#[test]
fn an_empty_file_has_rows_too() {
    for row in run(&[], &[]).expect("nothing to do") {
        assert_eq!((row.bits_per_char, row.grown_messages), (0.0, 0));
    }
}

#[test]
fn lines_are_messages() {
    assert_eq!(messages("one\r\n\n two \nthree"), ["one", " two ", "three"]);
}
