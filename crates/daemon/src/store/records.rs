//! Nodes, texts, bundles, keys and settings.

use std::ops::ControlFlow::{Break, Continue};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    Store, counter, decode, encode,
    rows::{Table, When, key},
    set_counter,
};
use crate::seam::{NodeView, TextMessage};

/// Nodes that are kept; the one that was not heard for the longest time goes first.
pub const NODES: u64 = 2_000;
/// Texts that are kept; the oldest go first.
pub const TEXTS: u64 = 1_000;
/// Longest bundle file, bytes.
pub const BUNDLE_BYTES: usize = 1 << 20;
/// All bundle files together, bytes.
pub const BUNDLES_BYTES: u64 = 64 << 20;

/// The number that a text was given last.
const LAST_TEXT: &[u8] = b"last text";
const AIRTIME: &str = "airtime mark";

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
    /// The radio's own mesh has told of it.
    #[serde(default)]
    by_radio: bool,
}

/// A node as it is kept, its age as of the moment that it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredNode {
    /// What is shown of it.
    pub view: NodeView,
    /// The radio's own mesh has told of it: others do not name it.
    pub by_radio: bool,
}

impl NodeRow {
    fn node(self, now_ms: u64) -> StoredNode {
        let heard_s_ago = self.heard_ms.map(|at| now_ms.saturating_sub(at) / 1000);
        StoredNode { view: NodeView { heard_s_ago, ..self.view }, by_radio: self.by_radio }
    }
}

fn node_row(num: u32) -> Vec<u8> {
    key(Table::Node, &num.to_be_bytes())
}

fn setting_row(name: &str) -> Vec<u8> {
    key(Table::Setting, name.as_bytes())
}

fn bundle_row(tag: &str) -> Vec<u8> {
    key(Table::Bundle, tag.as_bytes())
}

fn name(key: &[u8]) -> String {
    String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned()
}

impl Store {
    /// Writes what is known of a node, with the next batch. `now_ms` is milliseconds since 1970, to which the view's age refers.
    pub fn put_node(&self, view: &NodeView, now_ms: u64) -> Result<()> {
        self.put_stored_node(&StoredNode { view: view.clone(), by_radio: false }, now_ms)
    }

    /// The same, with who has told of it.
    pub fn put_stored_node(&self, node: &StoredNode, now_ms: u64) -> Result<()> {
        let StoredNode { view, by_radio } = node;
        let heard_ms = view.heard_s_ago.map(|age| now_ms.saturating_sub(age.saturating_mul(1000)));
        let row = NodeRow { heard_ms, view: view.clone(), by_radio: *by_radio };
        self.write(When::Soon, |rows| {
            rows.put(node_row(view.num), encode(&row)?)?;
            if rows.count(Table::Node) > NODES {
                let mut oldest: Option<(Option<u64>, Vec<u8>)> = None;
                rows.scan_table(Table::Node, |key, bytes| {
                    let heard_ms = decode::<NodeRow>("nodes", bytes).and_then(|row| row.heard_ms);
                    if key != node_row(view.num) && oldest.as_ref().is_none_or(|(best, _)| heard_ms < *best) {
                        oldest = Some((heard_ms, key.to_vec()));
                    }
                    Continue(())
                })?;
                if let Some((_, key)) = oldest {
                    rows.remove(key)?;
                }
            }
            Ok(())
        })
    }

    /// Drops a node.
    pub fn remove_node(&self, num: u32) -> Result<()> {
        self.write(When::Soon, |rows| rows.remove(node_row(num)).map(|_| ()))
    }

    /// All nodes, by number, their ages as of `now_ms`.
    pub fn nodes(&self, now_ms: u64) -> Result<Vec<NodeView>> {
        Ok(self.stored_nodes(now_ms)?.into_iter().map(|node| node.view).collect())
    }

    /// The same, with who has told of them.
    pub fn stored_nodes(&self, now_ms: u64) -> Result<Vec<StoredNode>> {
        self.read(|rows| {
            let mut nodes = Vec::new();
            rows.scan_table(Table::Node, |_, bytes| {
                nodes.extend(decode::<NodeRow>("nodes", bytes).map(|row| row.node(now_ms)));
                Continue(())
            })?;
            Ok(nodes)
        })
    }

    /// Keeps a text message that came or went, with the next batch.
    pub fn add_text(&self, message: &TextMessage, now_ms: u64) -> Result<StoredText> {
        self.write(When::Soon, |rows| {
            let number = counter(rows, LAST_TEXT)? + 1;
            set_counter(rows, LAST_TEXT, number)?;
            let text = StoredText { number, at_ms: now_ms, message: message.clone() };
            rows.put(key(Table::Text, &number.to_be_bytes()), encode(&text)?)?;
            while rows.count(Table::Text) > TEXTS {
                let mut oldest = Vec::new();
                rows.scan_table(Table::Text, |key, _| {
                    oldest = key.to_vec();
                    Break(())
                })?;
                rows.remove(oldest)?;
            }
            Ok(text)
        })
    }

    /// At most `limit` texts with numbers above `after`: the newest, oldest of them first.
    pub fn texts(&self, after: u64, limit: usize) -> Result<Vec<StoredText>> {
        self.read(|rows| {
            let mut texts = Vec::new();
            let from = key(Table::Text, &after.saturating_add(1).to_be_bytes());
            rows.scan(&from, &[Table::Text as u8 + 1], true, |_, bytes| {
                if texts.len() >= limit {
                    return Break(());
                }
                texts.extend(decode::<StoredText>("texts", bytes));
                Continue(())
            })?;
            texts.reverse();
            Ok(texts)
        })
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
        let mut sum = bytes.len() as u64;
        self.read(|rows| {
            rows.scan_table(Table::Bundle, |key, bytes| {
                if name(key) != tag {
                    sum += bytes.len() as u64;
                }
                Continue(())
            })
        })?;
        ensure!(
            sum <= BUNDLES_BYTES,
            "all bundles together would be {sum} bytes, at most {BUNDLES_BYTES} are kept: withdraw one first"
        );
        self.write(When::Now, |rows| rows.put(bundle_row(tag), bytes.to_vec()))
    }

    /// The bundle file of an object.
    pub fn bundle(&self, tag: &str) -> Result<Option<Vec<u8>>> {
        self.read(|rows| rows.get(&bundle_row(tag)))
    }

    /// Tags of all bundle files.
    pub fn bundles(&self) -> Result<Vec<String>> {
        self.names(Table::Bundle, "")
    }

    /// Drops a bundle file; false where there was none.
    pub fn remove_bundle(&self, tag: &str) -> Result<bool> {
        self.write(When::Now, |rows| rows.remove(bundle_row(tag)))
    }

    fn names(&self, table: Table, prefix: &str) -> Result<Vec<String>> {
        self.read(|rows| {
            let mut names = Vec::new();
            let from = key(table, prefix.as_bytes());
            rows.scan(&from, &[table as u8 + 1], false, |key, _| {
                if !key.starts_with(&from) {
                    return Break(());
                }
                names.push(name(key));
                Continue(())
            })?;
            Ok(names)
        })
    }

    /// Writes a key or setting; it is on the disk when this returns.
    pub fn set<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.write(When::Now, |rows| rows.put(setting_row(name), encode(value)?))
    }

    /// A key or setting.
    ///
    /// Errors: what is there is of another kind; a key is not made anew over one that cannot be read.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let bytes = self.read(|rows| rows.get(&setting_row(name)))?;
        bytes
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(|error| anyhow::anyhow!("{name} in the store cannot be read: {error}"))
    }

    /// Drops a key or setting; false where there was none.
    pub fn unset(&self, name: &str) -> Result<bool> {
        self.write(When::Now, |rows| rows.remove(setting_row(name)))
    }

    /// Names of keys and settings that begin so.
    pub fn settings(&self, prefix: &str) -> Result<Vec<String>> {
        self.names(Table::Setting, prefix)
    }

    /// Writes how much air time counts as spent, with the next batch.
    pub fn set_airtime(&self, mark: AirtimeMark) -> Result<()> {
        self.write(When::Soon, |rows| rows.put(setting_row(AIRTIME), encode(&mark)?))
    }

    /// What the last run left.
    pub fn airtime(&self) -> Result<Option<AirtimeMark>> {
        self.get(AIRTIME)
    }
}
