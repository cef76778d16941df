//! Nodes, texts, bundles, keys and settings.

use anyhow::{Result, ensure};
use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{META, Store, Write, decode, encode};
use crate::seam::{NodeView, TextMessage};

/// Nodes that are kept; the one that was not heard for the longest time goes first.
pub const NODES: u64 = 2_000;
/// Texts that are kept; the oldest go first.
pub const TEXTS: u64 = 1_000;
/// Longest bundle file, bytes.
pub const BUNDLE_BYTES: usize = 1 << 20;
/// All bundle files together, bytes.
pub const BUNDLES_BYTES: u64 = 64 << 20;

const NODE_TABLE: TableDefinition<u32, &[u8]> = TableDefinition::new("nodes");
const TEXT_TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("texts");
const BUNDLE_TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("bundles");
const SETTING_TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("settings");
const KEY_NEXT_TEXT: &str = "next text";
const KEY_AIRTIME: &str = "airtime mark";

/// A text message as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoredText {
    /// Its number on this node, rising.
    pub number: u64,
    /// When it came or went, milliseconds since 1970 by this machine's clock.
    pub at_ms: u64,
    /// The message.
    #[serde(flatten)]
    pub message: TextMessage,
}

/// Own air time that counts as spent, over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AirtimeMark {
    /// When it was written, milliseconds since 1970.
    pub at_ms: u64,
    /// Own air time of the hour before, milliseconds.
    pub spent_ms: u32,
}

/// A node as it is kept: the moment instead of the age.
#[derive(Serialize, Deserialize)]
struct NodeRow {
    heard_ms: Option<u64>,
    view: NodeView,
}

impl NodeRow {
    fn view(self, now_ms: u64) -> NodeView {
        NodeView { heard_s_ago: self.heard_ms.map(|at| now_ms.saturating_sub(at) / 1000), ..self.view }
    }
}

pub(super) fn make_tables(write: &WriteTransaction) -> Result<()> {
    write.open_table(NODE_TABLE)?;
    write.open_table(TEXT_TABLE)?;
    write.open_table(BUNDLE_TABLE)?;
    write.open_table(SETTING_TABLE)?;
    Ok(())
}

impl Store {
    /// Writes what is known of a node, with the next batch. `now_ms` is milliseconds since 1970, to which the view's age refers.
    pub fn put_node(&self, view: &NodeView, now_ms: u64) -> Result<()> {
        let heard_ms = view.heard_s_ago.map(|age| now_ms.saturating_sub(age.saturating_mul(1000)));
        let row = NodeRow { heard_ms, view: view.clone() };
        self.write(Write::Soon, |write| {
            let mut table = write.open_table(NODE_TABLE)?;
            table.insert(view.num, encode(&row)?.as_slice())?;
            if table.len()? > NODES {
                let mut oldest: Option<(Option<u64>, u32)> = None;
                for row in table.iter()? {
                    let (num, bytes) = row?;
                    let heard_ms = decode::<NodeRow>("nodes", bytes.value()).and_then(|row| row.heard_ms);
                    if num.value() != view.num && oldest.is_none_or(|(best, _)| heard_ms < best) {
                        oldest = Some((heard_ms, num.value()));
                    }
                }
                if let Some((_, num)) = oldest {
                    table.remove(num)?;
                }
            }
            Ok(())
        })
    }

    /// Drops a node.
    pub fn remove_node(&self, num: u32) -> Result<()> {
        self.write(Write::Soon, |write| Ok(write.open_table(NODE_TABLE)?.remove(num).map(|_| ())?))
    }

    /// All nodes, by number, their ages as of `now_ms`.
    pub fn nodes(&self, now_ms: u64) -> Result<Vec<NodeView>> {
        let read = self.shared.database.begin_read()?;
        let mut nodes = Vec::new();
        for row in read.open_table(NODE_TABLE)?.iter()? {
            let row = row?;
            nodes.extend(decode::<NodeRow>("nodes", row.1.value()).map(|row| row.view(now_ms)));
        }
        Ok(nodes)
    }

    /// Keeps a text message that came or went, with the next batch.
    pub fn add_text(&self, message: &TextMessage, now_ms: u64) -> Result<StoredText> {
        self.write(Write::Soon, |write| {
            let mut meta = write.open_table(META)?;
            let number = meta.get(KEY_NEXT_TEXT)?.map_or(1, |value| value.value());
            meta.insert(KEY_NEXT_TEXT, number + 1)?;
            let text = StoredText { number, at_ms: now_ms, message: message.clone() };
            let mut table = write.open_table(TEXT_TABLE)?;
            table.insert(number, encode(&text)?.as_slice())?;
            while table.len()? > TEXTS {
                table.pop_first()?;
            }
            Ok(text)
        })
    }

    /// At most `limit` texts with numbers above `after`: the newest, oldest of them first.
    pub fn texts(&self, after: u64, limit: usize) -> Result<Vec<StoredText>> {
        let read = self.shared.database.begin_read()?;
        let mut texts = Vec::new();
        for row in read.open_table(TEXT_TABLE)?.range(after.saturating_add(1)..)?.rev().take(limit) {
            texts.extend(decode::<StoredText>("texts", row?.1.value()));
        }
        texts.reverse();
        Ok(texts)
    }

    /// Keeps a bundle file under the tag of its object; it is on the disk when this returns.
    ///
    /// Errors: it is longer than [`BUNDLE_BYTES`], or all together than [`BUNDLES_BYTES`].
    pub fn put_bundle(&self, tag: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            bytes.len() <= BUNDLE_BYTES,
            "a bundle of {} bytes: at most {BUNDLE_BYTES} are kept",
            bytes.len()
        );
        self.write(Write::Now, |write| {
            let mut table = write.open_table(BUNDLE_TABLE)?;
            table.insert(tag, bytes)?;
            let mut sum = 0;
            for row in table.iter()? {
                sum += row?.1.value().len() as u64;
            }
            ensure!(
                sum <= BUNDLES_BYTES,
                "all bundles together would be {sum} bytes, at most {BUNDLES_BYTES} are kept: withdraw one first"
            );
            Ok(())
        })
    }

    /// The bundle file of an object.
    pub fn bundle(&self, tag: &str) -> Result<Option<Vec<u8>>> {
        let read = self.shared.database.begin_read()?;
        Ok(read.open_table(BUNDLE_TABLE)?.get(tag)?.map(|row| row.value().to_vec()))
    }

    /// Tags of all bundle files.
    pub fn bundles(&self) -> Result<Vec<String>> {
        let read = self.shared.database.begin_read()?;
        let table = read.open_table(BUNDLE_TABLE)?;
        table.iter()?.map(|row| Ok(row?.0.value().to_string())).collect()
    }

    /// Drops a bundle file; false where there was none.
    pub fn remove_bundle(&self, tag: &str) -> Result<bool> {
        self.write(Write::Now, |write| Ok(write.open_table(BUNDLE_TABLE)?.remove(tag)?.is_some()))
    }

    /// Writes a key or setting; it is on the disk when this returns.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<()> {
        self.write(Write::Now, |write| {
            write.open_table(SETTING_TABLE)?.insert(key, encode(value)?.as_slice())?;
            Ok(())
        })
    }

    /// A key or setting.
    ///
    /// Errors: what is there is of another kind; a key is not made anew over one that cannot be read.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let read = self.shared.database.begin_read()?;
        let row = read.open_table(SETTING_TABLE)?.get(key)?;
        row.map(|row| serde_json::from_slice(row.value()))
            .transpose()
            .map_err(|error| anyhow::anyhow!("{key} in the store cannot be read: {error}"))
    }

    /// Drops a key or setting; false where there was none.
    pub fn unset(&self, key: &str) -> Result<bool> {
        self.write(Write::Now, |write| Ok(write.open_table(SETTING_TABLE)?.remove(key)?.is_some()))
    }

    /// Names of keys and settings that begin so.
    pub fn settings(&self, prefix: &str) -> Result<Vec<String>> {
        let read = self.shared.database.begin_read()?;
        let table = read.open_table(SETTING_TABLE)?;
        let mut names = Vec::new();
        for row in table.range(prefix..)? {
            let name = row?.0.value().to_string();
            if !name.starts_with(prefix) {
                break;
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Writes how much air time counts as spent, with the next batch.
    pub fn set_airtime(&self, mark: AirtimeMark) -> Result<()> {
        self.write(Write::Soon, |write| {
            write.open_table(SETTING_TABLE)?.insert(KEY_AIRTIME, encode(&mark)?.as_slice())?;
            Ok(())
        })
    }

    /// What the last run left.
    pub fn airtime(&self) -> Result<Option<AirtimeMark>> {
        self.get(KEY_AIRTIME)
    }
}
