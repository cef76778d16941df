//! What the halfwords of Thumb code mean, as far as predictions need it (Arm v7-M Architecture Reference Manual, A5 to A7).

/// Whether `first` is the first half of a 32-bit instruction.
pub(crate) fn is_wide(first: u16) -> bool {
    first >= 0xe800
}

/// Whether two halfwords are a call (`BL`) or a far jump (`B.W`), which have a target.
pub(crate) fn is_far(first: u16, second: u16) -> bool {
    first & 0xf800 == 0xf000 && second & 0x9000 == 0x9000
}

/// Displacement of a call or far jump in halfwords, from the halfword after it.
pub(crate) fn far_displacement(first: u16, second: u16) -> i32 {
    let (first, second) = (u32::from(first), u32::from(second));
    let sign = (first >> 10) & 1;
    let i1 = !((second >> 13) ^ sign) & 1;
    let i2 = !((second >> 11) ^ sign) & 1;
    let value = (sign << 23) | (i1 << 22) | (i2 << 21) | ((first & 0x3ff) << 11) | (second & 0x7ff);
    ((value << 8) as i32) >> 8
}

/// A call or far jump of the kind of `second` with another displacement, in halfwords.
pub(crate) fn far_with(displacement: i32, second: u16) -> [u16; 2] {
    let value = displacement as u32;
    let sign = (value >> 23) & 1;
    let j1 = (!(value >> 22) ^ sign) & 1;
    let j2 = (!(value >> 21) ^ sign) & 1;
    let first = 0xf000 | (sign << 10) | ((value >> 11) & 0x3ff);
    let second = (u32::from(second) & 0xd000) | (j1 << 13) | (j2 << 11) | (value & 0x7ff);
    [first as u16, second as u16]
}

/// A short instruction whose operand counts from its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// Conditional branch: 8 bits, signed, halfwords.
    Condition,
    /// Branch: 11 bits, signed, halfwords.
    Jump,
    /// `CBZ`, `CBNZ`: 6 bits, forward, halfwords.
    Zero,
    /// `LDR` of a literal and `ADR`: 8 bits, forward, words from the aligned place.
    Literal,
}

pub(crate) fn near(half: u16) -> Option<Near> {
    match half >> 8 {
        0xd0..=0xdd => Some(Near::Condition),
        0xe0..=0xe7 => Some(Near::Jump),
        0xb1 | 0xb3 | 0xb9 | 0xbb => Some(Near::Zero),
        0x48..=0x4f | 0xa0..=0xa7 => Some(Near::Literal),
        _ => None,
    }
}

/// Where a near instruction at halfword `at` points, in halfwords.
pub(crate) fn near_target(kind: Near, half: u16, at: u32) -> u32 {
    let pc = at.wrapping_add(2);
    match kind {
        Near::Condition => pc.wrapping_add(i32::from(half as u8 as i8) as u32),
        Near::Jump => pc.wrapping_add(((i32::from(half & 0x7ff) << 21) >> 21) as u32),
        Near::Zero => pc.wrapping_add(u32::from((half >> 3) & 0x1f) | u32::from((half >> 9) & 1) << 5),
        Near::Literal => (pc & !1).wrapping_add(2 * u32::from(half & 0xff)),
    }
}

/// The instruction at `at` with another target, if it can reach it.
pub(crate) fn near_with(kind: Near, half: u16, at: u32, target: u32) -> Option<u16> {
    let pc = at.wrapping_add(2);
    let by = target.wrapping_sub(pc) as i32;
    match kind {
        Near::Condition => i8::try_from(by).ok().map(|by| (half & 0xff00) | u16::from(by as u8)),
        Near::Jump => (-1024..1024).contains(&by).then_some((half & 0xf800) | (by as u16 & 0x7ff)),
        Near::Zero => (0..64)
            .contains(&by)
            .then_some((half & 0xfd07) | ((by as u16 & 0x1f) << 3) | ((by as u16 >> 5) << 9)),
        Near::Literal => {
            let by = target.wrapping_sub(pc & !1) as i32;
            (by & 1 == 0 && (0..512).contains(&by)).then_some((half & 0xff00) | (by as u16 >> 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_jumps_read_and_write_the_same() {
        // `bl` to the place after itself and to itself, from the manual's encoding T1.
        assert_eq!(far_displacement(0xf000, 0xf800), 0);
        assert_eq!(far_displacement(0xf7ff, 0xfffe), -2);
        for by in [0, 1, -1, 1023, 0x7f_ffff, -0x80_0000, 123_456, -54_321] {
            for kind in [0xf800, 0xb800] {
                let [first, second] = far_with(by, kind);
                assert!(is_far(first, second));
                assert_eq!((far_displacement(first, second), second & 0xd000), (by, kind & 0xd000));
            }
        }
    }

    #[test]
    fn near_jumps_read_and_write_the_same() {
        for half in 0..=u16::MAX {
            if let Some(kind) = near(half) {
                for at in [1000, 1001] {
                    assert_eq!(near_with(kind, half, at, near_target(kind, half, at)), Some(half));
                }
            }
        }
        assert_eq!(near_with(Near::Condition, 0xd000, 0, 1000), None);
        assert_eq!(near_target(Near::Condition, 0xd0fe, 10), 10);
    }
}
