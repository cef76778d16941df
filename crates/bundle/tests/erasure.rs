//! The decoder beyond the common case: all pieces lost, long pieces, short generations, little memory.

mod common;

use common::{Bundle, Lcg, content};
use compotastic_bundle::matrix::memory_for;
use compotastic_bundle::ramflash::RamFlash;
use compotastic_bundle::{
    Encoder, FlashStore, ObjectIdentity, ObjectReceiver, Outcome, PieceSource, Refused, SliceSource,
};
use proptest::prelude::*;

type Flash = RamFlash<1_048_576, 4, 4096>;
const SPARE: u32 = 524_288;

fn store<'a>(flash: &'a mut Flash, object: &ObjectIdentity) -> FlashStore<&'a mut Flash> {
    FlashStore::new(flash, 0..SPARE, SPARE..2 * SPARE, &object.layout, 7).unwrap()
}

fn symbol(bundle: &Bundle, object: &ObjectIdentity, generation: u8, id: u16) -> Vec<u8> {
    let mut out = vec![0; usize::from(object.layout.piece_size())];
    let encoder = Encoder::new(object.layout, object.tag());
    let length = encoder.symbol(generation, id, &mut SliceSource(&bundle.stream), &mut out).unwrap();
    out.truncate(length);
    out
}

fn assert_content(bundle: &Bundle, store: &mut impl PieceSource) {
    let mut read = vec![0; bundle.content.len()];
    store.read(0, &mut read).unwrap();
    assert!(read == bundle.content);
}

/// The content whose stream is exactly so many pieces.
fn bundle_of(pieces: usize, piece_size: u16) -> Bundle {
    let len = pieces * (usize::from(piece_size) - 8) + 8;
    let bundle = Bundle::with_piece_size(content(len, 5), 1, piece_size);
    assert_eq!(bundle.manifest.object().layout.pieces() as usize, pieces);
    bundle
}

#[test]
fn all_256_pieces_missing() {
    for piece_size in [16, 176, 208, 1024] {
        let bundle = bundle_of(256, piece_size);
        let object = bundle.manifest.object();
        let mut flash = Box::new(Flash::new());
        let mut store = store(&mut flash, object);
        let mut rx = ObjectReceiver::for_object(object);
        let mut received = 0;
        for id in 30_000.. {
            received += 1;
            let data = bundle.symbol(0, id);
            if rx.handle_symbol(0, id, &data, &mut store).unwrap().complete {
                break;
            }
        }
        assert!(received <= 257, "{received} symbols");
        assert_content(&bundle, &mut store);
        assert_eq!(rx.finish(&mut store), Ok(()));
    }
}

/// Whatever is missing, and however the binary part comes out: many codes, so that pieces stay undetermined by it.
#[test]
fn few_missing_pieces_of_many_codes() {
    let mut rng = Lcg(9);
    for salt in 0..400u16 {
        let pieces = 1 + rng.below(20) as usize;
        let bundle = bundle_of(pieces, 16);
        let object = bundle.manifest.object();
        let mut flash = Box::new(Flash::new());
        let mut store = store(&mut flash, object);
        let mut rx = ObjectReceiver::for_object(object);
        let kept: Vec<u16> = (0..pieces as u16).rev().filter(|_| rng.chance(40)).collect();
        let mut extra = 0;
        for id in kept.iter().copied().chain(300 + 20 * salt..) {
            let progress = rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
            extra += u32::from(progress.outcome == Outcome::Redundant);
            assert!(!matches!(progress.outcome, Outcome::Poisoned { .. } | Outcome::Refused(_)));
            if progress.complete {
                break;
            }
            assert!(extra < 4);
        }
        assert_content(&bundle, &mut store);
    }
}

#[test]
fn little_memory_waits_for_pieces_as_they_are() {
    let bundle = bundle_of(200, 32);
    let object = bundle.manifest.object();
    let mut flash = Box::new(Flash::new());
    let mut store = store(&mut flash, object);
    let mut rx = ObjectReceiver::<{ memory_for(40) }>::with_memory(object);
    assert!(rx.waits(0));
    // Every second piece is lost.
    for id in (0..200).rev().filter(|id| id % 2 == 1) {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
    }
    assert!(rx.waits(0) && rx.needed(0) == 100);
    for id in 300..400 {
        let progress = rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
        let stored = if id < 340 { Outcome::Stored } else { Outcome::Refused(Refused::Memory) };
        assert_eq!(progress.outcome, stored, "{id}");
        assert!(progress.needed >= 60);
        let again = rx.handle_symbol(0, 300, &bundle.symbol(0, 300), &mut store).unwrap();
        assert_eq!(again.outcome, Outcome::Redundant);
    }
    // It says what it lacks, and remembers it across a restart.
    let mut rx = ObjectReceiver::<{ memory_for(40) }>::resume_with_memory(object, &mut store).unwrap();
    assert!(rx.waits(0));
    let missing = rx.missing(0);
    let mut complete = false;
    for id in (0..200).rev().filter(|id| missing[usize::from(id / 8)] >> (id % 8) & 1 == 1).take(60) {
        assert!(rx.waits(0) && !complete);
        complete = rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().complete;
    }
    assert!(!rx.waits(0));
    for id in 400..410 {
        if !complete {
            complete = rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().complete;
        }
    }
    assert!(complete);
    assert!(rx.peak_matrix_bytes() <= memory_for(40));
    assert_content(&bundle, &mut store);
}

/// Pieces whose hashes have not come need no matrix.
#[test]
fn waiting_pieces_take_no_memory() {
    let bundle = bundle_of(256, 176);
    let object = bundle.manifest.object();
    let mut flash = Box::new(Flash::new());
    let mut store = store(&mut flash, object);
    let mut rx = ObjectReceiver::for_object(object);
    // The last piece is lost, so that none of the others can be verified; and nine more.
    for id in (0..255).rev().filter(|id| id % 27 != 5) {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
    }
    assert_eq!((rx.pieces_present(), rx.needed(0), rx.peak_matrix_bytes()), (0, 11, 0));
    for id in 300..312 {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
    }
    assert!(rx.is_complete());
    assert!(rx.peak_matrix_bytes() <= memory_for(11));
    assert_content(&bundle, &mut store);
}

/// A false piece that waited for its hash spoils the decoding, which shows; what is true is kept.
#[test]
fn a_false_waiting_piece_is_found_out() {
    let bundle = bundle_of(30, 176);
    let object = bundle.manifest.object();
    let mut flash = Box::new(Flash::new());
    let mut store = store(&mut flash, object);
    let mut rx = ObjectReceiver::for_object(object);
    for id in (3..29).rev() {
        let mut piece = bundle.symbol(0, id);
        piece[1] ^= u8::from(id == 20);
        rx.handle_symbol(0, id, &piece, &mut store).unwrap();
    }
    let outcomes: Vec<Outcome> = (300..306)
        .map(|id| rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().outcome)
        .collect();
    assert!(outcomes.contains(&Outcome::Poisoned { generation: 0 }), "{outcomes:?}");
    for id in (0..30).rev() {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
    }
    assert_eq!(rx.finish(&mut store), Ok(()));
    assert_content(&bundle, &mut store);
}

proptest! {
    #![proptest_config(common::config(48))]

    /// Any limit of the generations' length, any order of their symbols.
    #[test]
    fn generations_of_any_length(len in 1usize..20_000, limit in 1u16..300, loss in 0u32..70, seed in any::<u64>()) {
        let bundle = Bundle::with_piece_size(content(len, seed), 1, 48);
        let mut object = *bundle.manifest.object();
        object.layout = object.layout.with_generations(limit);
        let layout = object.layout;
        let mut flash = Box::new(Flash::new());
        let mut store = store(&mut flash, &object);
        let mut rx = ObjectReceiver::for_object(&object);
        let mut rng = Lcg(seed);
        for g in (0..layout.generations()).rev() {
            for id in (0..layout.generation_len(g)).rev() {
                if !rng.chance(loss) {
                    rx.handle_symbol(g, id, &symbol(&bundle, &object, g, id), &mut store).unwrap();
                }
            }
        }
        let mut next = 400;
        while !rx.is_complete() {
            for g in 0..layout.generations() {
                if rx.needed(g) == 0 {
                    continue;
                }
                next += 1;
                let coded = symbol(&bundle, &object, g, next);
                let outcome = rx.handle_symbol(g, next, &coded, &mut store).unwrap().outcome;
                // What cannot be coded any more for want of spare room is asked for by name.
                if outcome == Outcome::Refused(Refused::NoSpare) {
                    let missing = rx.missing(g);
                    for id in (0..256).rev().filter(|id| missing[usize::from(id / 8)] >> (id % 8) & 1 == 1) {
                        rx.handle_symbol(g, id, &symbol(&bundle, &object, g, id), &mut store).unwrap();
                    }
                }
            }
            prop_assert!(next < 4000);
        }
        prop_assert_eq!(rx.finish(&mut store), Ok(()));
        assert_content(&bundle, &mut store);
    }
}
