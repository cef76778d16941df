//! What a receiver knows: which pieces are here, and which symbols wait in the spare area.

use crate::bits::Bits;
use crate::code::{Code, DENSE, NO_SYMBOL};
use crate::object::{
    HASH_LEN, Layout, MAX_GENERATION, MAX_GENERATIONS, MAX_PIECE_SIZE, MAX_PIECES, ObjectIdentity,
    PieceStore, SpareSlot, piece_hash,
};
use crate::solve::Exchange;
use crate::spare::{Area, Place, Spare};
use core::ops::Range;
use heapless::Vec;

/// Spare slots that a receiver can use at most: the symbols of a whole generation, a few that help with the last piece,
/// and markers of poisoned generations, rounded up to pages of flash.
pub const MAX_SPARE: usize = (MAX_SYMBOLS + MAX_GENERATIONS as usize).next_multiple_of(32);
/// Symbols that a generation's matrix takes at most.
const MAX_SYMBOLS: usize = MAX_GENERATION as usize + DENSE;

pub(crate) type Piece = [u8; MAX_PIECE_SIZE as usize];

/// All of it can be rebuilt from the store.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub object: ObjectIdentity,
    have: [u8; MAX_PIECES as usize / 8],
    pub missing: [u16; MAX_GENERATIONS as usize],
    /// How many of the missing pieces the symbols in the spare area stand for, per generation.
    pub rank: [u16; MAX_GENERATIONS as usize],
    /// Whether the rank has to be computed again.
    pub outdated: [bool; MAX_GENERATIONS as usize],
    pub poisoned: [bool; MAX_GENERATIONS as usize],
    /// Entry n tells what is in spare slot n.
    pub spare: Vec<Spare, MAX_SPARE>,
    /// The piece whose write has begun and has not ended well.
    pub torn: Option<u32>,
}

impl Book {
    pub fn new(object: &ObjectIdentity) -> Self {
        let mut missing = [0; MAX_GENERATIONS as usize];
        for (g, count) in (0..object.layout.generations()).zip(&mut missing) {
            *count = object.layout.generation_len(g);
        }
        Self {
            object: *object,
            have: [0; MAX_PIECES as usize / 8],
            missing,
            rank: [0; MAX_GENERATIONS as usize],
            outdated: [false; MAX_GENERATIONS as usize],
            poisoned: [false; MAX_GENERATIONS as usize],
            spare: Vec::new(),
            torn: None,
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.object.layout
    }

    pub fn piece_size(&self) -> usize {
        usize::from(self.layout().piece_size())
    }

    /// Where in the stream a piece begins.
    pub fn offset(&self, index: u32) -> u32 {
        index * u32::from(self.layout().piece_size())
    }

    pub fn has(&self, index: u32) -> bool {
        self.have[(index / 8) as usize] >> (index % 8) & 1 == 1
    }

    pub fn mark(&mut self, index: u32) {
        let generation = self.layout().generation_of(index);
        self.have[(index / 8) as usize] |= 1 << (index % 8);
        self.missing[usize::from(generation)] -= 1;
        self.outdated[usize::from(generation)] = true;
    }

    /// The hash that a piece must have, if that is known yet.
    pub fn expected<S: PieceStore>(&self, index: u32, store: &mut S) -> Result<Option<[u8; 8]>, S::Error> {
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
    pub fn keep<S: PieceStore>(&mut self, index: u32, piece: &[u8], store: &mut S) -> Result<(), S::Error> {
        self.torn = Some(index);
        store.write_piece(index, piece)?;
        self.torn = None;
        self.mark(index);
        Ok(())
    }

    pub fn is_poisoned(&self, generation: u8) -> bool {
        self.poisoned.get(usize::from(generation)).is_some_and(|p| *p)
    }

    pub fn code(&self, generation: u8) -> Code {
        Code::new(self.object.tag(), generation, self.layout().generation_len(generation))
    }

    /// The pieces of a generation, by id, that are not here in any form.
    pub fn absent(&self, generation: u8) -> Bits {
        let mut absent = Bits::default();
        for (id, index) in (0..).zip(self.layout().generation(generation)) {
            if !self.has(index) {
                absent.insert(id);
            }
        }
        self.symbols(generation).for_each(|(_, id)| absent.remove(id));
        absent
    }

    /// Coded symbols of a generation that are of use.
    pub fn coded(&self, generation: u8) -> usize {
        let k = self.layout().generation_len(generation);
        self.symbols(generation).filter(|(_, id)| *id >= k).count()
    }

    /// Lets go of pieces that wait in a spare slot and are in their place besides, as after a restart.
    pub fn drop_placed(&mut self) {
        for slot in 0..self.spare.len() {
            let Spare { generation, id, live } = self.spare[slot];
            let range = self.layout().generation(generation);
            let index = range.start + u32::from(id);
            self.spare[slot].live = live && !(index < range.end && self.has(index));
        }
    }

    /// The symbols of a generation that are of use: slot and id.
    pub fn symbols(&self, generation: u8) -> impl Iterator<Item = (u16, u16)> + '_ {
        let live = move |(_, s): &(u16, &Spare)| s.live && s.generation == generation;
        (0..).zip(&self.spare).filter(live).map(|(slot, s)| (slot, s.id))
    }

    /// Notes what is in the spare area.
    pub fn scan_spare<S: PieceStore>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let area = area(store);
        for slot in 0..area.slots {
            let known = self.layout().generations();
            let spare = match store.spare(slot)? {
                SpareSlot::Blank => Spare::BLANK,
                SpareSlot::Symbol { generation, id } if generation < known => {
                    if id == NO_SYMBOL {
                        self.drop_symbols(generation);
                        self.poisoned[usize::from(generation)] = true;
                    }
                    Spare { generation, id, live: id != NO_SYMBOL && !self.is_poisoned(generation) }
                }
                SpareSlot::Waste | SpareSlot::Symbol { .. } => Spare::WASTE,
            };
            // Cannot overflow: no more slots than entries are read.
            let _ = self.spare.push(spare);
        }
        // A blank slot before a used one, left by an erasure that was cut, is not used: slots fill in order.
        for slots in (0..area.pages()).map(|page| area.page_slots(page)) {
            let used = self.spare[slots].iter_mut().rev().skip_while(|slot| **slot == Spare::BLANK);
            used.filter(|slot| **slot == Spare::BLANK).for_each(|slot| *slot = Spare::WASTE);
        }
        self.drop_placed();
        Ok(())
    }

    pub fn drop_symbols(&mut self, generation: u8) {
        self.spare.iter_mut().filter(|s| s.generation == generation).for_each(|s| s.live = false);
        self.rank[usize::from(generation)] = 0;
        self.outdated[usize::from(generation)] = false;
    }

    /// The generation that symbols complete first: it holds the hashes of those before it. One that was poisoned takes none.
    fn first_lacking(&self) -> Option<u8> {
        let lacks =
            |g: &u8| self.missing[usize::from(*g)] > self.rank[usize::from(*g)] && !self.is_poisoned(*g);
        (0..self.layout().generations()).rev().find(lacks)
    }

    /// The slot for a symbol of a generation, with [`Book::open`] to be made blank. None if there is no room: what the first generation still needs is kept free
    /// for it.
    pub fn spare_place<S: PieceStore>(&self, generation: u8, store: &S) -> Option<Place> {
        let area = area(store);
        let is_poison = |spare: &Spare| {
            spare.marks_poison() && self.missing.get(usize::from(spare.generation)).is_some_and(|m| *m > 0)
        };
        if let Some(first) = self.first_lacking().filter(|first| *first != generation) {
            let lacks = self.missing[usize::from(first)] - self.rank[usize::from(first)];
            if area.room(&self.spare, &is_poison) <= usize::from(lacks) + DENSE {
                return None;
            }
        }
        area.place(&self.spare, generation, &is_poison)
    }

    /// Makes a place blank, if it is not yet, and returns the slot; none if marks of poisoned generations took all of the page.
    pub fn open<S: PieceStore>(&mut self, place: Place, store: &mut S) -> Result<Option<usize>, S::Error> {
        while self.spare.len() <= place.slot && self.spare.push(Spare::BLANK).is_ok() {}
        let Some(page) = place.erase else { return Ok(Some(place.slot)) };
        let slots = area(store).page_slots(page);
        let slots = slots.start..slots.end.min(self.spare.len());
        let mut lost = [false; MAX_GENERATIONS as usize];
        for spare in &mut self.spare[slots.clone()] {
            if spare.marks_poison() && self.missing[usize::from(spare.generation)] > 0 {
                lost[usize::from(spare.generation)] = true;
            }
            // An erasure that fails may have begun.
            *spare = Spare::WASTE;
        }
        store.clear_spare(page)?;
        self.spare[slots.clone()].fill(Spare::BLANK);
        for generation in (0..MAX_GENERATIONS).filter(|g| lost[usize::from(*g)]) {
            self.mark_poisoned(generation, store)?;
        }
        Ok(slots.into_iter().find(|slot| self.spare[*slot] == Spare::BLANK))
    }

    pub fn mark_poisoned<S: PieceStore>(&mut self, generation: u8, store: &mut S) -> Result<(), S::Error> {
        self.poisoned[usize::from(generation)] = true;
        let slots = area(store).slots;
        while self.spare.len() < slots && self.spare.push(Spare::BLANK).is_ok() {}
        let area = area(store);
        let open = (0..area.pages()).find_map(|page| {
            let slots = area.page_slots(page);
            let used = self.spare[slots.clone()].iter().rposition(|slot| *slot != Spare::BLANK);
            Some(slots.start + used.map_or(0, |last| last + 1)).filter(|slot| *slot < slots.end)
        });
        // Without a free slot it is only known until the next restart.
        if let Some(slot) = open {
            self.spare[slot] = Spare { generation, id: NO_SYMBOL, live: false };
            let blank: Piece = [0; MAX_PIECE_SIZE as usize];
            store.write_spare(slot, generation, NO_SYMBOL, &blank[..self.piece_size()])?;
        }
        Ok(())
    }

    /// Moves a piece that waited in a spare slot to its place, or lets it go if it is false.
    pub fn place_waiting<S: PieceStore>(&mut self, slot: usize, store: &mut S) -> Result<bool, S::Error> {
        let spare = self.spare[slot];
        let range = self.layout().generation(spare.generation);
        let index = range.start + u32::from(spare.id);
        if !spare.live || index >= range.end {
            return Ok(false);
        }
        if self.has(index) {
            self.spare[slot].live = false;
            return Ok(true);
        }
        let Some(hash) = self.expected(index, store)? else {
            return Ok(false);
        };
        let mut piece: Piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..self.piece_size()];
        store.read_spare(slot, piece)?;
        if hash == piece_hash(piece) {
            self.keep(index, piece, store)?;
        }
        self.spare[slot].live = false;
        self.outdated[usize::from(spare.generation)] = true;
        Ok(true)
    }

    /// Whether there are enough symbols for the pieces missing, and each decoded piece can be verified.
    pub fn is_decodable(&self, generation: u8) -> bool {
        let g = usize::from(generation);
        let range = self.layout().generation(generation);
        self.missing[g] > 0
            && self.rank[g] == self.missing[g]
            && range
                .clone()
                .filter(|index| !self.has(*index))
                .all(|index| self.layout().parent(index).is_none_or(|p| range.contains(&p) || self.has(p)))
    }
}

/// How the spare area of a store is divided.
fn area<S: PieceStore>(store: &S) -> Area {
    Area { slots: store.spare_slots().min(MAX_SPARE), page: store.spare_page().max(1) }
}

/// A generation that is being solved.
pub(crate) struct Solving<'a, S> {
    book: &'a mut Book,
    store: &'a mut S,
    generation: u8,
    range: Range<u32>,
    /// Where the coded symbols are.
    slots: Vec<u16, MAX_SYMBOLS>,
    /// The pieces that waited in spare slots at first.
    waited: Bits,
}

impl<'a, S: PieceStore> Solving<'a, S> {
    pub fn new(book: &'a mut Book, generation: u8, store: &'a mut S) -> Self {
        let range = book.layout().generation(generation);
        let coded = book.symbols(generation).filter(|(_, id)| usize::from(*id) >= range.len());
        let slots = coded.map(|(slot, _)| slot).take(MAX_SYMBOLS).collect();
        let mut waited = Bits::default();
        let uncoded = book.symbols(generation).filter(|(_, id)| usize::from(*id) < range.len());
        uncoded.for_each(|(_, id)| waited.insert(id));
        Self { book, store, generation, range, slots, waited }
    }

    /// Moves the pieces from number `from` on that wait to their places, the last first, so that each hash is known.
    pub fn place_waiting(&mut self, from: u16) -> Result<(), S::Error> {
        let waited = self.waited;
        for id in waited.iter().rev().filter(|id| *id >= from) {
            if let Some(slot) = self.waiting(id) {
                self.book.place_waiting(slot, self.store)?;
            }
        }
        Ok(())
    }

    /// The slot in which a piece waits.
    fn waiting(&self, piece: u16) -> Option<usize> {
        if !self.waited.contains(piece) {
            return None;
        }
        let found = self.book.symbols(self.generation).find(|(_, id)| *id == piece);
        found.map(|(slot, _)| usize::from(slot))
    }
}

impl<S: PieceStore> Exchange for Solving<'_, S> {
    type Error = S::Error;

    fn symbol_id(&self, n: u16) -> Option<u16> {
        self.slots.get(usize::from(n)).map(|slot| self.book.spare[usize::from(*slot)].id)
    }

    fn symbol(&mut self, n: u16, out: &mut [u8]) -> Result<(), S::Error> {
        match self.slots.get(usize::from(n)) {
            Some(slot) => self.store.read_spare(usize::from(*slot), out),
            None => Ok(()),
        }
    }

    fn piece(&mut self, piece: u16, out: &mut [u8]) -> Result<(), S::Error> {
        let index = self.range.start + u32::from(piece);
        match self.waiting(piece) {
            Some(slot) if !self.book.has(index) => self.store.read_spare(slot, out),
            _ => self.store.read(self.book.offset(index), out),
        }
    }

    fn solved(&mut self, piece: u16, data: &[u8]) -> Result<bool, S::Error> {
        let index = self.range.start + u32::from(piece);
        self.place_waiting(piece + 1)?;
        if self.book.expected(index, self.store)? != Some(piece_hash(data)) {
            return Ok(false);
        }
        self.book.keep(index, data, self.store)?;
        Ok(true)
    }
}
