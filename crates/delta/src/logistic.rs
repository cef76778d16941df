//! Probabilities in the logistic domain, in integers: the same on each machine.
//!
//! Probabilities are 16-bit parts of one; `stretch` is ln(p / (1 - p)) in units of 1/256, from -10 to 10.

/// The greatest magnitude in the logistic domain.
pub(crate) const LIMIT: i32 = 2560;

/// 65536 / (1 + e^-x) at x = -10, -9.75, ... 10.
const SQUASH: [u16; 81] = [
    3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922, 1179,
    1506, 1921, 2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768,
    36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030,
    64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438, 65459, 65476, 65489, 65500,
    65508, 65514, 65519, 65523, 65526, 65528, 65530, 65531, 65532, 65533,
];

/// log2(1 + i/32) in units of 1/4096.
const LOG2: [u16; 33] = [
    0, 182, 358, 530, 696, 858, 1016, 1169, 1319, 1465, 1607, 1746, 1882, 2015, 2145, 2272, 2396, 2518, 2637,
    2754, 2869, 2982, 3092, 3200, 3307, 3412, 3514, 3615, 3715, 3812, 3908, 4003, 4096,
];

/// log2 of `x` > 0 in units of 1/4096.
pub(crate) const fn log2(x: u32) -> i32 {
    let whole = 31 - (x | 1).leading_zeros();
    // The 15 bits below the leading one: 5 name the entry, 10 lie between entries.
    let mantissa = ((x << (31 - whole)) >> 16) & 0x7fff;
    let at = (mantissa >> 10) as usize;
    let (low, high) = (LOG2[at] as i32, LOG2[at + 1] as i32);
    ((whole as i32) << 12) + low + (((high - low) * (mantissa & 0x3ff) as i32) >> 10)
}

/// ln(p / (1 - p)) of a probability in 1/65536.
pub(crate) const fn stretch(p: u16) -> i32 {
    let p = if p == 0 { 1 } else { p as u32 };
    // ln 2 = 2839 / 4096 in units of 1/256 per 1/4096.
    clamp(((log2(p) - log2(65536 - p)) * 2839) >> 16, -LIMIT, LIMIT)
}

const fn clamp(x: i32, low: i32, high: i32) -> i32 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// The inverse of [`stretch`].
pub(crate) const fn squash(x: i32) -> u16 {
    let x = clamp(x, -LIMIT, LIMIT - 1) + LIMIT;
    let at = (x >> 6) as usize;
    let (low, high) = (SQUASH[at] as i32, SQUASH[at + 1] as i32);
    (low + (((high - low) * (x & 63)) >> 6)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squash_undoes_stretch() {
        for p in (64..65472u16).step_by(61) {
            let back = i32::from(squash(stretch(p)));
            let (p, scale) = (i32::from(p), i32::from(p.min(u16::MAX - p)));
            assert!((back - p).abs() <= 8 + scale / 40, "{p} came back as {back}");
        }
        assert!(squash(-100_000) < 8 && squash(100_000) > 65_520);
        assert_eq!(stretch(32768), 0);
    }

    #[test]
    fn both_are_monotone() {
        assert!((1..u16::MAX).all(|p| stretch(p) <= stretch(p + 1)));
        assert!((-2600..2600).all(|x| squash(x) <= squash(x + 1)));
    }
}
