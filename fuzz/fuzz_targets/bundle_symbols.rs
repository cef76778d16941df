//! Receiving an object: true and false symbols in any order, restarts, power cuts. Nothing false gets in.
//!
//! Objects, flash and memory are small, so that executions are many a second: what depends on size is in the property tests.
#![no_main]

use compotastic_bundle::{
    Encoder, FlashStore, Layout, ObjectIdentity, ObjectReceiver, PieceSource, SliceSource,
    build_stream,
    matrix::memory_for,
    ramflash::{Cut, RamFlash},
};
use libfuzzer_sys::fuzz_target;

/// The second half for symbols that cannot be used yet.
type Flash = RamFlash<2048, 8, 128>;
const SPARE: u32 = 1024;
/// Steps of one execution.
const STEPS: usize = 32;

fn store<'a>(flash: &'a mut Flash, layout: &Layout) -> Option<FlashStore<&'a mut Flash>> {
    FlashStore::new(flash, 0..SPARE, SPARE..2 * SPARE, layout, 7)
}

/// A symbol's data in `out`; its length.
fn true_symbol(
    object: &ObjectIdentity,
    stream: &[u8],
    generation: u8,
    id: u16,
    out: &mut [u8; 48],
) -> Option<usize> {
    Encoder::new(object.layout, object.tag()).symbol(generation, id, &mut SliceSource(stream), out).ok()
}

fuzz_target!(|data: &[u8]| {
    // Memory for any loss pattern of these objects, for few pieces, and for none.
    match data.first().map_or(0, |size| size % 4) {
        0 => receive::<{ memory_for(4) }>(data),
        1 => receive::<16>(data),
        _ => receive::<{ memory_for(64) }>(data),
    }
});

fn receive<const BYTES: usize>(data: &[u8]) {
    let Some((&[size, scale, sixteenths], steps)) = data.split_first_chunk::<3>() else { return };
    let mut content = [0; 512];
    let content = &mut content[..1 + usize::from(size) * (1 + usize::from(scale % 2))];
    content.iter_mut().enumerate().for_each(|(i, byte)| *byte = (7 * i + i / 256) as u8);
    let piece_size = 16 * (1 + u16::from(sixteenths % 3));
    let mut stream = [0; 2048];
    let Some(mut object) = build_stream(content, piece_size, &mut stream) else { return };
    object.layout = object.layout.with_generations(2 + 4 * u16::from(scale / 32));
    if object.layout.stored_len() > SPARE {
        return;
    }
    let mut flash = Flash::new();
    let mut receiver = ObjectReceiver::<BYTES>::with_memory(&object);
    // Each step: what to do, generation, symbol id.
    for step in steps.chunks_exact(4).take(STEPS) {
        let (what, generation) = (step[0], step[1] % (object.layout.generations() + 1));
        let id = u16::from_le_bytes([step[2], step[3]]);
        let short = id % (object.layout.generation_len(generation) + 8).max(1);
        let id = if what & 1 == 0 { short } else { id };
        let mut symbol = [0; 48];
        let Some(mut length) = true_symbol(&object, &stream, generation, id, &mut symbol) else { continue };
        match what >> 5 {
            // False in a bit, in all, or in its length.
            0 => {
                let at = usize::from(step[3]) % length.max(1);
                symbol[at] ^= 1 << (what >> 1 & 7);
            }
            1 => symbol.fill(what),
            2 => length = length.min(usize::from(step[3])),
            // Power fails inside one of the next flash operations.
            3 => flash.cut_after(u64::from(step[2] & 3), Cut::Inside(step[3])),
            _ => {}
        }
        let mut cut = false;
        {
            let mut store = store(&mut flash, &object.layout).expect("the regions fit");
            cut |= receiver.handle_symbol(generation, id, &symbol[..length], &mut store).is_err();
            cut |= receiver.is_complete() && receiver.finish(&mut store).is_err();
        }
        if !flash.has_power() || what & 2 == 2 && what >> 5 == 7 {
            flash.power_on();
            let mut store = store(&mut flash, &object.layout).expect("the regions fit");
            receiver = ObjectReceiver::resume_with_memory(&object, &mut store).expect("power is back");
        } else {
            assert!(!cut, "an error without a power cut");
        }
        for generation in 0..object.layout.generations() {
            assert!(u32::from(receiver.needed(generation)) <= object.layout.pieces());
        }
    }
    // A cut that has not come yet is called off.
    flash.power_on();
    let mut store = store(&mut flash, &object.layout).expect("the regions fit");
    if receiver.is_complete() {
        assert_eq!(receiver.finish(&mut store), Ok(()));
        let mut read = [0; 512];
        let read = &mut read[..content.len()];
        store.read(0, read).expect("power is on");
        assert_eq!(read, content);
    } else {
        // True pieces, the last first, still complete it, whatever came before.
        for generation in (0..object.layout.generations()).rev() {
            for id in (0..object.layout.generation_len(generation)).rev() {
                let mut symbol = [0; 48];
                let length = true_symbol(&object, &stream, generation, id, &mut symbol).expect("a piece");
                receiver.handle_symbol(generation, id, &symbol[..length], &mut store).expect("power is on");
            }
        }
        assert!(receiver.is_complete(), "true pieces did not complete it");
        assert_eq!(receiver.finish(&mut store), Ok(()));
    }
}
