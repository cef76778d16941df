//! Two peers that flood: the source broadcasts to all by managed flooding with the largest hop limit, and needs no answer.
//!
//! - **Flooded carousel**: all chunks in turn, round and round.
//! - **Flooded fountain**: the chunks, then coded symbols without end; a receiver is complete with any K distinct symbols
//!   ([`super::mds`]: better than any code that fits a device).
//!
//! The fountain comes twice: by managed flooding, where a node that hears another repeat a packet does not repeat it any more (all nodes are
//! clients), and by plain flooding, where each node repeats each packet once (all nodes have the role ROUTER_LATE).
//!
//! Both know at once and for free when the last node is complete, and which length and hash the object has: generous.
//!
//! Tuned: bytes of a chunk, and the least time between two floods, in times that a flood takes to cross the mesh (so that
//! floods do not collide with one another). `bench spread --tune` shows the sweep on which the defaults rest.

use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    router::Incoming,
    time::{Duration, Instant},
};

use super::{
    mds,
    peer::{App, Out},
    store::{Object, Store},
};

/// Meshtastic's largest hop limit.
pub const HOP_LIMIT: u8 = 7;

/// What the sweep chooses.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tuning {
    /// Bytes of a chunk, even.
    pub chunk: usize,
    /// Least time between two floods, in crossings of the mesh.
    pub gap_floods: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { chunk: 228, gap_floods: 4.0 }
    }
}

/// Which symbols a source sends.
enum Source {
    Carousel(Object),
    Fountain(mds::Encoder),
}

/// One node.
pub struct Flooded {
    store: Store,
    /// Of a fountain: symbols until there are enough.
    symbols: Option<Vec<(u16, Vec<u8>)>>,
    source: Option<Source>,
    next: usize,
    not_before: Instant,
    gap: Duration,
    chunk: usize,
    tail: usize,
}

impl Flooded {
    /// A node of the carousel, or of the fountain; node 0 is the source.
    pub fn new(node: usize, object: &Object, fountain: bool, tuning: &Tuning, flood: Duration) -> Self {
        let is_source = node == 0;
        let padded = |index: usize| {
            let mut data = object.data(index).to_vec();
            data.resize(object.chunk, 0);
            data
        };
        let source = is_source.then(|| match fountain {
            true => Source::Fountain(mds::Encoder::new((0..object.chunks()).map(padded).collect())),
            false => Source::Carousel(object.clone()),
        });
        Self {
            store: if is_source { Store::whole(object) } else { Store::blank(object) },
            symbols: (fountain && !is_source).then(Vec::new),
            source,
            next: 0,
            not_before: Instant::ZERO,
            gap: Duration::from_micros((flood.as_micros() as f64 * tuning.gap_floods) as u64),
            chunk: object.chunk,
            tail: object.data(object.chunks() - 1).len(),
        }
    }

    fn take_symbol(&mut self, id: u16, data: &[u8]) {
        let Some(symbols) = &mut self.symbols else { return };
        if data.len() != self.chunk || symbols.iter().any(|(known, _)| *known == id) {
            return;
        }
        symbols.push((id, data.to_vec()));
        let chunks = self.store.chunks();
        if symbols.len() < chunks {
            return;
        }
        let symbols = self.symbols.take().unwrap_or_default();
        let decoded = mds::decode(&symbols);
        let plain = symbols.iter().filter(|(id, _)| usize::from(*id) < chunks);
        let plain = plain.map(|(id, data)| (usize::from(*id), data));
        for (index, data) in plain.chain(decoded.iter().map(|(index, data)| (*index, data))) {
            let length = if index + 1 == chunks { self.tail } else { self.chunk };
            self.store.write(index, &data[..length]);
        }
    }
}

impl App for Flooded {
    fn handle_packet(&mut self, _: Instant, packet: &Incoming) {
        let Some((id, data)) = packet.payload.split_first_chunk::<2>() else { return };
        let id = u16::from_le_bytes(*id);
        if self.symbols.is_some() {
            self.take_symbol(id, data);
        } else {
            self.store.write(usize::from(id), data);
        }
    }

    fn handle_sent(&mut self, now: Instant, _: PacketId) {
        self.not_before = now + self.gap;
    }

    fn poll(&mut self, _: Instant, _: PacketId) -> Option<Out> {
        let source = self.source.as_ref()?;
        let (id, data) = match source {
            Source::Carousel(object) => {
                let index = self.next % object.chunks();
                (index, object.data(index).to_vec())
            }
            // After 65,536 symbols from the first again.
            Source::Fountain(encoder) => (self.next & 0xffff, encoder.symbol(self.next as u16)),
        };
        self.next += 1;
        let payload = [&(id as u16).to_le_bytes()[..], &data].concat();
        Some(Out { to: NodeNum::BROADCAST, payload, hop_limit: HOP_LIMIT, want_ack: false })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.source.as_ref().map(|_| self.not_before)
    }

    fn is_complete(&self) -> bool {
        self.store.is_complete()
    }
}
