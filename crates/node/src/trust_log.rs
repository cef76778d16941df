//! What was revoked and rotated survives a restart: the changes of a [`TrustStore`] as numbers in the state log.
//!
//! A number is written at once or not at all, and the last of several that belong together makes them count: the epoch of a revocation, and
//! the bank of a root key, which has two banks and is written to the other one. Numbers carry a mark of the root keys that the node was
//! enrolled with; those of another enrolment are let go. Delegations are not kept: neighbours give them again, and none that is void
//! is taken.

use compotastic_bundle::{ALL_KEYS, KeyId, MAX_REVOCATIONS, MAX_ROOTS, Revocation, RootState, TrustStore};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::state::{StateError, StateLog};

/// Names of these numbers begin here; then 15 bits of the mark, and 16 that tell which.
const TRUST: u32 = 1 << 31;
/// Lowest valid epoch of all delegations.
const FLOOR: u32 = 0;
/// Three numbers for each revocation.
const REVOKED: u32 = 0x100;
/// The bank of each root key.
const BANK: u32 = 0x200;
/// Words of both banks of each root key.
const ROOTS: u32 = 0x300;
/// Words of a root key: the key and two epochs.
const ROOT_WORDS: u32 = 10;

/// Numbers of trust at most, while a root key is in both of its banks; and those of the node besides.
const NUMBERS: usize =
    1 + 3 * MAX_REVOCATIONS + MAX_ROOTS * (1 + ROOT_WORDS as usize) + ROOT_WORDS as usize + 8;
/// What a sector must hold.
const SECTOR_MIN: usize = NUMBERS * 16;

/// Where a node's trust is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrustLog {
    /// Where the numbers of this enrolment begin.
    base: u32,
}

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.iter().skip(index * 4).take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

impl TrustLog {
    /// For a node that was enrolled with these keys; to be called before [`TrustLog::recall`].
    pub fn new(enrolled: &TrustStore) -> Self {
        let mark = enrolled.roots().fold(0u32, |mark, (id, _)| {
            mark.rotate_left(5).wrapping_mul(0x9E37_79B1) ^ word(&id.0, 0) ^ word(&id.0, 1)
        });
        Self { base: TRUST | ((mark ^ mark >> 16) & 0x7FFF) << 16 }
    }

    /// Whether a number of the log is still of use, as far as it is one of these; `current` reads others.
    pub fn keeps(self, key: u32, mut current: impl FnMut(u32) -> Option<u32>) -> bool {
        let item = key & 0xFFFF;
        if key & TRUST == 0 || item < ROOTS {
            return key & TRUST == 0 || key & !0xFFFF == self.base;
        }
        let (rank, bank) = ((item - ROOTS) / (2 * ROOT_WORDS), (item - ROOTS) / ROOT_WORDS % 2);
        key & !0xFFFF == self.base && current(self.base | (BANK + rank)) == Some(bank)
    }

    fn root_word(self, rank: usize, bank: u32, index: u32) -> u32 {
        self.base | (ROOTS + (rank as u32 * 2 + bank) * ROOT_WORDS + index)
    }

    /// Brings what was stored into a fresh store.
    pub fn recall<F: NorFlash>(
        self,
        log: &mut StateLog<F>,
        trust: &mut TrustStore,
    ) -> Result<(), StateError> {
        let mut roots = Vec::<(usize, RootState), MAX_ROOTS>::new();
        for rank in 0..MAX_ROOTS {
            let state = self.root(log, rank)?.map(|state| (rank, state));
            roots.extend(state);
        }
        // Numbers that make no sense change nothing.
        let _ = trust.recall_roots(roots);
        if let Some(epoch) = log.get(self.base | FLOOR)? {
            let _ = trust.recall_revocation(Revocation { key_id: ALL_KEYS, epoch });
        }
        for slot in 0..MAX_REVOCATIONS {
            if let Some(revocation) = self.revocation(log, slot)? {
                let _ = trust.recall_revocation(revocation);
            }
        }
        Ok(())
    }

    /// Writes what has changed. After an error, to be called again. An error too where a sector is too small for all of it: 2 KiB do.
    pub fn store<F: NorFlash>(self, log: &mut StateLog<F>, trust: &TrustStore) -> Result<(), StateError> {
        if F::ERASE_SIZE < SECTOR_MIN {
            return Err(StateError);
        }
        for rank in 0..MAX_ROOTS {
            if let Some(state) = trust.root_state(rank) {
                self.store_root(log, rank, &state)?;
            }
        }
        let floor = trust.epoch_floor();
        if floor > log.get(self.base | FLOOR)?.unwrap_or(0) {
            log.set(self.base | FLOOR, floor)?;
        }
        for revocation in trust.revoked() {
            self.store_revocation(log, revocation, floor)?;
        }
        Ok(())
    }

    fn revocation<F: NorFlash>(
        self,
        log: &mut StateLog<F>,
        slot: usize,
    ) -> Result<Option<Revocation>, StateError> {
        let at = self.base | (REVOKED + 3 * slot as u32);
        let Some(epoch) = log.get(at + 2)? else { return Ok(None) };
        let (low, high) = (log.get(at)?.unwrap_or(0), log.get(at + 1)?.unwrap_or(0));
        let key_id = KeyId((u64::from(high) << 32 | u64::from(low)).to_le_bytes());
        Ok(Some(Revocation { key_id, epoch }))
    }

    fn store_revocation<F: NorFlash>(
        self,
        log: &mut StateLog<F>,
        revocation: Revocation,
        floor: u32,
    ) -> Result<(), StateError> {
        let mut free = None;
        for slot in 0..MAX_REVOCATIONS {
            let known = self.revocation(log, slot)?;
            if known.is_some_and(|known| known.key_id == revocation.key_id) {
                if known.is_some_and(|known| known.epoch < revocation.epoch) {
                    log.set(self.base | (REVOKED + 3 * slot as u32 + 2), revocation.epoch)?;
                }
                return Ok(());
            }
            // One that the floor has overtaken says nothing any more, with whatever key beside it.
            if free.is_none() && known.is_none_or(|known| known.epoch <= floor) {
                free = Some(slot);
            }
        }
        // As many as the store remembers.
        let slot = free.ok_or(StateError)?;
        let at = self.base | (REVOKED + 3 * slot as u32);
        log.set(at, word(&revocation.key_id.0, 0))?;
        log.set(at + 1, word(&revocation.key_id.0, 1))?;
        log.set(at + 2, revocation.epoch)
    }

    fn root<F: NorFlash>(self, log: &mut StateLog<F>, rank: usize) -> Result<Option<RootState>, StateError> {
        let Some(bank) = log.get(self.base | (BANK + rank as u32))? else { return Ok(None) };
        let mut words = [0; ROOT_WORDS as usize];
        for (index, word) in (0..).zip(&mut words) {
            let Some(value) = log.get(self.root_word(rank, bank & 1, index))? else { return Ok(None) };
            *word = value;
        }
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(4).zip(&words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Ok(Some(RootState { key, own_epoch: words[8], above_epoch: words[9] }))
    }

    fn store_root<F: NorFlash>(
        self,
        log: &mut StateLog<F>,
        rank: usize,
        state: &RootState,
    ) -> Result<(), StateError> {
        let known = self.root(log, rank)?;
        let untouched = known.is_none() && (state.own_epoch, state.above_epoch) == (0, 0);
        if untouched || known.as_ref() == Some(state) {
            return Ok(());
        }
        let bank = log.get(self.base | (BANK + rank as u32))?.map_or(0, |bank| 1 - (bank & 1));
        // A bank that does not count yet would not move on to the next sector.
        log.reserve(ROOT_WORDS + 1)?;
        for index in 0..ROOT_WORDS {
            let value = match index {
                8 => state.own_epoch,
                9 => state.above_epoch,
                _ => word(&state.key, index as usize),
            };
            log.set(self.root_word(rank, bank, index), value)?;
        }
        log.set(self.base | (BANK + rank as u32), bank)
    }
}

#[cfg(test)]
mod tests {
    use compotastic_bundle::{
        Rotation,
        ramflash::{Cut, RamFlash},
    };
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::state::Key;

    type Flash = RamFlash<8192>;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn enrolled() -> TrustStore {
        TrustStore::new(&[1, 2, 3].map(|seed| key(seed).verifying_key().to_bytes())).unwrap()
    }

    /// Everything that can be there: three root keys with successors, as many revocations as there is room for, a floor.
    fn full() -> TrustStore {
        let mut trust = enrolled();
        for rank in 0..3 {
            let public_key = key(10 + rank).verifying_key().to_bytes();
            let rotation = Rotation { rank, public_key, epoch: 7 }.sign(&key(1 + rank));
            trust.add_record(&rotation).unwrap();
        }
        trust.recall_revocation(Revocation { key_id: ALL_KEYS, epoch: 4 }).unwrap();
        for slot in 0..MAX_REVOCATIONS as u8 {
            trust.recall_revocation(Revocation { key_id: KeyId([slot + 1; 8]), epoch: 9 }).unwrap();
        }
        trust
    }

    fn recalled(flash: Flash) -> (StateLog<Flash>, TrustStore) {
        let (mut log, mut trust) = (StateLog::open(flash).unwrap(), enrolled());
        let kept = TrustLog::new(&trust);
        log.keep_trust(kept);
        kept.recall(&mut log, &mut trust).unwrap();
        (log, trust)
    }

    fn said(trust: &TrustStore) -> (Vec<RootState, 3>, Vec<Revocation, MAX_REVOCATIONS>, u32) {
        let roots = (0..MAX_ROOTS).filter_map(|rank| trust.root_state(rank)).collect();
        (roots, trust.revoked().collect(), trust.epoch_floor())
    }

    #[test]
    fn all_of_it_moves_on_from_sector_to_sector_and_other_enrolments_do_not() {
        let (mut log, _) = recalled(Flash::new());
        let full = full();
        let stranger = TrustLog::new(&TrustStore::new(&[key(9).verifying_key().to_bytes()]).unwrap());
        log.set(stranger.base | FLOOR, 77).unwrap();
        let kept = TrustLog::new(&enrolled());
        kept.store(&mut log, &full).unwrap();
        for value in 0..2000 {
            log.set(Key::PacketIds, value).unwrap();
        }
        let (mut log, trust) = recalled(log.into_flash());
        assert_eq!(said(&trust), said(&full));
        assert_eq!(log.get(Key::PacketIds), Ok(Some(1999)));
        assert_eq!(log.get(stranger.base | FLOOR), Ok(None));
        kept.store(&mut log, &full).unwrap();
        let small = RamFlash::<2048, 4, 1024>::new();
        assert_eq!(kept.store(&mut StateLog::open(small).unwrap(), &full), Err(StateError));
    }

    #[test]
    fn a_cut_while_it_moves_on_loses_nothing() {
        let (mut log, _) = recalled(Flash::new());
        let full = full();
        TrustLog::new(&enrolled()).store(&mut log, &full).unwrap();
        for value in 0..150 {
            log.set(Key::PacketIds, value).unwrap();
        }
        let flash = log.into_flash();
        for cut in [Cut::After, Cut::Fading, Cut::Garbled, Cut::Unseen] {
            for operations in 0.. {
                let mut flash = flash.clone();
                flash.cut_after(operations, cut);
                let (mut log, _) = recalled(flash);
                let done = (0..200).all(|value| log.set(Key::PacketIds, 1000 + value).is_ok());
                let mut flash = log.into_flash();
                flash.power_on();
                let (_, trust) = recalled(flash);
                assert_eq!(said(&trust), said(&full), "{cut:?} {operations}");
                if done {
                    break;
                }
            }
        }
    }
}
