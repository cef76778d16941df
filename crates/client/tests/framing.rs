//! A stream is taken apart whatever its pieces, and found again after noise and losses.

use compotastic_client::framing::{Deframer, Item, MAX_MESSAGE, WAKE, frame};
use proptest::prelude::*;

/// Messages that are found, and how many bytes were text.
fn messages(pieces: &[&[u8]], valid: impl Fn(&[u8]) -> bool) -> (Vec<Vec<u8>>, usize) {
    let mut deframer = Deframer::default();
    let (mut found, mut text) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let reject = match deframer.next(&mut rest) {
                Some(Item::Message(message)) if valid(message) => {
                    found.push(message.to_vec());
                    false
                }
                Some(Item::Message(_)) => true,
                Some(Item::Text(bytes)) => {
                    text += bytes.len();
                    false
                }
                None => break,
            };
            if reject {
                deframer.reject();
            }
        }
        assert!(rest.is_empty());
    }
    (found, text)
}

/// A frame whose message says by itself whether it is whole.
fn checked(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0x5Au8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    frame(&[body, &[sum]].concat()).unwrap().to_vec()
}

fn is_checked(message: &[u8]) -> bool {
    message.split_last().is_some_and(|(_, body)| checked(body)[4..] == *message)
}

#[test]
fn debug_text_between_frames_is_told_apart() {
    let stream =
        [&WAKE[..], b"INFO | boot\r\n", &frame(&[1]).unwrap(), b"x\x94y", &frame(&[]).unwrap(), b"z"]
            .concat();
    let (found, text) = messages(&[&stream], |_| true);
    assert_eq!(found, [vec![1], vec![]]);
    assert!(text >= WAKE.len() + 15);
}

#[test]
fn a_length_over_512_is_no_frame_and_the_next_one_is_found() {
    let longest = vec![0x94; MAX_MESSAGE];
    let good = frame(&longest).unwrap();
    for false_header in
        [&[0x94, 0xC3, 2, 1][..], &[0x94, 0xC3, 0x94], &[0x94, 0x94], &[0x94, 0xC3, 0xFF, 0xFF, 0x94]]
    {
        let stream = [false_header, &good].concat();
        let (found, _) = messages(&[&stream], |_| true);
        assert_eq!(found, [&longest[..]], "{false_header:02x?}");
    }
}

#[test]
fn after_lost_bytes_only_the_frames_that_they_were_in_are_lost() {
    let frames: Vec<Vec<u8>> = (0..6).map(|n| checked(&[n; 40])).collect();
    let mut stream = frames.concat();
    // Three bytes of the second frame.
    stream.drain(frames[0].len() + 10..frames[0].len() + 13);
    let (found, _) = messages(&[&stream], is_checked);
    let bodies: Vec<u8> = found.iter().map(|message| message[0]).collect();
    assert_eq!(bodies, [0, 2, 3, 4, 5]);
}

#[test]
fn a_new_link_begins_anew() {
    let mut deframer = Deframer::default();
    assert_eq!(deframer.next(&mut &[0x94, 0xC3, 0, 9, 1][..]), None);
    deframer.reset();
    assert_eq!(deframer.next(&mut &frame(&[5]).unwrap()[..]), Some(Item::Message(&[5])));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn pieces_of_any_size_give_the_same(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8),
        noise in prop::collection::vec(prop_oneof![Just(0x94u8), Just(0xC3), any::<u8>()], 0..40),
        cut in 1..40usize,
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            stream.extend_from_slice(&noise);
            stream.extend_from_slice(&checked(body));
        }
        // Whatever the noise pretended to begin is complete by now.
        stream.extend_from_slice(&[0; 600]);
        let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
        let (found, _) = messages(&pieces, is_checked);
        let expected: Vec<Vec<u8>> = bodies.iter().map(|body| checked(body)[4..].to_vec()).collect();
        // Noise may by chance be a whole frame, but never takes one away.
        prop_assert!(expected.iter().all(|body| found.contains(body)), "{found:02x?} {expected:02x?}");
        let (whole, _) = messages(&[&stream], is_checked);
        prop_assert_eq!(found, whole);
    }
}
