//! Receiving an object, in bounded memory, from any mix of symbols, across power cuts.
//!
//! Flash can be written once before it is erased, so data is never moved or reduced there. A piece goes to its final
//! place only when it is verified, and never twice. A symbol that cannot be used yet (coded, or a piece whose hash has
//! not arrived) goes to the *spare* area as it came, with its id; its coefficients follow from the id, so RAM holds
//! nothing that a restart could lose ([`ObjectReceiver::resume`]) but a matrix that tells which symbols are new. When
//! there are enough, the matrix is inverted and each missing piece is one pass over the symbols and the pieces, from the
//! last piece to the first: so the hash of each is known before it is written ([`crate::solve`]).
//!
//! Pieces whose hash has not arrived wait in the spare area too; for the matrix they are not missing, and if one is false
//! the decoding shows it.
//!
//! The matrix takes a bit for each missing piece and each symbol, and four bytes more for each symbol. A receiver whose
//! memory is smaller than that of a whole generation's waits for pieces as they are while more are missing than fit, and
//! says so ([`Refused::Memory`], [`ObjectReceiver::waits`]).
//!
//! If a decoded piece does not match, some symbol was false. The generation then counts as *poisoned*: its symbols are
//! dropped, and from then on only pieces are taken that can be verified when they come.

use crate::book::{Book, Piece, Solving};
use crate::code::NO_SYMBOL;
use crate::manifest::VerifiedManifest;
use crate::matrix::{Inserted, Matrix, memory_for};
use crate::object::{
    Layout, MAX_GENERATION, MAX_PIECE_SIZE, ObjectIdentity, ObjectTag, PieceSource, PieceStore, piece_hash,
};
use crate::solve::solve;
use crate::spare::Spare;
use sha2::{Digest, Sha256};

/// Why a symbol was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The object has no such generation, or the id is reserved.
    NoSymbol,
    /// Not as long as this symbol must be.
    Length,
    /// A piece that does not have its hash.
    BadPiece,
    /// The generation was poisoned: only pieces that can be verified now are taken. Send the last pieces first.
    Poisoned,
    /// No spare slot is left, or none beyond those that are kept for the last generation that is incomplete: only pieces that can be
    /// verified now are taken.
    NoSpare,
    /// More pieces are missing than the matrix has memory for, and as many coded symbols wait as it can hold: only pieces as
    /// they are help until fewer are missing ([`ObjectReceiver::waits`]).
    Memory,
}

/// What a symbol did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It brought the object forward.
    Stored,
    /// Known already, or a combination of what is known.
    Redundant,
    /// Not taken.
    Refused(Refused),
    /// It completed a decoding that proved false: this generation's symbols were dropped.
    Poisoned {
        /// The generation.
        generation: u8,
    },
}

/// Where a receiver stands after a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What the symbol did.
    pub outcome: Outcome,
    /// Symbols that its generation still needs, as by [`ObjectReceiver::needed`].
    pub needed: u8,
    /// All pieces are there and verified: [`ObjectReceiver::finish`].
    pub complete: bool,
}

/// Why an object is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishError<E> {
    /// Pieces are missing.
    Incomplete,
    /// All pieces have their hashes, but the content does not have its own: the manifest is inconsistent.
    Digest,
    /// The store failed.
    Store(E),
}

/// Memory of a receiver's matrix that takes any loss pattern of a generation.
pub const RECEIVER_BYTES: usize = memory_for(MAX_GENERATION);

/// Receives one object. All of it can be rebuilt from the store. `BYTES` is the memory of the matrix: [`memory_for`] the most
/// missing pieces of a generation that are to be decoded.
///
/// RAM: about 13 KiB by default, of which 1.8 KB do not depend on `BYTES`; [`crate::TABLE_BYTES`] of tables, which may lie in
/// flash; on the stack two pieces while it decodes, one while it takes a symbol, and less than 2 KB of small arrays.
#[derive(Clone)]
pub struct ObjectReceiver<const BYTES: usize = RECEIVER_BYTES> {
    book: Book,
    matrix: Matrix<BYTES>,
    /// The generation whose symbols the matrix holds.
    matrix_of: Option<u8>,
}

impl ObjectReceiver {
    /// A receiver for a bundle's content into an empty store.
    pub fn new(manifest: &VerifiedManifest) -> Self {
        Self::for_object(manifest.object())
    }

    /// A receiver for any object whose identity is known from a trusted place.
    pub fn for_object(object: &ObjectIdentity) -> Self {
        Self::with_memory(object)
    }

    /// A receiver that goes on with what a store holds already; also right for an empty store. Pieces that were cut
    /// while being written are cleared.
    pub fn resume<S: PieceStore>(object: &ObjectIdentity, store: &mut S) -> Result<Self, S::Error> {
        Self::resume_with_memory(object, store)
    }
}

impl<const BYTES: usize> ObjectReceiver<BYTES> {
    /// As [`ObjectReceiver::for_object`], with memory of another size.
    pub fn with_memory(object: &ObjectIdentity) -> Self {
        Self { book: Book::new(object), matrix: Matrix::new(), matrix_of: None }
    }

    /// As [`ObjectReceiver::resume`], with memory of another size.
    pub fn resume_with_memory<S: PieceStore>(
        object: &ObjectIdentity,
        store: &mut S,
    ) -> Result<Self, S::Error> {
        let mut receiver = Self::with_memory(object);
        receiver.rebuild(store)?;
        Ok(receiver)
    }

    /// Reads all that the store holds.
    fn rebuild<S: PieceStore>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let object = self.book.object;
        self.book = Book::new(&object);
        while !self.scan_pieces(store)? {
            self.book = Book::new(&object);
        }
        self.book.scan_spare(store)?;
        self.use_what_waits(store)
    }

    /// Uses all symbols in hand as far as they go, after the matrix's memory was used otherwise.
    fn use_what_waits<S: PieceStore>(&mut self, store: &mut S) -> Result<(), S::Error> {
        self.matrix_of = None;
        for generation in 0..self.layout().generations() {
            self.refresh(generation);
        }
        self.settle(store).map(|_| ())
    }

    /// Marks what is verified, clears what is not; false if clearing may have cost pieces already marked.
    fn scan_pieces<S: PieceStore>(&mut self, store: &mut S) -> Result<bool, S::Error> {
        let mut piece: Piece = [0; MAX_PIECE_SIZE as usize];
        let data = &mut piece[..self.book.piece_size()];
        for index in (0..self.layout().pieces()).rev() {
            store.read(self.book.offset(index), data)?;
            if self.book.expected(index, store)?.is_some_and(|hash| hash == piece_hash(data)) {
                self.book.mark(index);
            } else if !store.clear_piece(index, self.matrix.scratch())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How the object is cut.
    pub fn layout(&self) -> &Layout {
        self.book.layout()
    }

    /// The content's short name, by which the erasure code draws.
    pub fn tag(&self) -> ObjectTag {
        self.book.object.tag()
    }

    /// Pieces that are there and verified.
    pub fn pieces_present(&self) -> u32 {
        self.layout().pieces() - self.book.missing.iter().map(|m| u32::from(*m)).sum::<u32>()
    }

    /// Whether all pieces are there and verified.
    pub fn is_complete(&self) -> bool {
        self.book.missing.iter().all(|m| *m == 0)
    }

    /// How many more independent symbols a generation needs, at most 255. A generation can need none and yet be
    /// incomplete, while the pieces that hold its hashes are missing: ask for the last generation first.
    pub fn needed(&self, generation: u8) -> u8 {
        let g = usize::from(generation);
        let (missing, rank) = (self.book.missing.get(g).unwrap_or(&0), self.book.rank.get(g).unwrap_or(&0));
        missing.saturating_sub(*rank).min(255) as u8
    }

    /// Whether all pieces of a generation are there and verified.
    pub fn has_generation(&self, generation: u8) -> bool {
        generation < self.layout().generations() && self.book.missing[usize::from(generation)] == 0
    }

    /// Whether a generation's decoding failed, so that only verifiable pieces are taken for it.
    pub fn is_poisoned(&self, generation: u8) -> bool {
        self.book.is_poisoned(generation)
    }

    /// Whether more pieces of a generation are missing than the matrix has memory for, so that some must come as they are:
    /// ask for those that are [`ObjectReceiver::missing`]. Never so with the default memory.
    pub fn waits(&self, generation: u8) -> bool {
        !Matrix::<BYTES>::fits(self.book.absent(generation).count())
    }

    /// The most bytes of the matrix's memory that have been in use at a time.
    pub fn peak_matrix_bytes(&self) -> usize {
        self.matrix.peak()
    }

    /// Pieces of a generation that are not here in any form: bit n (lowest bit of the first byte first) for id n.
    pub fn missing(&self, generation: u8) -> [u8; 32] {
        let mut bits = [0; 32];
        self.book.absent(generation).iter().for_each(|id| bits[usize::from(id / 8)] |= 1 << (id % 8));
        bits
    }

    /// Takes a symbol. After an error of the store, which may have written part of something, go on with [`ObjectReceiver::recover`] or from
    /// [`ObjectReceiver::resume`].
    pub fn handle_symbol<S: PieceStore>(
        &mut self,
        generation: u8,
        id: u16,
        data: &[u8],
        store: &mut S,
    ) -> Result<Progress, S::Error> {
        let mut outcome = self.take(generation, id, data, store)?;
        if outcome == Outcome::Stored
            && let Some(generation) = self.settle(store)?
        {
            outcome = Outcome::Poisoned { generation };
        }
        Ok(Progress { outcome, needed: self.needed(generation), complete: self.is_complete() })
    }

    /// Goes on after an error of the store in [`ObjectReceiver::handle_symbol`]: the place of a piece whose write has failed is erased, those beside it are put
    /// back, and what waits is used. The symbol that was handed in may be lost, and may be handed in again. After an error of this, go on
    /// from [`ObjectReceiver::resume`].
    pub fn recover<S: PieceStore>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let torn = self.book.torn;
        if let Some(index) = torn
            && !store.renew_piece(index, self.matrix.scratch())?
        {
            return self.rebuild(store);
        }
        self.book.torn = None;
        self.use_what_waits(store)
    }

    /// Checks the whole content against its SHA-256.
    pub fn finish<S: PieceStore>(&self, store: &mut S) -> Result<(), FinishError<S::Error>> {
        if !self.is_complete() {
            return Err(FinishError::Incomplete);
        }
        let digest = content_digest(self.layout(), store).map_err(FinishError::Store)?;
        if digest == self.book.object.digest { Ok(()) } else { Err(FinishError::Digest) }
    }

    /// Puts a symbol where it belongs.
    fn take<S: PieceStore>(
        &mut self,
        generation: u8,
        id: u16,
        data: &[u8],
        store: &mut S,
    ) -> Result<Outcome, S::Error> {
        let range = self.layout().generation(generation);
        if range.is_empty() || id == NO_SYMBOL {
            return Ok(Outcome::Refused(Refused::NoSymbol));
        }
        let piece_size = self.book.piece_size();
        let index = range.start + u32::from(id);
        let uncoded = index < range.end;
        let length = if uncoded { self.layout().piece_len(index) } else { piece_size };
        if data.len() != length {
            return Ok(Outcome::Refused(Refused::Length));
        }
        if self.book.missing[usize::from(generation)] == 0 || uncoded && self.book.has(index) {
            return Ok(Outcome::Redundant);
        }
        let mut piece: Piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..piece_size];
        piece[..length].copy_from_slice(data);
        if uncoded && let Some(hash) = self.book.expected(index, store)? {
            if hash != piece_hash(piece) {
                return Ok(Outcome::Refused(Refused::BadPiece));
            }
            self.book.keep(index, piece, store)?;
            return Ok(Outcome::Stored);
        }
        if self.is_poisoned(generation) {
            return Ok(Outcome::Refused(Refused::Poisoned));
        }
        let Some(place) = self.book.spare_place(generation, store) else {
            return Ok(Outcome::Refused(Refused::NoSpare));
        };
        if let Some(outcome) = self.admit(generation, id, uncoded) {
            return Ok(outcome);
        }
        // The matrix knows the symbol already: it counts as stale until the symbol is stored.
        let matrix_of = self.matrix_of.take();
        let Some(slot) = self.book.open(place, store)? else {
            return Ok(Outcome::Refused(Refused::NoSpare));
        };
        // The slot counts as used before the write: one that fails may have begun.
        self.book.spare[slot] = Spare { generation, id, live: false };
        store.write_spare(slot, generation, id, piece)?;
        self.book.spare[slot].live = true;
        if uncoded {
            // There is a column less now.
            self.refresh(generation);
        } else {
            self.matrix_of = matrix_of;
            self.rank(generation);
        }
        Ok(Outcome::Stored)
    }

    /// Whether a symbol that goes to the spare area is new, as far as that can be told; if not, what it is.
    fn admit(&mut self, generation: u8, id: u16, uncoded: bool) -> Option<Outcome> {
        let absent = self.book.absent(generation);
        if self.waits(generation) {
            let full = self.book.coded(generation) >= usize::from(Matrix::<BYTES>::capacity());
            return if self.book.symbols(generation).any(|(_, other)| other == id) {
                Some(Outcome::Redundant)
            } else {
                (full && !uncoded).then_some(Outcome::Refused(Refused::Memory))
            };
        }
        // Pieces alone need no matrix.
        let new = if uncoded && self.book.coded(generation) == 0 {
            absent.contains(id)
        } else {
            self.load_matrix(generation);
            self.matrix.insert(&self.book.code(generation), &absent, id) != Inserted::Nothing
        };
        (!new).then_some(Outcome::Redundant)
    }

    /// Fills the matrix from the symbols of a generation. Symbols that say nothing new any more, because a piece has
    /// come since, are let go.
    fn load_matrix(&mut self, generation: u8) {
        let g = usize::from(generation);
        if self.matrix_of == Some(generation) && !self.book.outdated[g] {
            return;
        }
        self.book.outdated[g] = false;
        self.matrix_of = None;
        if !self.waits(generation) {
            let (code, absent) = (self.book.code(generation), self.book.absent(generation));
            self.matrix.reset(absent.count());
            let coded = |s: &&mut Spare| s.live && s.generation == generation && s.id >= code.pieces();
            for spare in self.book.spare.iter_mut().filter(coded) {
                spare.live = self.matrix.insert(&code, &absent, spare.id) != Inserted::Nothing;
            }
            self.matrix_of = Some(generation);
        }
        self.rank(generation);
    }

    /// Brings the rank of a generation up to date. Without coded symbols that needs no matrix.
    fn refresh(&mut self, generation: u8) {
        if self.book.coded(generation) > 0 {
            return self.load_matrix(generation);
        }
        self.book.outdated[usize::from(generation)] = false;
        if self.matrix_of == Some(generation) {
            self.matrix_of = None;
        }
        self.rank(generation);
    }

    /// Notes how many of the missing pieces the symbols in hand stand for.
    fn rank(&mut self, generation: u8) {
        let g = usize::from(generation);
        let missing = self.book.missing[g];
        let absent = self.book.absent(generation);
        self.book.rank[g] = if self.matrix_of == Some(generation) {
            missing.saturating_sub(self.matrix.lacking(&self.book.code(generation), &absent))
        } else if self.waits(generation) {
            // As good as can be told; at least one more piece is needed before the matrix can be used.
            (self.book.symbols(generation).count() as u16).min(missing.saturating_sub(1))
        } else {
            missing.saturating_sub(absent.count())
        };
    }

    /// Uses what the spare area holds as far as it goes; some generation if its decoding proved false.
    fn settle<S: PieceStore>(&mut self, store: &mut S) -> Result<Option<u8>, S::Error> {
        let mut poisoned = None;
        // Each round lets go of at least one symbol, so the rounds are bounded.
        loop {
            let mut moved = false;
            for slot in 0..self.book.spare.len() {
                moved |= self.book.place_waiting(slot, store)?;
            }
            if moved {
                // What was placed may hold the hash of another that waits, which is better checked than decoded with.
                continue;
            }
            for generation in (0..self.layout().generations()).rev() {
                let g = usize::from(generation);
                if self.book.outdated[g] && self.book.rank[g] > 0 {
                    self.refresh(generation);
                }
                if self.book.is_decodable(generation) {
                    moved = true;
                    if !self.decode(generation, store)? {
                        poisoned = Some(generation);
                    }
                }
            }
            if !moved {
                return Ok(poisoned);
            }
        }
    }

    /// Computes, verifies and places all missing pieces of a generation; false if one is not what its hash says.
    fn decode<S: PieceStore>(&mut self, generation: u8, store: &mut S) -> Result<bool, S::Error> {
        let (mut sum, mut data): (Piece, Piece) =
            ([0; MAX_PIECE_SIZE as usize], [0; MAX_PIECE_SIZE as usize]);
        let piece_size = self.book.piece_size();
        // Exactly the symbols that count stay live.
        self.load_matrix(generation);
        self.matrix_of = None;
        let (code, absent) = (self.book.code(generation), self.book.absent(generation));
        let mut solving = Solving::new(&mut self.book, generation, store);
        let sound = solve(
            &mut self.matrix,
            &code,
            &absent,
            &mut solving,
            &mut sum[..piece_size],
            &mut data[..piece_size],
        )?;
        solving.place_waiting(0)?;
        self.book.drop_symbols(generation);
        if !sound {
            self.book.mark_poisoned(generation, store)?;
        }
        Ok(sound)
    }
}

/// SHA-256 of the content that a source holds.
pub(crate) fn content_digest<S: PieceSource>(layout: &Layout, source: &mut S) -> Result<[u8; 32], S::Error> {
    let mut hasher = Sha256::new();
    let mut buffer = [0; 256];
    let mut offset = 0;
    while offset < layout.size() {
        // Whole 16-byte units, so that any flash can read them; pieces reach at least as far.
        let stored = (layout.stored_len() - offset).min(buffer.len() as u32) as usize;
        source.read(offset, &mut buffer[..stored])?;
        let content = (layout.size() - offset).min(stored as u32) as usize;
        hasher.update(&buffer[..content]);
        offset += content as u32;
    }
    Ok(hasher.finalize().into())
}
