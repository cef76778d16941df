//! PinSketch (Dodis, Ostrovsky, Reyzin and Smith, 2008) over GF(2^32): the sketch of a set is its first odd power sums, 4 bytes
//! for each difference that it can carry; the sum of two sketches is the sketch of what differs.
//!
//! The field is minisketch's for 32 bits, x^32 + x^7 + x^3 + x^2 + 1. Roots are looked for among the elements that a
//! receiver can think of, which is enough here, and quicker than factoring.

/// Product in GF(2^32).
fn multiply(mut a: u32, mut b: u32) -> u32 {
    const MODULUS: u32 = 0x8D;
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = a << 1 ^ if a >> 31 == 1 { MODULUS } else { 0 };
        b >>= 1;
    }
    product
}

/// The inverse of a number other than 0: its power 2^32 - 2.
fn invert(a: u32) -> u32 {
    let (mut square, mut inverse) = (a, 1);
    for _ in 1..32 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
    }
    inverse
}

/// A sketch that carries up to `capacity` differences of sets of numbers other than 0.
pub fn sketch(set: impl IntoIterator<Item = u32>, capacity: usize) -> Vec<u32> {
    let mut sums = vec![0; capacity];
    for element in set {
        let square = multiply(element, element);
        let mut power = element;
        for sum in &mut sums {
            *sum ^= power;
            power = multiply(power, square);
        }
    }
    sums
}

/// What two sets differ by, from their sketches; `None` where that is more than a sketch carries or no candidate.
pub fn difference(ours: &[u32], theirs: &[u32], candidates: &[u32]) -> Option<Vec<u32>> {
    let odd: Vec<u32> = ours.iter().zip(theirs).map(|(a, b)| a ^ b).collect();
    // In characteristic 2 the even sums are squares.
    let mut sums = vec![0u32; 2 * odd.len()];
    for index in 1..=sums.len() {
        sums[index - 1] = match index % 2 {
            1 => odd[index / 2],
            _ => multiply(sums[index / 2 - 1], sums[index / 2 - 1]),
        };
    }
    let locator = berlekamp_massey(&sums);
    let degree = locator.len() - 1;
    let is_root = |element: &u32| {
        let x = invert(*element);
        locator.iter().rev().fold(0, |value, coefficient| multiply(value, x) ^ coefficient) == 0
    };
    let found: Vec<u32> = candidates.iter().copied().filter(is_root).collect();
    (degree <= odd.len() && found.len() == degree).then_some(found)
}

/// The shortest recurrence of a sequence: coefficients from that of degree 0, which is 1.
fn berlekamp_massey(sums: &[u32]) -> Vec<u32> {
    let (mut current, mut previous) = (vec![1u32], vec![1u32]);
    let (mut length, mut shift, mut last) = (0usize, 1usize, 1u32);
    for at in 0..sums.len() {
        let discrepancy = (1..current.len().min(at + 1))
            .fold(sums[at], |sum, index| sum ^ multiply(current[index], sums[at - index]));
        if discrepancy == 0 {
            shift += 1;
            continue;
        }
        let before = current.clone();
        let factor = multiply(discrepancy, invert(last));
        current.resize(current.len().max(previous.len() + shift), 0);
        for (index, coefficient) in previous.iter().enumerate() {
            current[index + shift] ^= multiply(factor, *coefficient);
        }
        if 2 * length <= at {
            length = at + 1 - length;
            (previous, last, shift) = (before, discrepancy, 1);
        } else {
            shift += 1;
        }
    }
    current.truncate(length + 1);
    current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_has_inverses() {
        for a in [1u32, 2, 0x8000_0000, 0xDEAD_BEEF, u32::MAX] {
            assert_eq!(multiply(a, invert(a)), 1);
        }
    }

    #[test]
    fn as_many_differences_as_the_capacity_are_found_and_no_more() {
        for count in [0usize, 1, 2, 10, 40, 100] {
            let ours: Vec<u32> = (1..=100).map(|index| index << 8 | 7).collect();
            let mut theirs = ours.clone();
            for element in &mut theirs[..count / 2] {
                *element += 1;
            }
            let candidates: Vec<u32> =
                (1..=100u32).flat_map(|index| (5..10).map(move |version| index << 8 | version)).collect();
            let capacity = count / 2 * 2 + count % 2;
            let [a, b] = [&ours, &theirs].map(|set| sketch(set.iter().copied(), capacity));
            assert_eq!(difference(&a, &b, &candidates).unwrap().len(), count / 2 * 2);
            if count > 2 {
                let [a, b] = [&ours, &theirs].map(|set| sketch(set.iter().copied(), count / 2 * 2 - 1));
                assert_eq!(difference(&a, &b, &candidates), None);
            }
        }
    }
}
