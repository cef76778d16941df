//! The table and the predictor that reads it.

use core::fmt;

use crate::symbols::{END, SYMBOLS};

/// The trained table, made by `compotastic-text-train`.
pub const TABLE: &[u8] = include_bytes!("../tables/text-v1.bin");
/// The version of the table's layout and contents; codec byte 1 stands for exactly this one.
pub const TABLE_VERSION: u8 = 1;

/// Sum of the shares of all symbols.
pub(crate) const TOTAL: u32 = 1 << 16;

const MAGIC: [u8; 4] = *b"CTXT";
const HEADER: usize = 8;

/// Why bytes are not a table of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// The bytes do not begin like a table.
    NotATable,
    /// The table is of another version.
    Version(u8),
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
    let [m0, m1, m2, m3, version, ..] = *table else { return Err(TableError::NotATable) };
    if m0 != MAGIC[0] || m1 != MAGIC[1] || m2 != MAGIC[2] || m3 != MAGIC[3] {
        return Err(TableError::NotATable);
    }
    if version != TABLE_VERSION {
        return Err(TableError::Version(version));
    }
    if table.len() != HEADER + SYMBOLS * SYMBOLS {
        return Err(TableError::Length(table.len()));
    }
    Ok(())
}

/// The committed table is checked when the crate is built.
const _: () = assert!(check_table(TABLE).is_ok());

/// Predicts the next symbol from the one before it.
pub(crate) struct Model {
    last: u8,
}

impl Model {
    pub(crate) fn new() -> Self {
        Model { last: END }
    }

    /// The share of every symbol: at least 1 each, [`TOTAL`] together.
    pub(crate) fn shares(&self, shares: &mut [u32; SYMBOLS]) {
        let row = HEADER + usize::from(self.last) * SYMBOLS;
        let mut sum = 0;
        let mut best = 0;
        for (symbol, &cost) in TABLE[row..row + SYMBOLS].iter().enumerate() {
            // A cost is in eighths of a bit.
            let share = ((TOTAL >> (cost / 8)) * EIGHTHS[usize::from(cost % 8)]) >> 16;
            shares[symbol] = share.max(1);
            sum += shares[symbol];
            if shares[symbol] > shares[best] {
                best = symbol;
            }
        }
        // Rounding left a little too much or too little: the likeliest symbol takes it.
        shares[best] = (shares[best] + TOTAL).saturating_sub(sum).max(1);
    }

    pub(crate) fn update(&mut self, symbol: u8) {
        self.last = symbol;
    }
}

/// 2^(-i/8) in 1/65536.
const EIGHTHS: [u32; 8] = [65535, 60097, 55109, 50535, 46341, 42495, 38968, 35734];
