//! Rows with keys in order: those on the disk, and over them those that wait in memory to be written together.
//!
//! redb writes its pages at each commit, also where the commit need not last; so what may wait is kept out of it until its batch.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use redb::{Database, Key as _, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// Longest time that a write waits which may be lost.
pub const BATCH: Duration = Duration::from_secs(30);
/// Bytes that may wait; more are written at once.
const BATCH_BYTES: usize = 1 << 20;

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

/// What a row is of. The number is the first byte of its key, so it does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Counter = 1,
    Job = 2,
    /// Numbers of the jobs that are open.
    OpenJob = 3,
    Node = 4,
    Text = 5,
    Bundle = 6,
    Setting = 7,
    /// Sizes of the parts of flash.
    Part = 8,
    Page = 9,
}

const TABLES: usize = 10;

/// When a write is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// When the call returns.
    Now,
    /// After at most [`BATCH`], with others.
    Soon,
}

/// A row's key: its table, then what names it there. Numbers are big-endian, so that their order is that of the bytes.
pub(super) fn key(table: Table, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    key.push(table as u8);
    key.extend_from_slice(name);
    key
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Rows to be written, or removed where there is no value.
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Debug, Default)]
struct Waiting {
    changes: Changes,
    bytes: usize,
    since: Option<Instant>,
    /// Rows of each table, those that wait included.
    counts: [u64; TABLES],
}

/// All rows of the store.
#[derive(Debug)]
pub(super) struct Rows {
    database: Database,
    waiting: Mutex<Waiting>,
}

/// Rows as they were when it was begun, and changes to them.
pub(super) struct View<'a> {
    disk: ReadOnlyTable<&'static [u8], &'static [u8]>,
    waiting: &'a Waiting,
    changes: Changes,
    counts: [u64; TABLES],
}

impl View<'_> {
    /// A row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key).or_else(|| self.waiting.changes.get(key)) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.disk.get(key)?.map(|value| value.value().to_vec())),
        }
    }

    /// Rows of a table.
    pub fn count(&self, table: Table) -> u64 {
        self.counts[table as usize]
    }

    fn note(&mut self, key: &[u8], there: bool) -> Result<bool> {
        let before = self.get(key)?.is_some();
        let count = &mut self.counts[usize::from(key[0])];
        *count = *count + u64::from(there) - u64::from(before);
        Ok(before)
    }

    /// Writes a row.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.note(&key, true)?;
        self.changes.insert(key, Some(value));
        Ok(())
    }

    /// Removes a row; false where there was none.
    pub fn remove(&mut self, key: Vec<u8>) -> Result<bool> {
        let before = self.note(&key, false)?;
        if before {
            self.changes.insert(key, None);
        }
        Ok(before)
    }

    /// Shows the rows from `from` up to but without `to`, in order or backwards, until `each` breaks off.
    pub fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut disk = self.disk.range::<&[u8]>(range)?;
        // What waits, with the changes of this view over it: few rows, since batches are small.
        let mut over: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for changes in [&self.waiting.changes, &self.changes] {
            over.extend(
                changes.range::<[u8], _>(range).map(|(key, value)| (key.as_slice(), value.as_deref())),
            );
        }
        let mut step = || if backwards { disk.next_back() } else { disk.next() }.transpose();
        let mut row = step()?;
        loop {
            let next = if backwards { over.last_key_value() } else { over.first_key_value() };
            let next = next.map(|(key, value)| (*key, *value));
            // Which of both comes first? The one over the other hides it.
            let order = match (&row, next) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((key, _)), Some((other, _))) => {
                    let order = <&[u8]>::compare(key.value(), other);
                    if backwards { order.reverse() } else { order }
                }
            };
            if order.is_lt() {
                if let Some((key, value)) = &row
                    && each(key.value(), value.value()).is_break()
                {
                    return Ok(());
                }
            } else if let Some((key, value)) = next {
                over.remove(key);
                if let Some(value) = value
                    && each(key, value).is_break()
                {
                    return Ok(());
                }
            }
            if order.is_le() {
                row = step()?;
            }
        }
    }

    /// All rows of a table.
    pub fn scan_table(&self, table: Table, each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        self.scan(&[table as u8], &[table as u8 + 1], false, each)
    }
}

impl Rows {
    /// Over a database. Counts all rows.
    pub fn open(database: Database) -> Result<Self> {
        let write = database.begin_write()?;
        write.open_table(ROWS)?;
        write.commit()?;
        let mut counts = [0; TABLES];
        for row in database.begin_read()?.open_table(ROWS)?.iter()? {
            if let Some(count) = row?.0.value().first().and_then(|table| counts.get_mut(usize::from(*table)))
            {
                *count += 1;
            }
        }
        Ok(Self { database, waiting: Mutex::new(Waiting { counts, ..Waiting::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic cannot leave it half changed: changes are made after all that can fail.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view<'a>(&self, waiting: &'a Waiting) -> Result<View<'a>> {
        let disk = self.database.begin_read()?.open_table(ROWS)?;
        Ok(View { disk, waiting, changes: Changes::new(), counts: waiting.counts })
    }

    /// Looks at rows.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        let waiting = self.lock();
        look(&self.view(&waiting)?)
    }

    /// Changes rows, all or nothing.
    pub fn write<T>(&self, when: When, change: impl FnOnce(&mut View) -> Result<T>) -> Result<T> {
        let mut waiting = self.lock();
        let (out, changes, counts) = {
            let mut view = self.view(&waiting)?;
            let out = change(&mut view)?;
            (out, view.changes, view.counts)
        };
        let bytes: usize =
            changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        if when == When::Now || waiting.bytes + bytes > BATCH_BYTES {
            self.commit(&waiting.changes, &changes)?;
            *waiting = Waiting { counts, ..Waiting::default() };
        } else if !changes.is_empty() {
            waiting.changes.extend(changes);
            waiting.bytes += bytes;
            waiting.counts = counts;
            waiting.since = waiting.since.or(Some(Instant::now()));
        }
        Ok(out)
    }

    /// Brings rows to the disk: what waited first.
    fn commit(&self, first: &Changes, then: &Changes) -> Result<()> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            for (key, value) in first.iter().filter(|(key, _)| !then.contains_key(*key)).chain(then) {
                match value {
                    Some(value) => drop(rows.insert(key.as_slice(), value.as_slice())?),
                    None => drop(rows.remove(key.as_slice())?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Brings all that waits to the disk, if it has waited so long.
    pub fn flush(&self, waited: Duration) -> Result<()> {
        let mut waiting = self.lock();
        if waiting.since.is_some_and(|since| since.elapsed() >= waited) {
            self.commit(&waiting.changes, &Changes::new())?;
            *waiting = Waiting { counts: waiting.counts, ..Waiting::default() };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Builder, backends::InMemoryBackend};

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Put(u8, u8, When),
        Remove(u8, When),
        /// A change that fails after it has written something.
        Fail(u8),
        Flush,
    }

    fn act() -> impl Strategy<Value = Act> {
        let when = prop_oneof![Just(When::Now), Just(When::Soon), Just(When::Soon)];
        prop_oneof![
            4 => (0..12_u8, any::<u8>(), when.clone()).prop_map(|(name, value, when)| Act::Put(name, value, when)),
            3 => (0..12_u8, when).prop_map(|(name, when)| Act::Remove(name, when)),
            1 => (0..12_u8).prop_map(Act::Fail),
            1 => Just(Act::Flush),
        ]
    }

    /// Two tables, so that one's rows are seen not to be the other's.
    fn named(name: u8) -> Vec<u8> {
        key(if name.is_multiple_of(3) { Table::Node } else { Table::Text }, &[name])
    }

    fn scanned(
        view: &View,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        view.scan(from, to, backwards, |key, value| {
            if found.len() == limit {
                return ControlFlow::Break(());
            }
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    proptest! {
        #[test]
        fn rows_are_as_in_a_map_wherever_they_wait(acts in prop::collection::vec(act(), 1..60), from in 0..12_u8, limit in 0..9_usize) {
            let rows = Rows::open(Builder::new().create_with_backend(InMemoryBackend::new()).unwrap()).unwrap();
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Put(name, value, when) => {
                        rows.write(when, |view| view.put(named(name), vec![value])).unwrap();
                        model.insert(named(name), vec![value]);
                    }
                    Act::Remove(name, when) => {
                        let there = rows.write(when, |view| view.remove(named(name))).unwrap();
                        prop_assert_eq!(there, model.remove(&named(name)).is_some());
                    }
                    Act::Fail(name) => {
                        let failed = rows.write(When::Now, |view| {
                            view.put(named(name), vec![0; 3])?;
                            anyhow::bail!("no")
                        });
                        let failed: Result<()> = failed;
                        prop_assert!(failed.is_err());
                    }
                    Act::Flush => rows.flush(Duration::ZERO).unwrap(),
                }
                rows.read(|view| {
                    for table in [Table::Node, Table::Text] {
                        let (low, high) = (vec![table as u8], vec![table as u8 + 1]);
                        let all: Vec<_> = model.range(low.clone()..high.clone()).map(|(k, v)| (k.clone(), v.clone())).collect();
                        assert_eq!(scanned(view, &low, &high, false, 99), all);
                        assert_eq!(view.count(table), all.len() as u64);
                        let begin = key(table, &[from]);
                        let some: Vec<_> =
                            model.range(begin.clone()..high.clone()).rev().take(limit).map(|(k, v)| (k.clone(), v.clone())).collect();
                        assert_eq!(scanned(view, &begin, &high, true, limit), some);
                    }
                    assert_eq!(view.get(&named(from))?, model.get(&named(from)).cloned());
                    Ok(())
                })
                .unwrap();
            }
        }
    }
}
