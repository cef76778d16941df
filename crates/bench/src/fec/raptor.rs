//! RaptorQ (RFC 6330), by the crate `raptorq`.

use super::{Code, PIECE, Random, Trial};
use anyhow::{Result, ensure};
use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};

/// Bytes of a symbol while only the overhead is counted.
const SHORT: usize = 8;

pub(super) struct RaptorQ {
    k: u16,
    encoder: Block,
    ram: usize,
}

/// A block and its encoder.
struct Block {
    config: ObjectTransmissionInformation,
    data: Vec<u8>,
    encoder: SourceBlockEncoder,
}

impl Block {
    fn new(k: u16, symbol: usize) -> Self {
        let data: Vec<u8> = (0..usize::from(k) * symbol).map(|n| (7 * n + n / 256) as u8).collect();
        let config = ObjectTransmissionInformation::new(data.len() as u64, symbol as u16, 1, 1, 8);
        let plan = SourceBlockEncodingPlan::generate(k);
        let encoder = SourceBlockEncoder::with_encoding_plan(0, &config, &data, &plan);
        Self { config, data, encoder }
    }

    /// What is left of the source symbols, and repair symbols after them, until it is decoded; and whether that gave the
    /// data.
    fn decode(&self, loss: f64, run: u32) -> (Trial, bool) {
        let (mut random, mut trial) = (Random::new(loss, run), Trial::default());
        let mut decoder = SourceBlockDecoder::new(0, &self.config, self.data.len() as u64);
        let mut packets: Vec<EncodingPacket> = self.encoder.source_packets();
        let mut repair = 0;
        loop {
            for packet in packets.drain(..) {
                trial.sent += 1;
                if random.chance(loss) {
                    continue;
                }
                trial.received += 1;
                if let Some(decoded) = decoder.decode([packet]) {
                    return (trial, decoded == self.data);
                }
            }
            packets = self.encoder.repair_packets(repair, 16);
            repair += 16;
        }
    }
}

impl RaptorQ {
    pub fn new(k: u16) -> Result<Self> {
        let encoder = Block::new(k, SHORT);
        ensure!(encoder.decode(0.3, 0).1, "RaptorQ decoded something else");
        Ok(Self { k, encoder, ram: ram(k) })
    }
}

/// The most heap that a decoder took, of pieces of the usual length.
#[cfg(feature = "heap")]
fn ram(k: u16) -> usize {
    /// Counts the whole program's heap.
    #[global_allocator]
    static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

    let block = Block::new(k, PIECE);
    let packets = block.encoder.source_packets();
    let repair = block.encoder.repair_packets(0, packets.len() as u32);
    let mut random = Random::new(0.3, 0);
    let received: Vec<EncodingPacket> =
        packets.into_iter().chain(repair).filter(|_| !random.chance(0.3)).collect();
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut decoder = SourceBlockDecoder::new(0, &block.config, block.data.len() as u64);
    let mut own = 0;
    for packet in received {
        // What the packet is made of came from the test, but belongs to the decoder from now on.
        own += packet.data().len();
        if decoder.decode([packet]).is_some() {
            break;
        }
    }
    own + HEAP.peak_usage().saturating_sub(before)
}

/// What it cannot do without: K received symbols, and as many intermediate ones to solve for.
#[cfg(not(feature = "heap"))]
fn ram(k: u16) -> usize {
    2 * usize::from(k) * PIECE
}

impl Code for RaptorQ {
    fn trial(&self, loss: f64, run: u32) -> Trial {
        debug_assert_eq!(self.encoder.data.len(), usize::from(self.k) * SHORT);
        self.encoder.decode(loss, run).0
    }

    fn fixed_ram(&self) -> Option<usize> {
        Some(self.ram)
    }

    fn ram_is(&self) -> &'static str {
        if cfg!(feature = "heap") { "counted" } else { "at least" }
    }
}
