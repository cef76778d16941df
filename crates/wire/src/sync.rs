//! Bodies of the frames by which registries agree.

use crate::{
    body::{Reader, Writer},
    frame::{Malformed, SyncDigest, SyncForm, SyncItem, SyncList, SyncRecords},
};

/// Bytes of an item beside its record: node, version, length.
const ITEM_HEAD: usize = 6;

pub(crate) fn read_digest(r: &mut Reader<'_>) -> Result<SyncDigest, Malformed> {
    Ok(SyncDigest { digest: r.u64()? })
}

pub(crate) fn read_list<'a>(r: &mut Reader<'a>) -> Result<SyncList<'a>, Malformed> {
    let (digest, membership, members, form) = (r.u64()?, r.u16()?, r.u8()?, r.u8()?);
    let form = SyncForm::from_bits(form).ok_or(Malformed)?;
    let list = SyncList { digest, membership, members, form, entries: r.rest() };
    if list.is_sound() { Ok(list) } else { Err(Malformed) }
}

pub(crate) fn read_records<'a>(r: &mut Reader<'a>) -> Result<SyncRecords<'a>, Malformed> {
    let records = SyncRecords { digest: r.u64()?, items: r.rest() };
    if records.is_sound() { Ok(records) } else { Err(Malformed) }
}

pub(crate) fn emit_list(list: &SyncList<'_>, w: &mut Writer<'_>) -> Option<()> {
    if !list.is_sound() {
        return None;
    }
    w.put(&list.digest.to_le_bytes())?;
    w.put(&list.membership.to_le_bytes())?;
    w.put(&[list.members, list.form as u8])?;
    w.put(list.entries)
}

pub(crate) fn emit_records(records: &SyncRecords<'_>, w: &mut Writer<'_>) -> Option<()> {
    if !records.is_sound() {
        return None;
    }
    w.put(&records.digest.to_le_bytes())?;
    w.put(records.items)
}

impl SyncList<'_> {
    /// Whole entries, no more than members, and of a vector exactly so many; no index beyond the members.
    fn is_sound(&self) -> bool {
        let length = self.form.entry_len();
        let (members, count) = (usize::from(self.members), self.entries.len() / length);
        self.entries.len().is_multiple_of(length)
            && match self.form {
                SyncForm::Indexed => {
                    count <= members && self.entries.chunks_exact(2).all(|entry| entry[0] < self.members)
                }
                SyncForm::Named => count <= members,
                SyncForm::Vector | SyncForm::Checks => count == members,
            }
    }
}

impl<'a> SyncRecords<'a> {
    /// From bytes that a [`SyncItemWriter`] wrote.
    pub const fn from_items(digest: u64, items: &'a [u8]) -> Self {
        Self { digest, items }
    }

    fn is_sound(&self) -> bool {
        !self.items.is_empty() && self.items().all(|item| item.is_ok())
    }

    /// The bytes of all items.
    pub const fn item_bytes(&self) -> &'a [u8] {
        self.items
    }

    /// The records, in order; after an error the iterator ends.
    pub fn items(&self) -> impl Iterator<Item = Result<SyncItem<'a>, Malformed>> + 'a {
        let mut reader = Reader(self.items);
        core::iter::from_fn(move || {
            if reader.0.is_empty() {
                return None;
            }
            let item = read_item(&mut reader);
            if item.is_err() {
                reader.0 = &[];
            }
            Some(item)
        })
    }
}

fn read_item<'a>(r: &mut Reader<'a>) -> Result<SyncItem<'a>, Malformed> {
    let (node, version, length) = (r.u32()?, r.u8()?, r.u8()?);
    Ok(SyncItem { node, version, bytes: r.take(usize::from(length))? })
}

/// Puts records into one frame as long as they fit.
pub struct SyncItemWriter<'b> {
    writer: Writer<'b>,
    room: usize,
}

impl<'b> SyncItemWriter<'b> {
    /// Longest record that fits a frame, in bytes.
    pub const RECORD_MAX: usize = crate::MAX_PAYLOAD - 2 - crate::MAC_LEN - 8 - ITEM_HEAD;

    /// Writes to `out`, leaving room for head, digest and MAC in the longest payload.
    pub fn new(out: &'b mut [u8]) -> Self {
        let room = out.len().min(Self::RECORD_MAX + ITEM_HEAD);
        Self { writer: Writer { out, at: 0 }, room }
    }

    /// Adds a record; an error, and nothing written, when it does not fit.
    pub fn push(&mut self, item: &SyncItem<'_>) -> Result<(), Malformed> {
        let length = u8::try_from(item.bytes.len()).map_err(|_| Malformed)?;
        if self.writer.at + ITEM_HEAD + item.bytes.len() > self.room {
            return Err(Malformed);
        }
        let w = &mut self.writer;
        w.put(&item.node.to_le_bytes())
            .and_then(|()| w.put(&[item.version, length]))
            .and_then(|()| w.put(item.bytes))
            .ok_or(Malformed)
    }

    /// The bytes of all items.
    pub fn finish(self) -> &'b [u8] {
        let Writer { out, at } = self.writer;
        &out[..at]
    }
}
