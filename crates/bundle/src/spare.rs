//! The spare area: which of its slots a symbol goes to.
//!
//! Slots fill in order within a *page*, which is what flash erases at once. A page in which nothing is of use any more is erased when room
//! is needed, so symbols of one generation that are waiting do not hold the room of another that is decoded. For that, symbols of a generation
//! go to pages of their own as long as there are any.

use crate::code::NO_SYMBOL;

/// What is in a spare slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    pub generation: u8,
    pub id: u16,
    /// Whether it is a symbol of use.
    pub live: bool,
}

impl Spare {
    /// A slot that can be written; no object has so many generations.
    pub const BLANK: Self = Self { generation: u8::MAX, id: NO_SYMBOL, live: false };
    /// A slot that is of no use before it is erased.
    pub const WASTE: Self = Self { generation: u8::MAX, id: 0, live: false };

    /// Whether it tells that its generation was poisoned.
    pub fn marks_poison(&self) -> bool {
        self.id == NO_SYMBOL && *self != Self::BLANK
    }
}

/// A place for a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub slot: usize,
    /// The page that has to be erased first; the slot is its first.
    pub erase: Option<usize>,
}

/// How the area is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    /// Slots in use at most.
    pub slots: usize,
    /// Slots that are erased at once.
    pub page: usize,
}

/// What one page holds.
#[derive(Clone, Copy, Debug)]
struct Page {
    number: usize,
    /// The first slot that is blank, as are all after it.
    blank: usize,
    end: usize,
    live: usize,
    /// Of them, of the generation in question.
    own: usize,
    /// Tells of a poisoned generation that is not complete.
    marker: bool,
}

impl Area {
    /// The slots of a page.
    pub fn page_slots(&self, page: usize) -> core::ops::Range<usize> {
        let start = page * self.page;
        start.min(self.slots)..(start + self.page).min(self.slots)
    }

    /// Number of pages, the last of which may be used in part.
    pub fn pages(&self) -> usize {
        self.slots.div_ceil(self.page.max(1))
    }

    fn page(
        &self,
        number: usize,
        spare: &[Spare],
        generation: u8,
        is_poison: &impl Fn(&Spare) -> bool,
    ) -> Page {
        let range = self.page_slots(number);
        let held = spare.get(range.start..range.end.min(spare.len())).unwrap_or_default();
        let used = held.iter().rposition(|slot| *slot != Spare::BLANK).map_or(0, |last| last + 1);
        Page {
            number,
            blank: range.start + used,
            end: range.end,
            live: held.iter().filter(|slot| slot.live).count(),
            own: held.iter().filter(|slot| slot.live && slot.generation == generation).count(),
            marker: held.iter().any(is_poison),
        }
    }

    /// Slots that are blank or can be made so.
    pub fn room(&self, spare: &[Spare], is_poison: &impl Fn(&Spare) -> bool) -> usize {
        (0..self.pages())
            .map(|number| {
                let page = self.page(number, spare, 0, is_poison);
                if page.live == 0 && !page.marker {
                    self.page_slots(number).len()
                } else {
                    page.end - page.blank
                }
            })
            .sum()
    }

    /// Where a symbol of a generation goes: a page with symbols of the same, else one with room and none of use, else one that can be erased, else any that
    /// has room. None if the area is full of what is of use.
    pub fn place(
        &self,
        spare: &[Spare],
        generation: u8,
        is_poison: &impl Fn(&Spare) -> bool,
    ) -> Option<Place> {
        let pages = || (0..self.pages()).map(|number| self.page(number, spare, generation, is_poison));
        let open = |page: &Page| page.blank < page.end;
        let kept = |page: Page| Place { slot: page.blank, erase: None };
        let erased = |page: Page| Place { slot: page.number * self.page, erase: Some(page.number) };
        let free = |page: &Page| page.live == 0 && !page.marker;
        pages()
            .find(|page| open(page) && page.own > 0)
            .or_else(|| pages().find(|page| open(page) && free(page)))
            .map(kept)
            .or_else(|| pages().find(free).map(erased))
            .or_else(|| pages().find(open).map(kept))
            .or_else(|| pages().find(|page| page.live == 0).map(erased))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { slots: 8, page: 3 };

    fn symbol(generation: u8, live: bool) -> Spare {
        Spare { generation, id: 300, live }
    }

    fn no_poison(_: &Spare) -> bool {
        false
    }

    fn put(spare: &mut [Spare], generation: u8) -> Option<Place> {
        let place = AREA.place(spare, generation, &no_poison)?;
        if let Some(page) = place.erase {
            spare[AREA.page_slots(page)].fill(Spare::BLANK);
        }
        assert_eq!(spare[place.slot], Spare::BLANK, "only blank slots are written");
        spare[place.slot] = symbol(generation, true);
        Some(place)
    }

    #[test]
    fn generations_keep_to_their_pages_and_free_them_alone() {
        let mut spare = [Spare::BLANK; 8];
        for generation in [1, 0, 1, 0, 1] {
            assert!(put(&mut spare, generation).is_some());
        }
        assert!(spare[..3].iter().all(|slot| slot.generation == 1));
        assert!(spare[3..5].iter().all(|slot| slot.generation == 0));
        assert_eq!(AREA.room(&spare, &no_poison), 3);
        // The last page is a short one.
        assert_eq!(put(&mut spare, 1), Some(Place { slot: 6, erase: None }));
        assert_eq!(put(&mut spare, 1), Some(Place { slot: 7, erase: None }));
        assert_eq!(put(&mut spare, 1), Some(Place { slot: 5, erase: None }), "any room at last");
        assert_eq!(put(&mut spare, 1), None);
        spare[..3].iter_mut().for_each(|slot| slot.live = false);
        assert_eq!(AREA.room(&spare, &no_poison), 3);
        assert_eq!(put(&mut spare, 0), Some(Place { slot: 0, erase: Some(0) }));
    }

    #[test]
    fn the_page_of_a_marker_goes_last() {
        let mut spare = [symbol(1, false); 8];
        spare[0] = Spare { generation: 0, id: NO_SYMBOL, live: false };
        let poison = Spare::marks_poison;
        assert_eq!(AREA.room(&spare, &poison), 5);
        assert_eq!(AREA.place(&spare, 2, &poison), Some(Place { slot: 3, erase: Some(1) }));
        spare[3..].iter_mut().for_each(|slot| slot.live = true);
        assert_eq!(AREA.place(&spare, 2, &poison), Some(Place { slot: 0, erase: Some(0) }));
    }
}
