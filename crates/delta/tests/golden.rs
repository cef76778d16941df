//! Patches that were made once: a change of the format or the model shows here, and devices with the older decoder exist.

mod common;

use common::firmware;
use compotastic_delta::encode::{Hint, decode_to_vec, encode};

const OLD: &[u8] = b"The river is high at the lower ford. Use the bridge near the mill.";
const NEW: &[u8] = b"The river is very high at the lower ford. Use the upper bridge near the mill!";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_patch_of_text_is_what_it_was() {
    let patch = encode(OLD, NEW, Hint::Unknown).expect("short").bytes;
    assert_eq!(hex(&patch), TEXT);
    assert_eq!(decode_to_vec(OLD, &patch, 100).as_deref(), Ok(NEW));
}

#[test]
fn a_patch_of_code_is_what_it_was() {
    let (old, new) = firmware(7, 12, 2);
    let patch = encode(&old, &new, Hint::Firmware).expect("short").bytes;
    assert_eq!(hex(&patch), CODE);
    assert_eq!(decode_to_vec(&old, &patch, 4000).as_deref(), Ok(&new[..]));
}

const TEXT: &str = "214d364b46974233259fda00027f8a254646274d533dfc49960e3a4d37";
const CODE: &str = "22fc0b3d2f5894f40bc2c6b8ba001280812003e01eafc267ca281aeeae22fda49ca4";
