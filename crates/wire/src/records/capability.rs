//! The capability record: what a node can do.

use heapless::Vec;

use super::proto::{RecordError, Value, Writer, read};

/// Most tasks on offer.
pub const MAX_TASKS: usize = 8;
/// Most links.
pub const MAX_LINKS: usize = 4;
/// Most installed bundles.
pub const MAX_BUNDLES: usize = 4;
/// Longest encoding in bytes; two Record frames carry 360.
pub const MAX_CAPABILITY: usize = 337;

/// Bits of [`CapabilityRecord::accelerators`].
pub mod accelerator {
    /// Graphics processor.
    pub const GPU: u16 = 1;
    /// Neural processor.
    pub const NPU: u16 = 2;
    /// Signal processor instructions.
    pub const DSP: u16 = 4;
}

/// Bits of [`CapabilityRecord::model_families`].
pub mod family {
    /// Linear head on the base encoder: task parts.
    pub const LINEAR: u16 = 1;
    /// Decision trees.
    pub const TREES: u16 = 2;
    /// Q-table.
    pub const Q_TABLE: u16 = 4;
    /// Convolution.
    pub const CONVOLUTION: u16 = 8;
    /// Recurrent.
    pub const RECURRENT: u16 = 16;
    /// Transformer encoder.
    pub const TRANSFORMER: u16 = 32;
    /// Language model.
    pub const LANGUAGE: u16 = 64;
}

/// Bits of [`CapabilityRecord::precisions`].
pub mod precision {
    /// 32-bit float.
    pub const F32: u16 = 1;
    /// 16-bit float.
    pub const F16: u16 = 2;
    /// 8-bit integer.
    pub const INT8: u16 = 4;
    /// 4-bit integer.
    pub const INT4: u16 = 8;
    /// Three values.
    pub const TERNARY: u16 = 16;
}

/// Bits of [`Energy::sources`].
pub mod source {
    /// Battery.
    pub const BATTERY: u8 = 1;
    /// Mains.
    pub const MAINS: u8 = 2;
    /// Solar.
    pub const SOLAR: u8 = 4;
}

/// Values of [`Link::kind`]; others are kept as they are.
pub mod link {
    /// LoRa.
    pub const LORA: u8 = 1;
    /// Bluetooth.
    pub const BLUETOOTH: u8 = 2;
    /// Wi-Fi or Ethernet.
    pub const IP: u8 = 3;
    /// Serial or USB.
    pub const SERIAL: u8 = 4;
    /// MQTT.
    pub const MQTT: u8 = 5;
    /// Satellite.
    pub const SATELLITE: u8 = 6;
}

/// What a node can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityRecord {
    /// Bit of the class masks in manifests, 0..=31.
    pub device_class: u8,
    /// Free memory, KiB.
    pub ram_free_kib: u32,
    /// Free flash for bundles and objects, KiB.
    pub flash_free_kib: u32,
    /// See [`accelerator`].
    pub accelerators: u16,
    /// See [`family`].
    pub model_families: u16,
    /// See [`precision`].
    pub precisions: u16,
    /// Tasks on offer to others.
    pub tasks: Vec<TaskOffer, MAX_TASKS>,
    /// Where its energy comes from.
    pub energy: Energy,
    /// Load when the record was made, 0..=15.
    pub load: u8,
    /// Links.
    pub links: Vec<Link, MAX_LINKS>,
    /// Installed bundles.
    pub bundles: Vec<InstalledBundle, MAX_BUNDLES>,
}

/// A task that a node does for others, and what that costs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffer {
    /// Task.
    pub task: u8,
    /// Kind of job, 0..=15, as in a request.
    pub kind: u8,
    /// Typical time of one job, milliseconds.
    pub time_ms: u32,
    /// Typical energy of one job, millijoules.
    pub energy_mj: u32,
}

/// Energy of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Energy {
    /// See [`source`].
    pub sources: u8,
    /// Battery when the record was made, 0 (empty) ..=15 (full).
    pub battery: u8,
    /// Capacity of the battery, milliwatt-hours.
    pub capacity_mwh: u32,
}

/// A way to reach a node, or through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// See [`link`].
    pub kind: u8,
    /// Usual rate, bits per second.
    pub bits_per_s: u32,
    /// What a kilobyte costs, 1/1000 of the operator's currency unit.
    pub cost_milli_per_kb: u32,
}

/// A bundle that is installed and in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstalledBundle {
    /// Component kind of the manifest.
    pub kind: u8,
    /// Task that it serves; 0 for the whole device.
    pub task: u8,
    /// Sequence number of its manifest.
    pub version: u32,
    /// First 4 bytes of the SHA-256 of its content; of firmware, of the image that runs.
    pub object_tag: u32,
}

impl CapabilityRecord {
    /// Reads a record; unknown fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut record = Self::default();
        read(bytes, |field, value| record.take(field, value))?;
        Ok(record)
    }

    fn take(&mut self, field: u32, value: Value<'_>) -> Result<(), RecordError> {
        match field {
            1 => self.device_class = value.byte(31, "device_class")?,
            2 => self.ram_free_kib = value.number(u32::MAX, "ram_free_kib")?,
            3 => self.flash_free_kib = value.number(u32::MAX, "flash_free_kib")?,
            4 => self.accelerators = value.short("accelerators")?,
            5 => self.model_families = value.short("model_families")?,
            6 => self.precisions = value.short("precisions")?,
            7 => {
                let offer = TaskOffer::decode(value.bytes("tasks")?)?;
                self.tasks.push(offer).map_err(|_| RecordError::TooMany("tasks"))?;
            }
            // A message that comes twice counts as both merged.
            8 => self.energy.merge(value.bytes("energy")?)?,
            9 => self.load = value.byte(15, "load")?,
            10 => {
                let link = Link::decode(value.bytes("links")?)?;
                self.links.push(link).map_err(|_| RecordError::TooMany("links"))?;
            }
            11 => {
                let bundle = InstalledBundle::decode(value.bytes("bundles")?)?;
                self.bundles.push(bundle).map_err(|_| RecordError::TooMany("bundles"))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the canonical encoding and returns its length; [`MAX_CAPABILITY`] bytes are always enough. A value that
    /// [`Self::decode`] would refuse is refused here.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, RecordError> {
        self.check()?;
        let mut w = Writer::new(out);
        w.number(1, self.device_class.into())?;
        w.number(2, self.ram_free_kib)?;
        w.number(3, self.flash_free_kib)?;
        w.number(4, self.accelerators.into())?;
        w.number(5, self.model_families.into())?;
        w.number(6, self.precisions.into())?;
        for offer in &self.tasks {
            w.message(7, |w| offer.write(w))?;
        }
        if self.energy != Energy::default() {
            w.message(8, |w| self.energy.write(w))?;
        }
        w.number(9, self.load.into())?;
        for link in &self.links {
            w.message(10, |w| link.write(w))?;
        }
        for bundle in &self.bundles {
            w.message(11, |w| bundle.write(w))?;
        }
        Ok(w.written())
    }

    fn check(&self) -> Result<(), RecordError> {
        let limits = [
            (self.device_class <= 31, "device_class"),
            (self.tasks.iter().all(|offer| offer.kind <= 15), "kind"),
            (self.energy.battery <= 15, "battery"),
            (self.load <= 15, "load"),
        ];
        match limits.iter().find(|(holds, _)| !holds) {
            Some((_, field)) => Err(RecordError::Field(field)),
            None => Ok(()),
        }
    }

    /// The hash that beacons carry. A record with a value out of range has none.
    pub fn record_hash(&self) -> Result<u32, RecordError> {
        let mut buffer = [0; MAX_CAPABILITY];
        let length = self.encode(&mut buffer)?;
        Ok(super::record_hash(&buffer[..length]))
    }
}

impl TaskOffer {
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut offer = Self::default();
        read(bytes, |field, value| {
            match field {
                1 => offer.task = value.byte(u8::MAX, "task")?,
                2 => offer.kind = value.byte(15, "kind")?,
                3 => offer.time_ms = value.number(u32::MAX, "time_ms")?,
                4 => offer.energy_mj = value.number(u32::MAX, "energy_mj")?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(offer)
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        w.number(1, self.task.into())?;
        w.number(2, self.kind.into())?;
        w.number(3, self.time_ms)?;
        w.number(4, self.energy_mj)
    }
}

impl Energy {
    fn merge(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        read(bytes, |field, value| {
            match field {
                1 => self.sources = value.byte(u8::MAX, "sources")?,
                2 => self.battery = value.byte(15, "battery")?,
                3 => self.capacity_mwh = value.number(u32::MAX, "capacity_mwh")?,
                _ => {}
            }
            Ok(())
        })
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        w.number(1, self.sources.into())?;
        w.number(2, self.battery.into())?;
        w.number(3, self.capacity_mwh)
    }
}

impl Link {
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut link = Self::default();
        read(bytes, |field, value| {
            match field {
                1 => link.kind = value.byte(u8::MAX, "kind")?,
                2 => link.bits_per_s = value.number(u32::MAX, "bits_per_s")?,
                3 => link.cost_milli_per_kb = value.number(u32::MAX, "cost_milli_per_kb")?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(link)
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        w.number(1, self.kind.into())?;
        w.number(2, self.bits_per_s)?;
        w.number(3, self.cost_milli_per_kb)
    }
}

impl InstalledBundle {
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut bundle = Self::default();
        read(bytes, |field, value| {
            match field {
                1 => bundle.kind = value.byte(u8::MAX, "kind")?,
                2 => bundle.task = value.byte(u8::MAX, "task")?,
                3 => bundle.version = value.number(u32::MAX, "version")?,
                4 => bundle.object_tag = value.fixed32("object_tag")?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(bundle)
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        w.number(1, self.kind.into())?;
        w.number(2, self.task.into())?;
        w.number(3, self.version)?;
        w.fixed32(4, self.object_tag)
    }
}
