//! The one matrix kernel of the trainer: a block of 8 by 16 sums of products.
//!
//! The sums run over `n` in order, so the result does not depend on the machine's vector width.

/// Rows of a block.
pub const ROWS: usize = 8;
/// Columns of a block, and lanes (texts read side by side) of a shard.
pub const LANES: usize = 16;
/// Columns whose sums are kept at once.
const VECTOR: usize = 8;

/// Adds to `sums[r][l]` the products `a[i * a_step + r] * b[i * b_step + l]` for `i` in `0..n`.
#[inline(always)]
pub fn block(sums: &mut [[f32; LANES]; ROWS], a: &[f32], a_step: usize, b: &[f32], b_step: usize, n: usize) {
    // Columns one vector at a time and rows spelled out keep the sums in registers.
    for half in 0..LANES / VECTOR {
        let mut local: [[f32; VECTOR]; ROWS] =
            core::array::from_fn(|r| core::array::from_fn(|l| sums[r][half * VECTOR + l]));
        for i in 0..n {
            let a: &[f32; ROWS] = a[i * a_step..].first_chunk().expect("a row of a");
            let b: &[f32; VECTOR] = b[i * b_step + half * VECTOR..].first_chunk().expect("a row of b");
            for r in 0..ROWS {
                for l in 0..VECTOR {
                    local[r][l] += a[r] * b[l];
                }
            }
        }
        for r in 0..ROWS {
            sums[r][half * VECTOR..(half + 1) * VECTOR].copy_from_slice(&local[r]);
        }
    }
}

/// A weight matrix stored for [`block`]: groups of 8 rows, and inside a group column by column.
#[derive(Debug, Clone)]
pub struct Packed {
    rows: usize,
    columns: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Packs a row-major matrix; missing rows of the last group are zero.
    pub fn new(matrix: &[f32], rows: usize, columns: usize) -> Self {
        let groups = rows.div_ceil(ROWS);
        let mut data = vec![0.0; groups * ROWS * columns];
        for row in 0..rows {
            for column in 0..columns {
                data[(row / ROWS * columns + column) * ROWS + row % ROWS] = matrix[row * columns + column];
            }
        }
        Packed { rows: groups * ROWS, columns, data }
    }

    /// Packs the transpose of a row-major matrix.
    pub fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Self {
        let mut turned = vec![0.0; matrix.len()];
        for row in 0..rows {
            for column in 0..columns {
                turned[column * rows + row] = matrix[row * columns + column];
            }
        }
        Packed::new(&turned, columns, rows)
    }

    /// `out[row][lane] = sum of matrix[row][column] * input[column][lane]`, or `+=` with `add`.
    pub fn multiply(&self, input: &[f32], out: &mut [f32], add: bool) {
        for group in 0..self.rows / ROWS {
            let weights = &self.data[group * ROWS * self.columns..(group + 1) * ROWS * self.columns];
            let out = &mut out[group * ROWS * LANES..];
            let mut sums = [[0.0; LANES]; ROWS];
            if add {
                for (sums, out) in sums.iter_mut().zip(out.chunks_exact(LANES)) {
                    sums.copy_from_slice(out);
                }
            }
            block(&mut sums, weights, ROWS, input, LANES, self.columns);
            for (sums, out) in sums.iter().zip(out.chunks_exact_mut(LANES)) {
                out.copy_from_slice(sums);
            }
        }
    }
}

/// `gradient[row][column] += sum over n of a[n][row] * b[n][column]`: `a` has `rows` columns and
/// `b` has `columns`; `rows` is a multiple of 8 and `columns` of 16.
pub fn outer(gradient: &mut [f32], a: &[f32], rows: usize, b: &[f32], columns: usize, n: usize) {
    for row in (0..rows).step_by(ROWS) {
        for column in (0..columns).step_by(LANES) {
            let mut sums = [[0.0; LANES]; ROWS];
            block(&mut sums, &a[row..], rows, &b[column..], columns, n);
            for (r, sums) in sums.iter().enumerate() {
                let at = (row + r) * columns + column;
                for (out, sum) in gradient[at..at + LANES].iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
    }
}

/// Turns `[rows][LANES]` into `[LANES][rows]`.
pub fn turn(input: &[f32], rows: usize, out: &mut [f32]) {
    for row in 0..rows {
        for lane in 0..LANES {
            out[lane * rows + row] = input[row * LANES + lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_match_the_definition() {
        let (rows, columns) = (19, 7);
        let matrix: Vec<f32> = (0..rows * columns).map(|i| (i % 13) as f32 - 6.0).collect();
        let input: Vec<f32> = (0..columns * LANES).map(|i| (i % 11) as f32 - 5.0).collect();
        let packed = Packed::new(&matrix, rows, columns);
        let mut out = vec![0.0; 24 * LANES];
        packed.multiply(&input, &mut out, false);
        let transposed = Packed::transposed(&matrix, rows, columns);
        let mut back = vec![0.0; 8 * LANES];
        transposed.multiply(&out, &mut back, false);
        for lane in 0..LANES {
            let mut expected = vec![0.0; columns];
            for row in 0..rows {
                let sum: f32 =
                    (0..columns).map(|c| matrix[row * columns + c] * input[c * LANES + lane]).sum();
                assert_eq!(out[row * LANES + lane], sum);
                for (column, value) in expected.iter_mut().enumerate() {
                    *value += matrix[row * columns + column] * sum;
                }
            }
            for (column, value) in expected.iter().enumerate() {
                assert_eq!(back[column * LANES + lane], *value);
            }
        }
    }
}
