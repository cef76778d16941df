//! Receiving an object: true and false symbols in any order, restarts, power cuts. Nothing false gets in.
#![no_main]

use compotastic_bundle::{
    Encoder, FlashStore, Layout, ObjectIdentity, ObjectReceiver, PieceSource, RECEIVER_BYTES, SliceSource,
    build_stream,
    matrix::memory_for,
    ramflash::{Cut, RamFlash},
};
use libfuzzer_sys::fuzz_target;

/// 32 KiB; the second half for symbols that cannot be used yet.
type Flash = RamFlash<32_768, 8, 2048>;
const SPARE: u32 = 16_384;

fn store<'a>(flash: &'a mut Flash, layout: &Layout) -> Option<FlashStore<&'a mut Flash>> {
    FlashStore::new(flash, 0..SPARE, SPARE..2 * SPARE, layout, 7)
}

fn true_symbol(object: &ObjectIdentity, stream: &[u8], generation: u8, id: u16) -> Option<Vec<u8>> {
    let mut out = vec![0; usize::from(object.layout.piece_size())];
    let encoder = Encoder::new(object.layout, object.tag());
    let length = encoder.symbol(generation, id, &mut SliceSource(stream), &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    // Memory for any loss pattern, for few pieces, and for none.
    match data.first().map_or(0, |size| size % 4) {
        0 => receive::<{ memory_for(8) }>(data),
        1 => receive::<16>(data),
        _ => receive::<RECEIVER_BYTES>(data),
    }
});

fn receive<const BYTES: usize>(data: &[u8]) {
    let Some((&[size, scale, sixteenths], steps)) = data.split_first_chunk::<3>() else { return };
    let content: Vec<u8> = (0..(usize::from(size) + 1) * (1 + usize::from(scale % 32)))
        .map(|i| (7 * i + i / 256) as u8)
        .collect();
    let piece_size = 16 * (1 + u16::from(sixteenths % 16));
    let mut stream = vec![0; 4 * content.len() + 64];
    let Some(mut object) = build_stream(&content, piece_size, &mut stream) else { return };
    object.layout = object.layout.with_generations(1 + 4 * u16::from(scale / 32) * u16::from(scale / 32));
    if object.layout.stored_len() > SPARE {
        return;
    }
    let mut flash = Box::new(Flash::new());
    let mut receiver = Box::new(ObjectReceiver::<BYTES>::with_memory(&object));
    // Each step: what to do, generation, symbol id.
    for step in steps.chunks_exact(4) {
        let (what, generation) = (step[0], step[1] % (object.layout.generations() + 1));
        let id = u16::from_le_bytes([step[2], step[3]]);
        let short = id % (object.layout.generation_len(generation) + 8).max(1);
        let id = if what & 1 == 0 { short } else { id };
        let Some(mut symbol) = true_symbol(&object, &stream, generation, id) else { continue };
        match what >> 5 {
            // False in a bit, in all, or in its length.
            0 => {
                let at = usize::from(step[3]) % symbol.len();
                symbol[at] ^= 1 << (what >> 1 & 7);
            }
            1 => symbol.fill(what),
            2 => symbol.truncate(usize::from(step[3])),
            // Power fails inside one of the next flash operations.
            3 => flash.cut_after(u64::from(step[2] & 3), Cut::Inside(step[3])),
            _ => {}
        }
        let mut cut = false;
        {
            let mut store = store(&mut flash, &object.layout).expect("the regions fit");
            cut |= receiver.handle_symbol(generation, id, &symbol, &mut store).is_err();
            cut |= receiver.is_complete() && receiver.finish(&mut store).is_err();
        }
        if !flash.has_power() || what & 2 == 2 && what >> 5 == 7 {
            flash.power_on();
            let mut store = store(&mut flash, &object.layout).expect("the regions fit");
            *receiver = ObjectReceiver::resume_with_memory(&object, &mut store).expect("power is back");
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
        let mut read = vec![0; content.len()];
        store.read(0, &mut read).expect("power is on");
        assert_eq!(read, content);
    } else {
        // True pieces, the last first, still complete it, whatever came before.
        for generation in (0..object.layout.generations()).rev() {
            for id in (0..object.layout.generation_len(generation)).rev() {
                let symbol = true_symbol(&object, &stream, generation, id).expect("a piece");
                receiver.handle_symbol(generation, id, &symbol, &mut store).expect("power is on");
            }
        }
        assert!(receiver.is_complete(), "true pieces did not complete it");
        assert_eq!(receiver.finish(&mut store), Ok(()));
    }
}
