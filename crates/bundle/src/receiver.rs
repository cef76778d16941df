//! Receiving an object, in bounded memory, from any mix of symbols, across power cuts.
//!
//! Flash can be written once before it is erased, so data is never moved or reduced there. A piece goes to its final
//! place only when it is verified, and never twice. A symbol that cannot be used yet (coded, or a piece whose hash has
//! not arrived) goes to the *spare* area as it came, with its id; its coefficients follow from the id, so RAM holds
//! nothing that a restart could lose ([`ObjectReceiver::resume`]) but an 8 KiB matrix that tells which symbols are
//! new. When there are enough, the matrix is inverted and each missing piece is one pass over the symbols and the
//! pieces, from the last piece to the first: so the hash of each is known before it is written.
//!
//! If a decoded piece does not match, some symbol was false. The generation then counts as *poisoned*: its symbols are
//! dropped, and from then on only pieces are taken that can be verified when they come.

use crate::code::{Matrix, Row, coefficients};
use crate::gf;
use crate::manifest::VerifiedManifest;
use crate::object::{
    HASH_LEN, Layout, MAX_GENERATION, MAX_PIECE_SIZE, MAX_PIECES, ObjectIdentity, ObjectTag, PieceSource,
    PieceStore, SpareSlot, piece_hash,
};
use heapless::Vec;
use sha2::{Digest, Sha256};

/// Spare slots that a receiver can use at most: a whole generation, and markers of poisoned ones.
pub const MAX_SPARE: usize = 272;

/// Symbol id that marks a poisoned generation in the spare area; never a symbol.
const POISON_ID: u16 = u16::MAX;

type Piece = [u8; MAX_PIECE_SIZE as usize];

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
    /// No spare slot is left: only pieces that can be verified now are taken.
    NoSpare,
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

#[derive(Clone, Copy, Debug)]
struct Spare {
    generation: u8,
    id: u16,
    live: bool,
}

/// Most generations of one object.
const GENERATIONS: usize = (MAX_PIECES / MAX_GENERATION as u32) as usize;

/// Receives one object. About 10 KiB; all of it can be rebuilt from the store.
#[derive(Clone)]
pub struct ObjectReceiver {
    object: ObjectIdentity,
    have: [u8; MAX_PIECES as usize / 8],
    missing: [u16; GENERATIONS],
    /// Independent symbols in the spare area, per generation.
    rank: [u16; GENERATIONS],
    /// Whether the rank has to be computed again.
    outdated: [bool; GENERATIONS],
    poisoned: [bool; GENERATIONS],
    /// Entry n tells what is in spare slot n.
    spare: Vec<Spare, MAX_SPARE>,
    matrix: Matrix,
    /// The generation whose independent symbols the matrix holds.
    matrix_of: Option<u8>,
}

impl ObjectReceiver {
    /// A receiver for a bundle's content into an empty store.
    pub fn new(manifest: &VerifiedManifest) -> Self {
        Self::for_object(manifest.object())
    }

    /// A receiver for any object whose identity is known from a trusted place.
    pub fn for_object(object: &ObjectIdentity) -> Self {
        let mut missing = [0; GENERATIONS];
        for (g, count) in (0..object.layout.generations()).zip(&mut missing) {
            *count = object.layout.generation_len(g);
        }
        Self {
            object: *object,
            have: [0; MAX_PIECES as usize / 8],
            missing,
            rank: [0; GENERATIONS],
            outdated: [false; GENERATIONS],
            poisoned: [false; GENERATIONS],
            spare: Vec::new(),
            matrix: Matrix::new(),
            matrix_of: None,
        }
    }

    /// A receiver that goes on with what a store holds already; also right for an empty store. Pieces that were cut
    /// while being written are cleared.
    pub fn resume<S: PieceStore>(object: &ObjectIdentity, store: &mut S) -> Result<Self, S::Error> {
        let mut receiver = Self::for_object(object);
        while !receiver.scan_pieces(store)? {
            receiver = Self::for_object(object);
        }
        receiver.scan_spare(store)?;
        receiver.settle(store)?;
        Ok(receiver)
    }

    /// Marks what is verified, clears what is not; false if clearing may have cost pieces already marked.
    fn scan_pieces<S: PieceStore>(&mut self, store: &mut S) -> Result<bool, S::Error> {
        let mut piece = [0; MAX_PIECE_SIZE as usize];
        for index in (0..self.layout().pieces()).rev() {
            let data = &mut piece[..usize::from(self.layout().piece_size())];
            store.read(self.offset(index), data)?;
            if self.expected(index, store)?.is_some_and(|hash| hash == piece_hash(data)) {
                self.mark(index);
            } else if !store.clear_piece(index, self.matrix.scratch())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scan_spare<S: PieceStore>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let mut used = 0;
        for slot in 0..store.spare_slots().min(MAX_SPARE) {
            let waste = Spare { generation: 0, id: POISON_ID, live: false };
            let found = store.spare(slot)?;
            let spare = match found {
                SpareSlot::Blank | SpareSlot::Waste => waste,
                SpareSlot::Symbol { generation, id } => {
                    let known = generation < self.layout().generations();
                    if known && id == POISON_ID {
                        self.drop_symbols(generation);
                        self.poisoned[usize::from(generation)] = true;
                    }
                    let live = known && id != POISON_ID && !self.is_poisoned(generation);
                    Spare { generation, id, live }
                }
            };
            // Cannot overflow: no more slots than entries are read.
            let _ = self.spare.push(spare);
            if found != SpareSlot::Blank {
                used = slot + 1;
            }
        }
        // A blank slot before a used one, left by an erasure that was cut, is not used: slots fill in order.
        self.spare.truncate(used);
        for generation in 0..self.layout().generations() {
            self.load_matrix(generation);
        }
        Ok(())
    }

    /// How the object is cut.
    pub fn layout(&self) -> &Layout {
        &self.object.layout
    }

    /// The object's short name.
    pub fn tag(&self) -> ObjectTag {
        self.object.tag()
    }

    /// Pieces that are there and verified.
    pub fn pieces_present(&self) -> u32 {
        self.layout().pieces() - self.missing.iter().map(|m| u32::from(*m)).sum::<u32>()
    }

    /// Whether all pieces are there and verified.
    pub fn is_complete(&self) -> bool {
        self.missing.iter().all(|m| *m == 0)
    }

    /// How many more independent symbols a generation needs, at most 255. A generation can need none and yet be
    /// incomplete, while the pieces that hold its hashes are missing: ask for the last generation first.
    pub fn needed(&self, generation: u8) -> u8 {
        let g = usize::from(generation);
        let (missing, rank) = (self.missing.get(g).unwrap_or(&0), self.rank.get(g).unwrap_or(&0));
        missing.saturating_sub(*rank).min(255) as u8
    }

    /// Whether all pieces of a generation are there and verified.
    pub fn has_generation(&self, generation: u8) -> bool {
        generation < self.layout().generations() && self.missing[usize::from(generation)] == 0
    }

    /// Whether a generation's decoding failed, so that only verifiable pieces are taken for it.
    pub fn is_poisoned(&self, generation: u8) -> bool {
        self.poisoned.get(usize::from(generation)).is_some_and(|p| *p)
    }

    /// Pieces of a generation that are not here in any form: bit n (lowest bit of the first byte first) for id n.
    pub fn missing(&self, generation: u8) -> [u8; 32] {
        let mut bits = [0; 32];
        for (id, index) in self.layout().generation(generation).enumerate() {
            let waiting =
                self.spare.iter().any(|s| s.live && s.generation == generation && usize::from(s.id) == id);
            if !self.has(index) && !waiting {
                bits[id / 8] |= 1 << (id % 8);
            }
        }
        bits
    }

    /// Takes a symbol. After an error of the store, which may have written part of something, go on from
    /// [`ObjectReceiver::resume`].
    pub fn handle_symbol<S: PieceStore>(
        &mut self,
        generation: u8,
        id: u16,
        data: &[u8],
        store: &mut S,
    ) -> Result<Progress, S::Error> {
        let outcome = self.take(generation, id, data, store)?;
        Ok(Progress { outcome, needed: self.needed(generation), complete: self.is_complete() })
    }

    /// Checks the whole content against its SHA-256.
    pub fn finish<S: PieceStore>(&self, store: &mut S) -> Result<(), FinishError<S::Error>> {
        if !self.is_complete() {
            return Err(FinishError::Incomplete);
        }
        let digest = content_digest(self.layout(), store).map_err(FinishError::Store)?;
        if digest == self.object.digest { Ok(()) } else { Err(FinishError::Digest) }
    }

    fn take<S: PieceStore>(
        &mut self,
        generation: u8,
        id: u16,
        data: &[u8],
        store: &mut S,
    ) -> Result<Outcome, S::Error> {
        let range = self.layout().generation(generation);
        if range.is_empty() || id == POISON_ID {
            return Ok(Outcome::Refused(Refused::NoSymbol));
        }
        let piece_size = usize::from(self.layout().piece_size());
        let index = range.start + u32::from(id);
        let uncoded = index < range.end;
        let length = if uncoded { self.layout().piece_len(index) } else { piece_size };
        if data.len() != length {
            return Ok(Outcome::Refused(Refused::Length));
        }
        if self.missing[usize::from(generation)] == 0 || uncoded && self.has(index) {
            return Ok(Outcome::Redundant);
        }
        let mut piece: Piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..piece_size];
        piece[..length].copy_from_slice(data);
        if uncoded && let Some(hash) = self.expected(index, store)? {
            if hash != piece_hash(piece) {
                return Ok(Outcome::Refused(Refused::BadPiece));
            }
            self.keep(index, piece, store)?;
            return Ok(self
                .settle(store)?
                .map_or(Outcome::Stored, |generation| Outcome::Poisoned { generation }));
        }
        if self.is_poisoned(generation) {
            return Ok(Outcome::Refused(Refused::Poisoned));
        }
        if !self.make_spare_room(store)? {
            return Ok(Outcome::Refused(Refused::NoSpare));
        }
        self.load_matrix(generation);
        if !self.matrix.insert(&self.open_row(generation, id)) {
            return Ok(Outcome::Redundant);
        }
        let slot = self.spare.len();
        // The slot counts as used and the matrix as stale before the write: one that fails may have begun.
        let _ = self.spare.push(Spare { generation, id, live: false });
        self.matrix_of = None;
        store.write_spare(slot, generation, id, piece)?;
        self.spare[slot].live = true;
        self.matrix_of = Some(generation);
        self.rank[usize::from(generation)] = self.matrix.rank();
        self.settled(store)
    }

    fn settled<S: PieceStore>(&mut self, store: &mut S) -> Result<Outcome, S::Error> {
        let poisoned = self.settle(store)?;
        Ok(poisoned.map_or(Outcome::Stored, |generation| Outcome::Poisoned { generation }))
    }

    fn offset(&self, index: u32) -> u32 {
        index * u32::from(self.layout().piece_size())
    }

    fn has(&self, index: u32) -> bool {
        self.have[(index / 8) as usize] >> (index % 8) & 1 == 1
    }

    fn mark(&mut self, index: u32) {
        let generation = self.layout().generation_of(index);
        self.have[(index / 8) as usize] |= 1 << (index % 8);
        self.missing[usize::from(generation)] -= 1;
        self.outdate(generation);
    }

    /// A generation's rank and matrix have to be computed again.
    fn outdate(&mut self, generation: u8) {
        self.outdated[usize::from(generation)] = true;
        if self.matrix_of == Some(generation) {
            self.matrix_of = None;
        }
    }

    /// The hash that a piece must have, if that is known yet.
    fn expected<S: PieceStore>(&self, index: u32, store: &mut S) -> Result<Option<[u8; 8]>, S::Error> {
        let (Some(parent), Some(offset)) = (self.layout().parent(index), self.layout().entry_offset(index))
        else {
            return Ok(Some(self.object.list_root));
        };
        if !self.has(parent) {
            return Ok(None);
        }
        let mut hash = [0; HASH_LEN as usize];
        store.read(offset, &mut hash)?;
        Ok(Some(hash))
    }

    /// Writes a verified piece.
    fn keep<S: PieceStore>(&mut self, index: u32, piece: &[u8], store: &mut S) -> Result<(), S::Error> {
        store.write_piece(index, piece)?;
        self.mark(index);
        Ok(())
    }

    /// The coefficients of a symbol in the pieces that are not here.
    fn open_row(&self, generation: u8, id: u16) -> Row {
        let range = self.layout().generation(generation);
        let mut row = coefficients(self.tag(), generation, id, range.len() as u16);
        for (index, coefficient) in range.zip(&mut row) {
            if self.has(index) {
                *coefficient = 0;
            }
        }
        row
    }

    /// Fills the matrix from the symbols of a generation. Symbols that say nothing new any more, because a piece has
    /// come since, are let go.
    fn load_matrix(&mut self, generation: u8) {
        let g = usize::from(generation);
        let mine = |s: &Spare| s.live && s.generation == generation;
        if self.matrix_of == Some(generation) {
            return;
        }
        self.outdated[g] = false;
        let k = self.layout().generation_len(generation);
        self.matrix.reset(k, k);
        for slot in 0..self.spare.len() {
            let spare = self.spare[slot];
            if mine(&spare) && !self.matrix.insert(&self.open_row(generation, spare.id)) {
                self.spare[slot].live = false;
            }
        }
        self.rank[g] = self.matrix.rank();
        self.matrix_of = Some(generation);
    }

    fn drop_symbols(&mut self, generation: u8) {
        self.spare.iter_mut().filter(|s| s.generation == generation).for_each(|s| s.live = false);
        self.rank[usize::from(generation)] = 0;
        self.outdated[usize::from(generation)] = false;
        self.matrix_of = None;
    }

    /// Makes sure that a spare slot is free, by erasing all of them if none is of use any more.
    fn make_spare_room<S: PieceStore>(&mut self, store: &mut S) -> Result<bool, S::Error> {
        let slots = store.spare_slots().min(MAX_SPARE);
        if self.spare.len() < slots {
            return Ok(true);
        }
        if slots == 0 || self.spare.iter().any(|s| s.live) {
            return Ok(false);
        }
        store.clear_spare()?;
        self.spare.clear();
        for generation in 0..self.layout().generations() {
            if self.is_poisoned(generation) && self.missing[usize::from(generation)] > 0 {
                self.mark_poisoned(generation, store)?;
            }
        }
        Ok(self.spare.len() < slots)
    }

    fn mark_poisoned<S: PieceStore>(&mut self, generation: u8, store: &mut S) -> Result<(), S::Error> {
        self.poisoned[usize::from(generation)] = true;
        let slot = self.spare.len();
        // Without a free slot it is only known until the next restart.
        if slot < store.spare_slots().min(MAX_SPARE) {
            let _ = self.spare.push(Spare { generation, id: POISON_ID, live: false });
            let blank: Piece = [0; MAX_PIECE_SIZE as usize];
            let piece_size = usize::from(self.layout().piece_size());
            store.write_spare(slot, generation, POISON_ID, &blank[..piece_size])?;
        }
        Ok(())
    }

    /// Uses what the spare area holds as far as it goes; some generation if its decoding proved false.
    fn settle<S: PieceStore>(&mut self, store: &mut S) -> Result<Option<u8>, S::Error> {
        let mut poisoned = None;
        // Each round lets go of at least one symbol, so the rounds are bounded.
        loop {
            let mut moved = false;
            for slot in 0..self.spare.len() {
                moved |= self.place_waiting(slot, store)?;
            }
            if moved {
                // What was placed may hold the hash of another that waits, which is better checked than decoded with.
                continue;
            }
            for generation in (0..self.layout().generations()).rev() {
                if self.outdated[usize::from(generation)] && self.rank[usize::from(generation)] > 0 {
                    self.load_matrix(generation);
                }
                if self.is_decodable(generation) {
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

    /// Moves a piece that waited in a spare slot to its place, or lets it go if it is false.
    fn place_waiting<S: PieceStore>(&mut self, slot: usize, store: &mut S) -> Result<bool, S::Error> {
        let spare = self.spare[slot];
        let range = self.layout().generation(spare.generation);
        let index = range.start + u32::from(spare.id);
        if !spare.live || index >= range.end {
            return Ok(false);
        }
        let Some(hash) = self.expected(index, store)? else {
            return Ok(false);
        };
        let mut piece: Piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..usize::from(self.layout().piece_size())];
        store.read_spare(slot, piece)?;
        if hash == piece_hash(piece) {
            self.keep(index, piece, store)?;
        }
        self.spare[slot].live = false;
        self.outdate(spare.generation);
        Ok(true)
    }

    /// Whether there are as many independent symbols as pieces missing, and each decoded piece can be verified.
    fn is_decodable(&self, generation: u8) -> bool {
        let g = usize::from(generation);
        let range = self.layout().generation(generation);
        self.missing[g] > 0
            && self.rank[g] == self.missing[g]
            && range
                .clone()
                .filter(|index| !self.has(*index))
                .all(|index| self.layout().parent(index).is_none_or(|p| range.contains(&p) || self.has(p)))
    }

    /// Computes, verifies and places all missing pieces of a generation; false if one is not what its hash says.
    fn decode<S: PieceStore>(&mut self, generation: u8, store: &mut S) -> Result<bool, S::Error> {
        let range = self.layout().generation(generation);
        let k = range.len() as u16;
        let tag = self.tag();
        // Exactly the independent symbols stay live, as many as pieces are missing.
        self.load_matrix(generation);
        let mut open = [false; MAX_GENERATION as usize];
        let mut columns: Vec<u8, { MAX_GENERATION as usize }> = Vec::new();
        for (id, index) in range.clone().enumerate() {
            open[id] = !self.has(index);
            if open[id] {
                let _ = columns.push(id as u8);
            }
        }
        let symbols: Vec<(u16, u16), { MAX_GENERATION as usize }> = (0u16..)
            .zip(&self.spare)
            .filter(|(_, s)| s.live && s.generation == generation)
            .map(|(slot, s)| (slot, s.id))
            .take(usize::from(MAX_GENERATION))
            .collect();
        self.matrix_of = None;
        self.matrix.reset(k, columns.len() as u16);
        for (_, id) in &symbols {
            let full = coefficients(tag, generation, *id, k);
            let mut row = [0; MAX_GENERATION as usize];
            for (cell, column) in row.iter_mut().zip(&columns) {
                *cell = full[usize::from(*column)];
            }
            self.matrix.push(&row);
        }
        let sound = self.matrix.invert() && self.place_decoded(range, &symbols, &columns, &open, store)?;
        self.drop_symbols(generation);
        if !sound {
            self.mark_poisoned(generation, store)?;
        }
        Ok(sound)
    }

    fn place_decoded<S: PieceStore>(
        &mut self,
        range: core::ops::Range<u32>,
        symbols: &[(u16, u16)],
        columns: &[u8],
        open: &[bool],
        store: &mut S,
    ) -> Result<bool, S::Error> {
        let piece_size = usize::from(self.layout().piece_size());
        let generation = self.layout().generation_of(range.start);
        let (mut sum, mut data): (Piece, Piece) =
            ([0; MAX_PIECE_SIZE as usize], [0; MAX_PIECE_SIZE as usize]);
        let (sum, data) = (&mut sum[..piece_size], &mut data[..piece_size]);
        // From the last piece to the first: the hash of a piece lies in a later one.
        for (q, column) in columns.iter().enumerate().rev() {
            sum.fill(0);
            // How much of each piece that was here before is in the symbols, to be taken out again.
            let mut weights: Row = [0; MAX_GENERATION as usize];
            for (i, (slot, id)) in symbols.iter().enumerate() {
                let factor = self.matrix.cell(q, i);
                if factor != 0 {
                    let row = coefficients(self.tag(), generation, *id, range.len() as u16);
                    gf::add_scaled(&mut weights, &row, factor);
                    store.read_spare(usize::from(*slot), data)?;
                    gf::add_scaled(sum, data, factor);
                }
            }
            for ((index, weight), open) in range.clone().zip(weights).zip(open) {
                if !open && weight != 0 {
                    store.read(self.offset(index), data)?;
                    gf::add_scaled(sum, data, weight);
                }
            }
            let index = range.start + u32::from(*column);
            if self.expected(index, store)? != Some(piece_hash(sum)) {
                return Ok(false);
            }
            store.write_piece(index, sum)?;
            self.mark(index);
        }
        Ok(true)
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
