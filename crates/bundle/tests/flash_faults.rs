//! Flash fails at a write or an erasure and goes on: a receiver loses what was in hand at most, not the object.

mod common;

use common::{Bundle, Flash, content, geometry, target};
use compotastic_bundle::{Encoder, Layout, ObjectReceiver, RECEIVER_BYTES, SliceSource, Slots};

/// Less than a page of this flash: what lies beside a piece cannot be put back.
const SMALL: usize = 1500;

/// Combinations, and pieces as they are: some are placed at once, some wait for their hash, the rest is decoded.
fn symbols(layout: &Layout) -> Vec<u16> {
    let k = layout.generation_len(0);
    let mut ids: Vec<u16> = (0..k).rev().filter(|id| id % 3 != 1).collect();
    ids.rotate_left(2);
    ids.extend(300..300 + k / 3 + 12);
    ids
}

/// The store failed so often, and so often again as it was mended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Faults {
    once: u32,
    twice: u32,
}

/// A start, and the reception that was begun goes on or, if even its manifest is gone, begins.
fn begin<const BYTES: usize>(slots: &mut Slots<Flash>, bundle: &Bundle) -> ObjectReceiver<BYTES> {
    let mut try_once = || {
        slots.begin(&bundle.manifest, Some(&target())).ok()?;
        let store = &mut slots.store()?;
        ObjectReceiver::resume_with_memory(bundle.manifest.object(), store).ok()
    };
    (0..6).find_map(|_| try_once()).expect("the faults are over by now")
}

/// Receives as a node does: after a fault it mends and hands the symbol in again, after a second one it begins once more.
fn receive<const BYTES: usize>(slots: &mut Slots<Flash>, bundle: &Bundle) -> Faults {
    let object = bundle.manifest.object();
    let encoder = Encoder::new(object.layout, object.tag());
    let mut faults = Faults::default();
    let mut rx = begin::<BYTES>(slots, bundle);
    // What was lost is sent again, in the end as it is.
    let ids = symbols(&object.layout);
    let pieces: Vec<u16> = bundle.pieces().map(|(_, id)| id).collect();
    for id in [ids.as_slice(), &ids, &pieces, &pieces].concat() {
        let mut data = vec![0; usize::from(object.layout.piece_size())];
        let length = encoder.symbol(0, id, &mut SliceSource(&bundle.stream), &mut data).unwrap();
        let data = &data[..length];
        let store = &mut slots.store().unwrap();
        if rx.handle_symbol(0, id, data, store).is_err() {
            faults.once += 1;
            if rx.recover(store).and_then(|()| rx.handle_symbol(0, id, data, store)).is_err() {
                faults.twice += 1;
                rx = begin(slots, bundle);
            }
        }
    }
    rx.finish(&mut slots.store().unwrap()).unwrap();
    faults
}

/// Flash that fails `count` times after `after` operations of the reception.
fn failing(bundle: &Bundle, after: u64, count: u64) -> Slots<Flash> {
    let mut slots = Slots::open(Flash::new(), geometry()).unwrap();
    slots.begin(&bundle.manifest, Some(&target())).unwrap();
    let mut flash = slots.into_flash();
    flash.fail_after(after, count);
    Slots::open(flash, geometry()).unwrap()
}

fn any_operation_may_fail<const BYTES: usize>() {
    let bundle = Bundle::new(content(3000, 1), 1);
    let mut whole = failing(&bundle, 0, 0);
    let before = whole.flash().operations();
    assert_eq!(receive::<BYTES>(&mut whole, &bundle), Faults::default());
    let operations = whole.flash().operations() - before;
    assert!(operations > 30, "{operations}");
    for n in 0..operations {
        let mut slots = failing(&bundle, n, 1);
        assert_eq!(receive::<BYTES>(&mut slots, &bundle), Faults { once: 1, twice: 0 }, "operation {n}");
        // A restart finds the same.
        let mut slots = Slots::open(slots.into_flash(), geometry()).unwrap();
        assert!(begin::<BYTES>(&mut slots, &bundle).is_complete(), "operation {n}");
        slots.switch().unwrap();
    }
}

#[test]
fn any_operation_may_fail_once() {
    any_operation_may_fail::<RECEIVER_BYTES>();
}

/// Pieces beside the one that failed come again; the manifest of the reception does not, and stays.
#[test]
fn any_operation_may_fail_where_pages_are_larger_than_memory() {
    any_operation_may_fail::<SMALL>();
}

/// The mending fails too: what flash still holds is read anew.
#[test]
fn any_operations_may_fail_in_a_row() {
    let bundle = Bundle::new(content(3000, 1), 1);
    let mut twice = 0;
    for count in 2..5 {
        for n in 0..30 {
            let mut slots = failing(&bundle, n, count);
            twice += receive::<RECEIVER_BYTES>(&mut slots, &bundle).twice;
            slots.switch().unwrap();
        }
    }
    assert!(twice > 30, "{twice}");
}
