//! An object comes through whatever the channel does, in bounded memory, and false symbols do not get in.

mod common;

use common::{Bundle, Lcg, content};
use compotastic_bundle::ramflash::RamFlash;
use compotastic_bundle::{
    FinishError, FlashStore, ObjectReceiver, Outcome, PieceSource, PieceStore, Refused, TABLE_BYTES,
    object::MAX_PIECE_SIZE,
};
use proptest::prelude::*;

type BigFlash = RamFlash<262_144, 4, 4096>;
const SPARE: u32 = 196_608;

fn store_with<'a>(flash: &'a mut BigFlash, bundle: &Bundle, spare_len: u32) -> FlashStore<BigFlashRef<'a>> {
    FlashStore::new(flash, 0..SPARE, SPARE..SPARE + spare_len, &bundle.manifest.object().layout, 7).unwrap()
}

type BigFlashRef<'a> = &'a mut BigFlash;

fn store<'a>(flash: &'a mut BigFlash, bundle: &Bundle) -> FlashStore<BigFlashRef<'a>> {
    store_with(flash, bundle, 53_248)
}

fn flash() -> Box<BigFlash> {
    Box::new(BigFlash::new())
}

fn assert_whole(rx: &ObjectReceiver, bundle: &Bundle, store: &mut FlashStore<BigFlashRef<'_>>) {
    assert!(rx.is_complete());
    assert_eq!(rx.finish(store), Ok(()));
    let mut read = vec![0; bundle.content.len()];
    store.read(0, &mut read).unwrap();
    assert_eq!(read, bundle.content);
}

#[test]
fn pieces_in_the_senders_order() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut flash = flash();
    let mut store = store(&mut flash, &bundle);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    assert_eq!((rx.needed(0), rx.needed(1), rx.pieces_present()), (25, 0, 0));
    assert_eq!(rx.finish(&mut store), Err(FinishError::Incomplete));
    for (n, (g, id)) in bundle.pieces().enumerate() {
        let progress = rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
        assert_eq!(progress.outcome, Outcome::Stored);
        assert_eq!(usize::from(progress.needed), 24 - n);
        assert_eq!(progress.complete, n == 24);
        let again = rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
        assert_eq!(again.outcome, Outcome::Redundant);
    }
    assert_whole(&rx, &bundle, &mut store);
}

#[test]
fn memory_is_what_is_stated() {
    let size = core::mem::size_of::<ObjectReceiver>();
    let pieces = 2 * usize::from(MAX_PIECE_SIZE);
    println!("ObjectReceiver: {size} bytes, tables {TABLE_BYTES}, two pieces while it decodes {pieces}");
    assert!(size + TABLE_BYTES + pieces <= 16 * 1024);
}

proptest! {
    #![proptest_config(common::config(96))]

    /// Uncoded and coded symbols, lost, doubled and in any order, with restarts in between: it completes, and soon.
    #[test]
    fn any_mix_of_symbols_completes(
        len in 1usize..40_000,
        sixteenths in 2u16..=16,
        loss in 0u32..60,
        seed in any::<u64>(),
        restart in 0u32..3,
    ) {
        let piece_size = sixteenths * 16;
        prop_assume!(len / usize::from(piece_size - 8) < 600);
        let bundle = Bundle::with_piece_size(content(len, seed), 1, piece_size);
        let layout = bundle.manifest.object().layout;
        let mut flash = flash();
        let mut rng = Lcg(seed);
        let mut rx = ObjectReceiver::new(&bundle.manifest);
        let mut queue: Vec<(u8, u16)> = bundle.pieces().collect();
        let mut next_id = 256;
        let mut rounds = 0;
        while !rx.is_complete() {
            for n in (1..queue.len()).rev() {
                queue.swap(n, rng.below(n as u32 + 1) as usize);
            }
            for (g, id) in queue.drain(..) {
                if rng.chance(loss) {
                    continue;
                }
                let data = bundle.symbol(g, id);
                let mut store = store(&mut flash, &bundle);
                let before = rx.needed(g);
                let p = rx.handle_symbol(g, id, &data, &mut store).unwrap();
                prop_assert!(!matches!(p.outcome, Outcome::Poisoned { .. }), "{:?}", p.outcome);
                prop_assert!(p.needed <= before);
                if rng.chance(5) {
                    rx.handle_symbol(g, id, &data, &mut store).unwrap();
                }
                if restart > 0 && rng.chance(restart) {
                    let needed: Vec<u8> = (0..layout.generations()).map(|g| rx.needed(g)).collect();
                    rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store).unwrap();
                    let after: Vec<u8> = (0..layout.generations()).map(|g| rx.needed(g)).collect();
                    prop_assert_eq!(needed, after, "a restart costs nothing");
                }
            }
            for g in 0..layout.generations() {
                for _ in 0..rx.needed(g).div_ceil(2) {
                    queue.push((g, next_id));
                    next_id += 1;
                }
                // What cannot be coded any more for want of spare room is asked for by name.
                if rounds > 20 {
                    let missing = rx.missing(g);
                    let named = (0..layout.generation_len(g)).filter(|id| missing[usize::from(id / 8)] >> (id % 8) & 1 == 1);
                    queue.extend(named.map(|id| (g, id)));
                }
            }
            rounds += 1;
            prop_assert!(rounds < 200);
        }
        let mut store = store(&mut flash, &bundle);
        assert_whole(&rx, &bundle, &mut store);
    }

    /// Whatever arrives, nothing false is ever written, nothing panics, and the true symbols still complete it.
    #[test]
    fn garbage_only_wastes_airtime(seed in any::<u64>(), junk in 1u32..60) {
        let bundle = Bundle::new(content(4096, seed), 1);
        let mut flash = flash();
        let mut store = store(&mut flash, &bundle);
        let mut rng = Lcg(seed);
        let mut rx = ObjectReceiver::new(&bundle.manifest);
        for _ in 0..junk {
            let len = [176, 64, 0, 177, 1024][rng.below(5) as usize];
            let data = content(len, u64::from(rng.next()));
            let (g, id) = (rng.below(3) as u8, rng.below(60) as u16 * if rng.chance(10) { 1097 } else { 1 });
            rx.handle_symbol(g, id, &data, &mut store).unwrap();
        }
        let mut rounds = 0;
        while !rx.is_complete() {
            for (g, id) in bundle.pieces() {
                rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
            }
            rounds += 1;
            prop_assert!(rounds < 4);
        }
        assert_whole(&rx, &bundle, &mut store);
    }
}

#[test]
fn any_loss_pattern_of_256_pieces_is_decoded() {
    // All coded, all but one coded, half.
    for kept in [0, 1, 128, 255] {
        let bundle = Bundle::new(content(43_000, 3), 1);
        let layout = bundle.manifest.object().layout;
        assert_eq!((layout.pieces(), layout.generations()), (256, 1));
        let mut flash = flash();
        let mut store = store(&mut flash, &bundle);
        let mut rx = ObjectReceiver::new(&bundle.manifest);
        for id in (0..256).rev().take(kept) {
            rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
        }
        let mut sent = 0;
        for id in 256.. {
            sent += 1;
            if rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().complete {
                break;
            }
        }
        assert!(sent <= 256 - kept + 12, "{sent}");
        assert_whole(&rx, &bundle, &mut store);
    }
}

#[test]
fn a_false_coded_symbol_poisons_its_generation_until_it_is_whole() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut flash = flash();
    let mut store = store(&mut flash, &bundle);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for id in 10..25 {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap();
    }
    let mut false_symbol = bundle.symbol(0, 99);
    false_symbol[3] ^= 1;
    assert_eq!(rx.handle_symbol(0, 99, &false_symbol, &mut store).unwrap().outcome, Outcome::Stored);
    let mut poisoned = false;
    for id in 100..130 {
        let outcome = rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).unwrap().outcome;
        if poisoned {
            assert_eq!(outcome, Outcome::Refused(Refused::Poisoned));
        }
        poisoned |= outcome == Outcome::Poisoned { generation: 0 };
    }
    assert!(poisoned && rx.is_poisoned(0));
    assert_eq!((rx.pieces_present(), rx.needed(0)), (15, 10), "what was verified is kept");
    // It is remembered across a restart.
    let mut rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store).unwrap();
    assert!(rx.is_poisoned(0));
    assert_eq!(rx.missing(0)[..3], [0xFF, 0x03, 0]);
    // False pieces are seen at once, true ones complete it.
    for id in (0..10).rev() {
        let mut piece = bundle.symbol(0, id);
        piece[0] ^= 1;
        let bad = rx.handle_symbol(0, id, &piece, &mut store).unwrap().outcome;
        assert_eq!(bad, Outcome::Refused(Refused::BadPiece));
        piece[0] ^= 1;
        rx.handle_symbol(0, id, &piece, &mut store).unwrap();
    }
    assert_whole(&rx, &bundle, &mut store);
}

#[test]
fn poison_is_remembered_when_the_spare_area_is_erased() {
    let bundle = Bundle::new(content(130_000, 1), 1);
    let layout = bundle.manifest.object().layout;
    assert_eq!(layout.generations(), 4);
    let mut flash = flash();
    let mut store = store_with(&mut flash, &bundle, 4096);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    let mut take = |rx: &mut ObjectReceiver, g, id, flip| {
        let mut data = bundle.symbol(g, id);
        data[0] ^= flip;
        rx.handle_symbol(g, id, &data, &mut store).unwrap().outcome
    };
    // A symbol is redundant now and then.
    fn news(take: &mut impl FnMut(u16) -> Outcome, count: usize) -> Outcome {
        (300..).map(take).filter(|o| *o != Outcome::Redundant).nth(count - 1).unwrap()
    }
    let pieces = |g, from| (from..layout.generation_len(g)).rev();
    pieces(3, 0).for_each(|id| _ = take(&mut rx, 3, id, 0));
    // Eleven slots for a poisoned generation and one for its mark, nine for another fill the 21.
    pieces(2, 11).for_each(|id| _ = take(&mut rx, 2, id, 0));
    assert_eq!(news(&mut |id| take(&mut rx, 2, id, 1), 11), Outcome::Poisoned { generation: 2 });
    pieces(1, 9).for_each(|id| _ = take(&mut rx, 1, id, 0));
    assert_eq!(news(&mut |id| take(&mut rx, 1, id, 0), 9), Outcome::Stored);
    assert_eq!(rx.missing(1), [0; 32]);
    // The next one needs the room.
    assert_eq!(take(&mut rx, 0, 300, 0), Outcome::Stored);
    let rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store).unwrap();
    assert!(rx.is_poisoned(2) && !rx.is_poisoned(1) && !rx.is_poisoned(0));
    assert!(rx.needed(2) > 0);
    assert_eq!(u16::from(rx.needed(0)), layout.generation_len(0) - 1);
}

#[test]
fn a_decayed_spare_symbol_is_not_used() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut flash = flash();
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for id in 300..303 {
        rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store(&mut flash, &bundle)).unwrap();
    }
    flash.bytes_mut()[SPARE as usize + 192 + 100] ^= 1;
    let rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store(&mut flash, &bundle)).unwrap();
    assert_eq!(rx.needed(0), 23);
}

#[test]
fn pieces_wait_for_their_hashes() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut flash = flash();
    let mut store = store(&mut flash, &bundle);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for id in 0..24 {
        let mut piece = bundle.symbol(0, id);
        piece[0] ^= u8::from(id == 5);
        assert_eq!(rx.handle_symbol(0, id, &piece, &mut store).unwrap().outcome, Outcome::Stored);
    }
    assert_eq!((rx.pieces_present(), rx.needed(0)), (0, 1));
    assert_eq!(rx.missing(0)[..4], [0, 0, 0, 1]);
    let progress = rx.handle_symbol(0, 24, &bundle.symbol(0, 24), &mut store).unwrap();
    assert_eq!((progress.outcome, progress.needed), (Outcome::Stored, 1));
    assert_eq!(rx.missing(0)[..4], [1 << 5, 0, 0, 0], "only the false one was let go");
    rx.handle_symbol(0, 5, &bundle.symbol(0, 5), &mut store).unwrap();
    assert_whole(&rx, &bundle, &mut store);
}

#[test]
fn a_full_spare_area_still_takes_pieces_and_is_used_again() {
    let bundle = Bundle::new(content(60_000, 1), 1);
    let layout = bundle.manifest.object().layout;
    assert_eq!(layout.generations(), 2);
    let mut flash = flash();
    let mut store = store_with(&mut flash, &bundle, 4096);
    assert_eq!(store.spare_slots(), 21);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for g in [1, 0] {
        let k = layout.generation_len(g);
        for id in 256..300 {
            let outcome = rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap().outcome;
            let expected = if id < 277 { Outcome::Stored } else { Outcome::Refused(Refused::NoSpare) };
            assert_eq!(outcome, expected, "{g} {id}");
        }
        for id in (0..k).rev() {
            rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
        }
        assert_eq!(rx.needed(g), 0);
    }
    assert_whole(&rx, &bundle, &mut store);
}

#[test]
fn another_objects_symbols_in_the_spare_area_are_not_used() {
    let (a, b) = (Bundle::new(content(4096, 1), 1), Bundle::new(content(4096, 2), 2));
    let mut flash = flash();
    let mut rx = ObjectReceiver::new(&a.manifest);
    for id in 256..270 {
        rx.handle_symbol(0, id, &a.symbol(0, id), &mut store(&mut flash, &a)).unwrap();
    }
    let layout = b.manifest.object().layout;
    let mut store = FlashStore::new(&mut *flash, 0..SPARE, SPARE..SPARE + 53_248, &layout, 8).unwrap();
    let mut rx = ObjectReceiver::resume(b.manifest.object(), &mut store).unwrap();
    assert_eq!(rx.needed(0), 25);
    for (g, id) in b.pieces() {
        rx.handle_symbol(g, id, &b.symbol(g, id), &mut store).unwrap();
    }
    assert_whole(&rx, &b, &mut store);
}

#[test]
fn a_manifest_with_a_false_digest_is_found_out() {
    let mut bundle = Bundle::new(content(500, 1), 1);
    let mut manifest = bundle.manifest.manifest().clone();
    manifest.digest[31] ^= 1;
    let claimed = compotastic_bundle::ClaimedManifest::sign(manifest, &common::edge_key()).unwrap();
    bundle.manifest = common::trust().verify(&claimed).unwrap();
    let mut flash = flash();
    let mut store = store(&mut flash, &bundle);
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
    }
    assert!(rx.is_complete());
    assert_eq!(rx.finish(&mut store), Err(FinishError::Digest));
}

#[test]
fn pieces_beside_a_torn_one_are_kept() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut flash = flash();
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store(&mut flash, &bundle)).unwrap();
    }
    // Piece 23 spans the first page's end.
    flash.bytes_mut()[176 * 23 + 5] = 0xA5;
    let mut rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store(&mut flash, &bundle)).unwrap();
    // It holds the hashes of pieces 0 to 15, so those go with it; the others stay.
    assert_eq!(rx.missing(0)[..4], [0xFF, 0xFF, 0x80, 0]);
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store(&mut flash, &bundle)).unwrap();
    }
    assert_whole(&rx, &bundle, &mut store(&mut flash, &bundle));
}

#[test]
fn a_flash_whose_pages_exceed_memory_loses_the_page_only() {
    type CoarseFlash = RamFlash<65_536, 16, 16_384>;
    let bundle = Bundle::new(content(4096, 1), 1);
    let object = bundle.manifest.object();
    let mut flash = Box::new(CoarseFlash::new());
    let mut store = FlashStore::new(&mut *flash, 0..16_384, 16_384..65_536, &object.layout, 7).unwrap();
    let mut rx = ObjectReceiver::new(&bundle.manifest);
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
    }
    flash.bytes_mut()[176 * 3] ^= 1;
    let mut store = FlashStore::new(&mut *flash, 0..16_384, 16_384..65_536, &object.layout, 7).unwrap();
    let mut rx = ObjectReceiver::resume(object, &mut store).unwrap();
    assert_eq!(rx.pieces_present(), 0);
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
    }
    assert!(rx.is_complete());
    assert_eq!(rx.finish(&mut store), Ok(()));
}
