//! The note beside the committed table is about that table.

use compotastic_text::TABLE;
use compotastic_text_train::corpus::sha256_hex;

const NOTE: &str = include_str!("../../text/tables/text-v1.toml");

#[test]
fn digests_agree() {
    let value = |name: &str| {
        let line = NOTE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.expect("the note has this line").trim_matches('"').to_string()
    };
    assert_eq!(value("table_sha256"), sha256_hex(TABLE));
    let head: String = TABLE[8..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(value("inputs_sha256").starts_with(&head));
}
