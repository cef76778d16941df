//! Model-based coder for short radio texts.
//!
//! A text is turned into symbols, a small model that was trained beforehand gives every symbol a
//! probability, and a range coder spends that many bits on it. There is no length field: the end
//! of the text is a symbol, and the number of payload bytes (which every frame knows) says how
//! likely it is. [`encode`] never makes a text longer: when the model does not help, the text is
//! sent as it is.
//!
//! Everything is integer arithmetic on a constant table, so every machine makes the same bits.
//! Any UTF-8 text comes back exactly.
//!
//! ```
//! let text = "Checkpoint 4 clear, moving on";
//! let mut packed = [0u8; 64];
//! let (codec, len) = compotastic_text::encode(text, &mut packed).unwrap();
//! assert!(len < text.len());
//! let mut back = [0u8; 64];
//! assert_eq!(compotastic_text::decode(codec, &packed[..len], &mut back).unwrap(), text);
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod codec;
mod functions;
mod model;
mod range;
mod symbols;
mod table;

pub use codec::{DecodeError, EncodeError, decode, encode};
pub use symbols::{END, ESCAPE, SYMBOLS, symbol_of};
pub use table::{EMBED, HIDDEN, MAGIC, TABLE, TABLE_VERSION, TableError, check_table, layout};

/// Codec byte of a text that is sent as its UTF-8 bytes.
pub const CODEC_RAW: u8 = 0;
/// Codec byte of a text coded with the table in [`TABLE`].
pub const CODEC_TEXT: u8 = 1;
