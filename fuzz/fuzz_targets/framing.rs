//! Streams of the client API: the same messages whatever the pieces, also where some turn out to be none.
#![no_main]

use compotastic_client::framing::{Deframer, Item, MAX_MESSAGE, frame};
use libfuzzer_sys::fuzz_target;

/// Folds what is found into one number, so that long inputs need no memory.
fn digest(pieces: &mut dyn Iterator<Item = &[u8]>, strict: bool) -> u64 {
    let mut deframer = Deframer::default();
    let mut sum = 0u64;
    for piece in pieces {
        let mut rest = piece;
        loop {
            let bad = match deframer.next(&mut rest) {
                Some(Item::Message(message)) => {
                    assert!(message.len() <= MAX_MESSAGE);
                    let bad = strict && message.first().is_some_and(|byte| byte & 1 == 1);
                    if !bad {
                        sum = message.iter().fold(sum.rotate_left(7) ^ message.len() as u64, |sum, byte| {
                            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                        });
                    }
                    bad
                }
                Some(Item::Text(_)) => false,
                None => break,
            };
            if bad {
                deframer.reject();
            }
        }
        assert!(rest.is_empty(), "all is taken");
    }
    sum
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else { return };
    for strict in [false, true] {
        let whole = digest(&mut [stream].into_iter(), strict);
        let pieces = digest(&mut stream.chunks(usize::from(size % 64) + 1), strict);
        assert_eq!(whole, pieces);
    }
    // What is framed is found, whatever came before and ended.
    if let Ok(framed) = frame(stream) {
        let mut deframer = Deframer::default();
        let mut rest = &framed[..];
        assert_eq!(deframer.next(&mut rest), Some(Item::Message(stream)));
    }
});
