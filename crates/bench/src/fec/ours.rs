//! Our own code, by the decoder that devices run.
//!
//! Up to 256 pieces each run is a whole [`ObjectReceiver`], which checks each piece by its hash. Longer generations are not
//! on the air; there the same matrix and solution are driven here, with the same memory, and one run in [`CHECKED`] is
//! solved and compared.

use super::{Code, PIECE, Random, Trial};
use anyhow::{Context as _, Result, ensure};
use compotastic_bundle::code::{Code as Coefficients, DENSE, MAX_CODED};
use compotastic_bundle::matrix::{Inserted, Matrix, memory_for};
use compotastic_bundle::object::MAX_GENERATION;
use compotastic_bundle::solve::{Exchange, solve};
use compotastic_bundle::{
    Bits, Combinations, Encoder, ObjectIdentity, ObjectReceiver, ObjectTag, PieceSource, PieceStore,
    RECEIVER_BYTES, SliceSource, SpareSlot, TABLE_BYTES, build_stream,
};
use core::convert::Infallible;

/// One run in so many of a long generation is solved.
const CHECKED: u32 = 50;

pub(super) struct Ours {
    k: u16,
    object: ObjectIdentity,
    stream: Vec<u8>,
    kept: Combinations<{ DENSE * PIECE }>,
}

impl Ours {
    pub fn new(k: u16) -> Result<Self> {
        ensure!(k <= MAX_CODED, "at most {MAX_CODED} pieces");
        // K pieces hold the content and an 8-byte hash of each but the last.
        let content: Vec<u8> =
            (0..usize::from(k) * (PIECE - 8) + 8).map(|n| (7 * n + n / 256) as u8).collect();
        let mut stream = vec![0; usize::from(k) * PIECE];
        let object = build_stream(&content, PIECE as u16, &mut stream).context("no such object")?;
        ensure!(object.layout.pieces() == u32::from(k), "an object of {} pieces", object.layout.pieces());
        let mut ours = Self { k, object, stream, kept: Combinations::new() };
        if k <= MAX_GENERATION {
            let mut kept = ours.kept.clone();
            ours.symbol(k, &mut kept)?;
            ours.kept = kept;
        }
        Ok(ours)
    }

    fn symbol(&self, id: u16, kept: &mut Combinations<{ DENSE * PIECE }>) -> Result<Vec<u8>> {
        let mut out = vec![0; PIECE];
        let length = Encoder::new(self.object.layout, self.object.tag())
            .symbol_with(0, id, &mut SliceSource(&self.stream), kept, &mut out)
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        out.truncate(length);
        Ok(out)
    }

    fn piece(&self, n: u16) -> &[u8] {
        &self.stream[usize::from(n) * PIECE..][..PIECE]
    }

    /// The ids of coded symbols in one run: each run has others.
    fn coded(&self, run: u32) -> impl Iterator<Item = u16> {
        let coded = u32::from(u16::MAX - self.k);
        let k = self.k;
        (0..).map(move |n: u32| k + ((run * 97 + n) % coded) as u16)
    }

    fn by_receiver(&self, loss: f64, run: u32) -> Trial {
        let (mut random, mut trial) = (Random::new(loss, run), Trial::default());
        let mut kept = self.kept.clone();
        let mut store = MemoryStore { stream: vec![0; self.stream.len()], spare: Vec::new() };
        let mut receiver = ObjectReceiver::for_object(&self.object);
        for id in (0..self.k).rev().chain(self.coded(run)) {
            trial.sent += 1;
            if random.chance(loss) {
                continue;
            }
            trial.received += 1;
            let symbol = self.symbol(id, &mut kept).expect("a symbol of this object");
            let Ok(progress) = receiver.handle_symbol(0, id, &symbol, &mut store);
            if progress.complete {
                break;
            }
        }
        assert!(receiver.finish(&mut store).is_ok() && store.stream == self.stream, "decoded something else");
        trial.ram = receiver.peak_matrix_bytes();
        trial
    }

    fn by_matrix(&self, loss: f64, run: u32) -> Trial {
        let mut random = Random::new(loss, run);
        let mut trial = Trial { sent: self.k.into(), ..Trial::default() };
        let mut absent = Bits::default();
        (0..self.k).filter(|_| random.chance(loss)).for_each(|piece| absent.insert(piece));
        // Pieces as they are, by name, until the symbols of the others fit the memory.
        while absent.count() > Matrix::<RECEIVER_BYTES>::capacity() {
            trial.waited = true;
            let excess = usize::from(absent.count() - Matrix::<RECEIVER_BYTES>::capacity());
            let named: Vec<u16> = absent.iter().take(excess).collect();
            trial.sent += named.len() as u32;
            named.into_iter().filter(|_| !random.chance(loss)).for_each(|piece| absent.remove(piece));
        }
        trial.received = u32::from(self.k - absent.count());
        // Tags as different as those of other objects.
        let code = Coefficients::new(ObjectTag(run.wrapping_mul(0x9E37_79B9)), 0, self.k);
        let mut matrix = Box::new(Matrix::<RECEIVER_BYTES>::new());
        matrix.reset(absent.count());
        let mut ids = Vec::new();
        for id in self.coded(run) {
            if matrix.lacking(&code, &absent) == 0 {
                break;
            }
            trial.sent += 1;
            if random.chance(loss) {
                continue;
            }
            trial.received += 1;
            if matrix.insert(&code, &absent, id) != Inserted::Nothing {
                ids.push(id);
            }
        }
        trial.ram = memory_for(absent.count());
        if run.is_multiple_of(CHECKED) {
            let symbols = ids.iter().map(|id| (*id, self.encode(&code, *id))).collect();
            let mut solving = Solving { ours: self, symbols, left: absent };
            let (mut sum, mut data) = (vec![0; PIECE], vec![0; PIECE]);
            let Ok(sound) = solve(&mut matrix, &code, &absent, &mut solving, &mut sum, &mut data);
            assert!(sound && solving.left.count() == 0, "decoded something else");
            assert!(matrix.peak() <= trial.ram, "more memory than stated");
        }
        trial
    }

    /// A coded symbol of a generation that is too long for the air.
    fn encode(&self, code: &Coefficients, id: u16) -> Vec<u8> {
        let mut sum = vec![0; PIECE];
        (0..self.k).for_each(|piece| code.add_piece(id, piece, self.piece(piece), &mut sum));
        sum
    }
}

impl Code for Ours {
    fn trial(&self, loss: f64, run: u32) -> Trial {
        if self.k <= MAX_GENERATION { self.by_receiver(loss, run) } else { self.by_matrix(loss, run) }
    }

    /// The receiver without its matrix, the tables, and two pieces while it decodes.
    fn fixed_ram(&self) -> Option<usize> {
        Some(size_of::<ObjectReceiver>() - RECEIVER_BYTES + TABLE_BYTES + 2 * PIECE)
    }
}

/// A long generation that is being solved.
struct Solving<'a> {
    ours: &'a Ours,
    symbols: Vec<(u16, Vec<u8>)>,
    left: Bits,
}

impl Exchange for Solving<'_> {
    type Error = Infallible;

    fn symbol_id(&self, n: u16) -> Option<u16> {
        self.symbols.get(usize::from(n)).map(|(id, _)| *id)
    }

    fn symbol(&mut self, n: u16, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.symbols[usize::from(n)].1);
        Ok(())
    }

    fn piece(&mut self, piece: u16, out: &mut [u8]) -> Result<(), Infallible> {
        assert!(!self.left.contains(piece), "a missing piece is read");
        out.copy_from_slice(self.ours.piece(piece));
        Ok(())
    }

    fn solved(&mut self, piece: u16, data: &[u8]) -> Result<bool, Infallible> {
        self.left.remove(piece);
        Ok(data == self.ours.piece(piece))
    }
}

/// Flash of which only the contents matter.
struct MemoryStore {
    stream: Vec<u8>,
    spare: Vec<(u8, u16, Vec<u8>)>,
}

impl PieceSource for MemoryStore {
    type Error = Infallible;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Infallible> {
        SliceSource(&self.stream).read(offset, out)
    }
}

impl PieceStore for MemoryStore {
    fn write_piece(&mut self, index: u32, piece: &[u8]) -> Result<(), Infallible> {
        self.stream[index as usize * PIECE..][..piece.len()].copy_from_slice(piece);
        Ok(())
    }

    fn clear_piece(&mut self, index: u32, _scratch: &mut [u8]) -> Result<bool, Infallible> {
        self.stream[index as usize * PIECE..][..PIECE].fill(0);
        Ok(true)
    }

    fn renew_piece(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, Infallible> {
        self.clear_piece(index, scratch)
    }

    fn spare_slots(&self) -> usize {
        compotastic_bundle::MAX_SPARE
    }

    fn spare_page(&self) -> usize {
        compotastic_bundle::MAX_SPARE
    }

    fn spare(&mut self, slot: usize) -> Result<SpareSlot, Infallible> {
        let symbol =
            |(generation, id, _): &(u8, u16, _)| SpareSlot::Symbol { generation: *generation, id: *id };
        Ok(self.spare.get(slot).map_or(SpareSlot::Blank, symbol))
    }

    fn read_spare(&mut self, slot: usize, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.spare[slot].2);
        Ok(())
    }

    fn write_spare(&mut self, slot: usize, generation: u8, id: u16, data: &[u8]) -> Result<(), Infallible> {
        assert_eq!(slot, self.spare.len(), "slots fill in order");
        self.spare.push((generation, id, data.to_vec()));
        Ok(())
    }

    fn clear_spare(&mut self, _page: usize) -> Result<(), Infallible> {
        self.spare.clear();
        Ok(())
    }
}
