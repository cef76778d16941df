//! Integer exponential, logistic function and hyperbolic tangent.
//!
//! Their tables are computed while the crate is built, with the compiler's own arithmetic.

/// 2^20 * 2^(-i / 256).
pub(crate) const EXP2: [u32; 256] = exp2_table();
/// 32767 * tanh(i / 32), up to 8.
const TANH: [u16; 257] = tanh_table();

/// e to the power of `x`, for the tables.
const fn exp(x: f64) -> f64 {
    // Halve the argument until the series is short, then square back.
    let small = x / 1024.0;
    let (mut sum, mut term, mut i) = (1.0, 1.0, 1);
    while i < 16 {
        term *= small / i as f64;
        sum += term;
        i += 1;
    }
    let mut i = 0;
    while i < 10 {
        sum *= sum;
        i += 1;
    }
    sum
}

const fn exp2_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = (1_048_576.0 * exp(-(i as f64) / 256.0 * core::f64::consts::LN_2) + 0.5) as u32;
        i += 1;
    }
    table
}

const fn tanh_table() -> [u16; 257] {
    let mut table = [0; 257];
    let mut i = 0;
    while i < 257 {
        let e = exp(-2.0 * i as f64 / 32.0);
        table[i] = (32_767.0 * (1.0 - e) / (1.0 + e) + 0.5) as u16;
        i += 1;
    }
    table
}

/// The hyperbolic tangent of `x` / 4096, in 1/32768.
pub(crate) fn tanh(x: i32) -> i32 {
    let size = x.unsigned_abs().min((8 << 12) - 1);
    let (at, part) = ((size >> 7) as usize, (size & 127) as i32);
    let (from, to) = (i32::from(TANH[at]), i32::from(TANH[at + 1]));
    let value = from + (((to - from) * part + 64) >> 7);
    if x < 0 { -value } else { value }
}

/// The logistic function of `x` / 4096, in 1/32768.
pub(crate) fn sigmoid(x: i32) -> i32 {
    (32_768 + tanh(x >> 1)) >> 1
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn close_to_the_real_functions() {
        for x in (-50_000..50_000).step_by(7) {
            let real = f64::from(x) / 4096.0;
            assert!((f64::from(tanh(x)) - 32_768.0 * real.tanh()).abs() < 8.0, "tanh {real}");
            let logistic = 32_768.0 / (1.0 + (-real).exp());
            assert!((f64::from(sigmoid(x)) - logistic).abs() < 12.0, "sigmoid {real}");
        }
        for (i, &value) in EXP2.iter().enumerate() {
            assert!((f64::from(value) - 1_048_576.0 * (-(i as f64) / 256.0).exp2()).abs() <= 0.51);
        }
    }
}
