//! The flash and RAM maps of ARCHITECTURE.md add up, and what the code needs fits its line.

use std::{collections::BTreeMap, mem::size_of};

use compotastic_bundle::{MAX_SPARE, ObjectReceiver, boot::ImageGeometry};
use compotastic_mesh::{citizen::Citizen, router::Router};
use compotastic_model::Scratch;
use compotastic_node::{Agent, Station, image::DeltaImage, update::PART_MAX};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");

/// Flash that takes no RAM, as a driver's handle does.
struct Handle;

impl ErrorType for Handle {
    type Error = NorFlashErrorKind;
}
impl ReadNorFlash for Handle {
    const READ_SIZE: usize = 1;
    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(NorFlashErrorKind::Other)
    }
    fn capacity(&self) -> usize {
        0
    }
}
impl NorFlash for Handle {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;
    fn erase(&mut self, _: u32, _: u32) -> Result<(), Self::Error> {
        Err(NorFlashErrorKind::Other)
    }
    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), Self::Error> {
        Err(NorFlashErrorKind::Other)
    }
}

/// Lines of the table whose head begins with this name: what, KiB.
fn table(name: &str) -> BTreeMap<String, usize> {
    let head = format!("| {name} | KiB |");
    let lines = ARCHITECTURE.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_string(), cells[1].parse().expect("a number of KiB"))
    });
    rows.collect()
}

fn fits(map: &BTreeMap<String, usize>, line: &str, bytes: usize) {
    println!("{line}: {bytes} of {} bytes", map[line] << 10);
    assert!(bytes <= map[line] << 10, "{line}: {bytes} bytes do not fit {} KiB", map[line]);
}

fn length(path: &str) -> usize {
    std::fs::metadata(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).expect(path).len() as usize
}

#[test]
fn flash_adds_up_to_a_megabyte_and_holds_what_it_has_to() {
    let map = table("flash");
    assert_eq!(map.values().sum::<usize>(), 1024);
    fits(&map, "base encoder", length("edge/assets/encoders/base-v1.bin"));
    assert!(length("text/tables/text-v1.bin") <= 64 << 10);
    // Two slots, each with a part, its hash entries, spare symbols, and the rounding to sectors.
    fits(&map, "object store", 2 * (PART_MAX + 512 + 48 * 192 + 2 * Handle::ERASE_SIZE));
}

/// Slots of native images: one page of slot B stays free, and what is left of the object store holds the object that makes an
/// image, with its spare symbols.
#[test]
fn images_and_what_they_are_made_of_fit() {
    let map = table("flash");
    let (a, b) = (map["image A"] << 10, map["image B"] << 10);
    assert_eq!(a, b, "slots are exchanged");
    let page = Handle::ERASE_SIZE;
    let start = (map["boot"] << 10) as u32;
    let longest = (a - page - 512) as u32;
    let geometry =
        ImageGeometry::packed::<Handle>(start, page as u32, longest, page as u32).expect("it fits");
    assert_eq!(geometry.slots[0].len(), a);
    assert_eq!(geometry.capacity(), longest);
    fits(&map, "keys, state and log", geometry.log.len() + 4 * page);
    let parts = 2 * (PART_MAX + 512 + 48 * 192 + 2 * page);
    let left = (map["object store"] << 10) - parts;
    let spare = (MAX_SPARE * 192).next_multiple_of(page);
    println!("left for an object: {} bytes", left - spare);
    // Patches between minor releases of firmware of this size take 4 to 14 KB. A whole image does not fit: it comes as a
    // delta, or by a cable.
    assert!(left - spare > 24 << 10);
}

#[test]
fn ram_adds_up_to_256_kib_and_holds_the_core() {
    let map = table("RAM");
    assert_eq!(map.values().sum::<usize>(), 256);
    fits(&map, "router", size_of::<Router>());
    fits(&map, "agent", size_of::<Agent<'_, Handle>>());
    // The decoder of deltas lies where the receiver of objects does: there is no room for both.
    let both = size_of::<DeltaImage>().min(size_of::<ObjectReceiver>());
    assert!(size_of::<Agent<'_, Handle>>() + both > map["agent"] << 10, "the map is too generous");
    fits(&map, "inference and coding scratch", size_of::<Scratch>() + 16 * 1024);
    fits(&map, "citizen", size_of::<Citizen>());
    // The station is the three and the stock modules.
    assert!(size_of::<Station<'_, Handle>>() <= (map["router"] + map["agent"] + map["citizen"]) << 10);
}
