//! Counts instructions of the erasure code in an emulated Cortex-M4 that takes one virtual nanosecond for each.
//!
//! The timer runs at the board's 25 MHz, so that a tick is 40 instructions; a loop of known length checks that. Flash is
//! memory here: what is counted is the code's own work, reads of flash as copies.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

use compotastic_bundle::{
    Combinations, Encoder, MAX_SPARE, ObjectIdentity, ObjectReceiver, PieceSource, PieceStore, Progress,
    SliceSource, SpareSlot, build_stream,
};
use core::convert::Infallible;
use cortex_m::peripheral::{SYST, syst::SystClkSource};
use cortex_m_semihosting::{debug, hprintln};

const PIECE: usize = 208;
const MOST: usize = 256;
const LOADED: u32 = 0x00FF_FFFF;

/// Instructions in a tick of the timer.
const TICK: u64 = 40;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}

/// A timer that counts down from 2^24.
struct Timer(SYST);

impl Timer {
    fn new(mut syst: SYST) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(LOADED);
        syst.clear_current();
        syst.enable_counter();
        Self(syst)
    }

    /// Instructions of `work`, at most 671 million.
    fn count<T>(&mut self, work: impl FnOnce() -> T) -> (u64, T) {
        self.0.clear_current();
        // The first tick loads it.
        while SYST::get_current() == 0 {}
        let before = SYST::get_current();
        let result = work();
        let ticks = before.wrapping_sub(SYST::get_current()) & LOADED;
        (u64::from(ticks) * TICK, result)
    }
}

/// Depth of the stack that is looked at.
const DEPTH: usize = 16 * 1024;

/// Bytes of stack that `work` takes below this frame, by the marks that it leaves whole.
#[inline(never)]
#[allow(unsafe_code, reason = "memory below the stack pointer is nobody's, and the emulator has 4 MB of it")]
fn stack_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    const MARK: u32 = 0xA55A_C33C;
    let here = 0u32;
    // Above this are the frame's own variables.
    let top = (&raw const here as usize & !3) - 64;
    for at in (top - DEPTH..top).step_by(4) {
        // SAFETY: aligned, in RAM, and below all that is in use.
        unsafe { core::ptr::write_volatile(at as *mut u32, MARK) };
    }
    let result = work();
    let whole = |at: &usize| {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(*at as *const u32) == MARK }
    };
    let lowest = (top - DEPTH..top).step_by(4).find(|at| !whole(at)).unwrap_or(top);
    (top - lowest, result)
}

/// Takes a symbol in a frame of its own.
#[inline(never)]
fn take(receiver: &mut ObjectReceiver, id: u16, data: &[u8], store: &mut Store) -> Progress {
    let Ok(progress) = receiver.handle_symbol(0, id, data, store);
    progress
}

/// Flash as memory.
struct Store {
    stream: [u8; MOST * PIECE],
    spare: [[u8; PIECE]; MAX_SPARE],
    heads: [Option<(u8, u16)>; MAX_SPARE],
}

impl PieceSource for Store {
    type Error = Infallible;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Infallible> {
        SliceSource(&self.stream).read(offset, out)
    }
}

impl PieceStore for Store {
    fn write_piece(&mut self, index: u32, piece: &[u8]) -> Result<(), Infallible> {
        self.stream[index as usize * PIECE..][..piece.len()].copy_from_slice(piece);
        Ok(())
    }

    fn clear_piece(&mut self, _index: u32, _scratch: &mut [u8]) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn spare_slots(&self) -> usize {
        MAX_SPARE
    }

    fn spare_page(&self) -> usize {
        MAX_SPARE
    }

    fn spare(&mut self, slot: usize) -> Result<SpareSlot, Infallible> {
        let symbol = |(generation, id)| SpareSlot::Symbol { generation, id };
        Ok(self.heads[slot].map_or(SpareSlot::Blank, symbol))
    }

    fn read_spare(&mut self, slot: usize, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.spare[slot]);
        Ok(())
    }

    fn write_spare(&mut self, slot: usize, generation: u8, id: u16, data: &[u8]) -> Result<(), Infallible> {
        self.spare[slot].copy_from_slice(data);
        self.heads[slot] = Some((generation, id));
        Ok(())
    }

    fn clear_spare(&mut self, _page: usize) -> Result<(), Infallible> {
        self.heads.fill(None);
        Ok(())
    }
}

fn encoding(timer: &mut Timer, object: &ObjectIdentity, stream: &[u8]) {
    let k = object.layout.pieces() as u16;
    let encoder = Encoder::new(object.layout, object.tag());
    let mut source = SliceSource(stream);
    let mut kept = Combinations::<{ 4 * PIECE }>::new();
    let mut out = [0; PIECE];
    let (alone, _) = timer.count(|| encoder.symbol(0, 900, &mut source, &mut out));
    let (first, _) = timer.count(|| encoder.symbol_with(0, 901, &mut source, &mut kept, &mut out));
    let symbols = 20;
    let (next, ()) = timer.count(|| {
        for id in 902..902 + symbols {
            let _ = encoder.symbol_with(0, id, &mut source, &mut kept, &mut out);
        }
    });
    hprintln!(
        "K {:4}  encode: alone {}, first with kept combinations {}, each further {}",
        k,
        alone,
        first,
        next / u64::from(symbols)
    );
}

fn receiving(timer: &mut Timer, object: &ObjectIdentity, stream: &[u8], lost_of_ten: u16) {
    let k = object.layout.pieces() as u16;
    let encoder = Encoder::new(object.layout, object.tag());
    let mut kept = Combinations::<{ 4 * PIECE }>::new();
    let mut store = Store { stream: [0; _], spare: [[0; PIECE]; _], heads: [None; _] };
    let mut receiver = ObjectReceiver::for_object(object);
    let mut stack = 0;
    let (mut pieces, mut piece_cost, mut coded, mut coded_cost, mut missing) = (0, 0, 0, 0, 0);
    // Losses spread evenly, all if ten of ten; the last piece of all is lost only then.
    let kept_piece = |id: &u16| lost_of_ten == 0 || (id * 7 + 10 * (k - 1 - id) / k) % 10 >= lost_of_ten;
    for id in (0..k).rev().chain(1000..) {
        if id < k && !kept_piece(&id) {
            missing += 1;
            continue;
        }
        let mut out = [0; PIECE];
        let Ok(length) = encoder.symbol_with(0, id, &mut SliceSource(stream), &mut kept, &mut out) else {
            break;
        };
        let (depth, (cost, progress)) =
            stack_of(|| timer.count(|| take(&mut receiver, id, &out[..length], &mut store)));
        stack = stack.max(depth);
        if progress.complete {
            hprintln!(
                "K {:4}, {:3} missing  piece: {}; coded symbol: {}; solution: {}, for each missing piece {}; stack {} bytes",
                k,
                missing,
                piece_cost / pieces.max(1),
                coded_cost / coded.max(1),
                cost,
                cost / missing.max(1),
                stack
            );
            break;
        }
        if id < k {
            pieces += 1;
            piece_cost += cost;
        } else {
            coded += 1;
            coded_cost += cost;
        }
    }
    assert!(store.stream[..stream.len()] == *stream, "decoded something else");
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let peripherals = cortex_m::Peripherals::take();
    hprintln!("receiver: {} bytes", size_of::<ObjectReceiver>());
    let mut timer = Timer::new(peripherals.map(|p| p.SYST).expect("the first to take them"));
    // 2 instructions for each of 500,000 rounds.
    let (loops, ()) = timer.count(|| cortex_m::asm::delay(499_999));
    hprintln!("check: {} instructions counted where 1000000 ran", loops);
    assert!((999_000..1_001_000).contains(&loops), "the timer is not what it should be");
    let mut content = [0; MOST * PIECE];
    (0..content.len()).for_each(|n| content[n] = (7 * n + n / 256) as u8);
    for k in [64, 256] {
        let mut stream = [0; MOST * PIECE];
        let stream = &mut stream[..k * PIECE];
        let object = build_stream(&content[..k * (PIECE - 8) + 8], PIECE as u16, stream).expect("an object");
        encoding(&mut timer, &object, stream);
        for lost_of_ten in [1, 3, 10] {
            receiving(&mut timer, &object, stream, lost_of_ten);
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}
