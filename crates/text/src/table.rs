//! The table's layout and its check.

use core::fmt;

use crate::symbols::SYMBOLS;

/// The trained table, made by the example `train` of `compotastic-text-train` (see `tables/text-v1.toml`).
pub const TABLE: &[u8] = include_bytes!("../tables/text-v1.bin");
/// The version of the table's layout and contents; codec byte 1 stands for exactly this one.
pub const TABLE_VERSION: u8 = 1;
/// The first bytes of a table.
pub const MAGIC: [u8; 4] = *b"CTXT";

/// Cells of the recurrent layer.
pub const HIDDEN: usize = 160;
/// Numbers per symbol in the embedding.
pub const EMBED: usize = 32;

/// Where each section starts. Sections follow each other without gaps; matrices are row-major;
/// 16-bit numbers are little-endian. 4-bit weights lie two in a byte, the even column in the low
/// half, each 8 too high.
pub mod layout {
    use super::{EMBED, HIDDEN, SYMBOLS};

    /// Behind the header: magic, version, hidden, embed, symbols, SHA-256 of the inputs (8 bytes).
    pub const EMBEDDING: usize = 16;
    /// Embedding: 8-bit signed, in 1/32. Then `[3 * HIDDEN][EMBED]` of 4 bits.
    pub const INPUT: usize = EMBEDDING + SYMBOLS * EMBED;
    /// `[3 * HIDDEN][HIDDEN]` of 4 bits; reset, update, candidate.
    pub const RECURRENT: usize = INPUT + 3 * HIDDEN * EMBED / 2;
    /// `[SYMBOLS][HIDDEN]` of 4 bits.
    pub const OUTPUT: usize = RECURRENT + 3 * HIDDEN * HIDDEN / 2;
    /// Value of a weight's unit, per row, in 2^-17.
    pub const INPUT_SCALE: usize = OUTPUT + SYMBOLS * HIDDEN / 2;
    /// As [`INPUT_SCALE`].
    pub const RECURRENT_SCALE: usize = INPUT_SCALE + 2 * 3 * HIDDEN;
    /// As [`INPUT_SCALE`], for scores in bits.
    pub const OUTPUT_SCALE: usize = RECURRENT_SCALE + 2 * 3 * HIDDEN;
    /// Signed, in 1/4096.
    pub const INPUT_BIAS: usize = OUTPUT_SCALE + 2 * SYMBOLS;
    /// Signed, in 1/4096.
    pub const CANDIDATE_BIAS: usize = INPUT_BIAS + 2 * 3 * HIDDEN;
    /// Signed, in 1/1024 bit.
    pub const OUTPUT_BIAS: usize = CANDIDATE_BIAS + 2 * HIDDEN;
    /// Length of a table.
    pub const LENGTH: usize = OUTPUT_BIAS + 2 * SYMBOLS;
}

/// The table has to share a small part's flash with everything else.
const _: () = assert!(layout::LENGTH <= 65_536);

/// Why bytes are not a table of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// The bytes do not begin like a table.
    NotATable,
    /// The table is of another version.
    Version(u8),
    /// The table is for a network of another size.
    Sizes,
    /// The table has the wrong length.
    Length(usize),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::NotATable => f.write_str("not a text table"),
            TableError::Version(version) => {
                write!(f, "text table of version {version}, but this program reads {TABLE_VERSION}")
            }
            TableError::Sizes => f.write_str("text table for a network of another size"),
            TableError::Length(len) => write!(f, "a text table cannot be {len} bytes long"),
        }
    }
}

impl core::error::Error for TableError {}

/// Checks that `table` is one that this version reads.
///
/// # Errors
/// See [`TableError`].
pub const fn check_table(table: &[u8]) -> Result<(), TableError> {
    let [m0, m1, m2, m3, version, hidden, embed, symbols, ..] = *table else {
        return Err(TableError::NotATable);
    };
    if m0 != MAGIC[0] || m1 != MAGIC[1] || m2 != MAGIC[2] || m3 != MAGIC[3] {
        return Err(TableError::NotATable);
    }
    if version != TABLE_VERSION {
        return Err(TableError::Version(version));
    }
    if hidden as usize != HIDDEN || embed as usize != EMBED || symbols as usize != SYMBOLS {
        return Err(TableError::Sizes);
    }
    if table.len() != layout::LENGTH {
        return Err(TableError::Length(table.len()));
    }
    Ok(())
}

/// The committed table is checked when the crate is built.
const _: () = assert!(check_table(TABLE).is_ok());

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn other_tables_are_refused() {
        let good = std::vec::Vec::from(TABLE);
        assert_eq!(check_table(&good), Ok(()));
        assert_eq!(check_table(&good[..7]), Err(TableError::NotATable));
        assert_eq!(check_table(&good[..good.len() - 1]), Err(TableError::Length(good.len() - 1)));
        let changed = |at: usize| {
            let mut table = good.clone();
            table[at] += 1;
            check_table(&table)
        };
        assert_eq!(changed(0), Err(TableError::NotATable));
        assert_eq!(changed(4), Err(TableError::Version(TABLE_VERSION + 1)));
        assert_eq!(changed(5), Err(TableError::Sizes));
    }
}
