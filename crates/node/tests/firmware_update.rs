//! A native image is replaced by a delta: received over a lossy link, decoded out of flash, tried, confirmed or reverted, with
//! power cuts on the way.

mod common;

use common::code::code;
use compotastic_bundle::boot::{
    Download, DownloadError, Firmware, ImageError, ImageGeometry, NativeImage, RootSigned, Start, provision,
    start,
};
use compotastic_bundle::ramflash::{Cut, RamFlash, RamFlashError};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delta, Encoder, ImageIdentity, Manifest,
    ObjectIdentity, ObjectReceiver, SliceSource, Target, TrustStore, VerifiedManifest, build_stream,
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_node::image::DeltaImage;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

const CLASS: u8 = 3;
type Flash = RamFlash<65536, 8, 1024>;

/// A manifest, who signed it, and what it is about.
struct Update {
    image: NativeImage,
    bytes: Vec<u8>,
    stream: Vec<u8>,
    manifest: VerifiedManifest,
}

/// The power failed, as planned.
#[derive(Debug)]
struct PowerLost;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn trust() -> TrustStore {
    TrustStore::new(&[key().verifying_key().to_bytes()]).unwrap()
}

fn native(bytes: &[u8], sequence: u32) -> NativeImage {
    NativeImage { digest: Sha256::digest(bytes).into(), size: bytes.len() as u32, sequence, floor: 0 }
}

fn stream(content: &[u8]) -> (Vec<u8>, ObjectIdentity) {
    let mut stream = vec![0; 2 * content.len() + 64];
    let object = build_stream(content, DEFAULT_PIECE_SIZE, &mut stream).unwrap();
    stream.truncate(object.layout.stream_len() as usize);
    (stream, object)
}

fn signed(content: &[u8], image: &NativeImage, delta: Option<Delta>) -> (Vec<u8>, VerifiedManifest) {
    let (stream, object) = stream(content);
    let classes = ClassMask::of(CLASS);
    let manifest =
        Manifest { delta, ..Manifest::of(&object, ComponentKind::Firmware, 0, image.sequence, classes) };
    let claimed = ClaimedManifest::sign(manifest, &key()).unwrap();
    (stream, trust().verify(&claimed).unwrap())
}

/// An old image, and the update that leads from it to the next one.
fn scene() -> (Vec<u8>, Update) {
    let old = code(1, 4_200);
    let mut bytes = old.clone();
    bytes.splice(1_000..1_020, code(2, 140));
    bytes.splice(3_000..3_000, code(3, 60));
    let image = native(&bytes, 2);
    let patch = encode(&old, &bytes, Hint::Unknown).unwrap().bytes;
    assert!(patch.len() < bytes.len() / 4, "{} bytes for {}", patch.len(), bytes.len());
    let result = ImageIdentity { digest: image.digest, size: image.size };
    let replaces = ImageIdentity { digest: native(&old, 1).digest, size: 0 }.digest8();
    let (stream, manifest) = signed(&patch, &image, Some(Delta { replaces, result }));
    (old, Update { image, bytes, stream, manifest })
}

fn geometry() -> ImageGeometry {
    ImageGeometry::packed::<Flash>(0, 1024, 4_500, 1024).unwrap()
}

fn store() -> [core::ops::Range<u32>; 2] {
    let at = geometry().end();
    [at..at + 8192, at + 8192..at + 8192 + 4096]
}

fn device(old: &[u8]) -> Flash {
    let mut flash = Flash::new();
    let image = native(old, 1);
    let (_, manifest) = signed(old, &image, None);
    let proof = manifest.claimed().to_packed();
    let a = geometry().slots[0].start as usize;
    let proof_at = a + old.len().next_multiple_of(16);
    let mut put = |at: usize, bytes: &[u8]| flash.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    put(a, old);
    put(proof_at, &(proof.len() as u16).to_le_bytes());
    put(proof_at + 2, &proof);
    provision(&mut flash, &geometry(), &image).unwrap();
    flash
}

fn lost(flash: &Flash, what: impl core::fmt::Debug) -> PowerLost {
    assert!(!flash.has_power(), "a fault that is no power cut: {what:?}");
    PowerLost
}

fn reset(flash: &mut Flash) -> Result<Start, PowerLost> {
    let trust = trust();
    let voucher = RootSigned { trust: &trust, class: CLASS };
    start(flash, &geometry(), &voucher, &mut [0; 512]).map_err(|e| lost(flash, e))
}

fn receive(
    flash: &mut Flash,
    update: &Update,
) -> Result<core::ops::Range<u32>, DownloadError<RamFlashError>> {
    let installed = Firmware::open(&mut *flash, geometry()).map_err(|_| DownloadError::NotBegun)?.installed();
    let [place, spare] = store();
    let mut download = Download::open(flash, place, spare).unwrap();
    let target = Target {
        class: CLASS,
        kind: ComponentKind::Firmware,
        task: 0,
        base_id: [0; 8],
        flash: geometry().capacity(),
        ram: 0,
        has: Default::default(),
    };
    download.begin(&update.manifest, &target, &installed)?;
    let mut store = download.store().unwrap();
    let object = update.manifest.object();
    let mut rx = ObjectReceiver::resume(object, &mut store).map_err(DownloadError::Flash)?;
    let k = object.layout.generation_len(0);
    // Every second piece is lost, and repaired by what is coded.
    for id in (0..k).rev().step_by(2).chain(k..2 * k) {
        let mut symbol = vec![0; usize::from(DEFAULT_PIECE_SIZE)];
        let encoder = Encoder::new(object.layout, object.tag());
        let len = encoder.symbol(0, id, &mut SliceSource(&update.stream), &mut symbol).unwrap();
        if rx.handle_symbol(0, id, &symbol[..len], &mut store).map_err(DownloadError::Flash)?.complete {
            break;
        }
    }
    download.content()
}

fn install(
    flash: &mut Flash,
    update: &Update,
    object: core::ops::Range<u32>,
) -> Result<(), ImageError<RamFlashError>> {
    let trust = trust();
    let voucher = RootSigned { trust: &trust, class: CLASS };
    let mut firmware = Firmware::open(flash, geometry()).map_err(|_| ImageError::NotBegun)?;
    firmware.begin(&NativeImage::of(&update.manifest).unwrap())?;
    let proof = update.manifest.claimed().to_packed();
    let mut producer = Box::new(DeltaImage::new(&update.image));
    while !firmware.write_page(&mut *producer, object.clone(), &proof, &mut [0; 512])?.is_complete() {}
    firmware.request(&voucher)
}

/// Lives until the update is in force for good, or has failed for good.
fn live(flash: &mut Flash, update: &Update, works: bool) -> Result<u32, PowerLost> {
    for _ in 0..20 {
        let started = reset(flash)?;
        let a = geometry().slots[0].start as usize;
        let running = &flash.bytes()[a..a + started.image.size as usize];
        assert_eq!(<[u8; 32]>::from(Sha256::digest(running)), started.image.digest);
        let mut firmware = Firmware::open(&mut *flash, geometry()).unwrap();
        if started.on_trial {
            let said = if works { firmware.confirm() } else { firmware.fall_back() };
            said.map_err(|e| lost(flash, e))?;
        } else if firmware.installed().floor >= Some(update.image.sequence) {
            return Ok(started.image.sequence);
        } else {
            let object = match receive(flash, update) {
                Ok(object) => object,
                Err(DownloadError::Flash(RamFlashError::NotErased)) => {
                    let [place, spare] = store();
                    let cleared = Download::open(&mut *flash, place, spare).unwrap().clear();
                    cleared.map_err(|e| lost(flash, e))?;
                    continue;
                }
                Err(e) => return Err(lost(flash, e)),
            };
            install(flash, update, object).map_err(|e| lost(flash, e))?;
        }
    }
    panic!("no end");
}

#[test]
fn a_delta_becomes_the_image_that_the_operator_signed() {
    let (old, update) = scene();
    let mut flash = device(&old);
    assert_eq!(live(&mut flash, &update, true).unwrap(), 2);
    let a = geometry().slots[0].start as usize;
    assert_eq!(flash.bytes()[a..a + update.bytes.len()], update.bytes);
}

#[test]
fn a_delta_survives_power_cuts_at_every_operation() {
    let (old, update) = scene();
    let start = device(&old);
    let mut cuts = 0;
    for works in [true, false] {
        let mut whole = start.clone();
        let end = live(&mut whole, &update, works).unwrap();
        assert_eq!(end, if works { 2 } else { 1 });
        let operations = whole.operations() - start.operations();
        for n in 0..operations {
            // Each kind at each operation is what `bench power-cut` does.
            let cut = [Cut::Inside(100), Cut::Unseen, Cut::After][n as usize % 3];
            let mut flash = start.clone();
            flash.cut_after(n, cut);
            live(&mut flash, &update, works).unwrap_err();
            flash.power_on();
            assert_eq!(live(&mut flash, &update, works).unwrap(), end, "{cut:?} at {n}");
            cuts += 1;
        }
        println!("{operations} operations");
    }
    assert!(cuts > 150, "{cuts}");
}

#[test]
fn a_delta_for_another_image_is_not_begun_and_a_wrong_one_not_tried() {
    let (old, update) = scene();
    let other = code(9, 4_200);
    let mut flash = device(&other);
    let refused = receive(&mut flash, &update);
    assert!(matches!(refused, Err(DownloadError::Refused(compotastic_bundle::Refusal::WrongPredecessor))));
    // Signed, but its bytes do not decode: the running image stays.
    let result = ImageIdentity { digest: update.image.digest, size: update.image.size };
    let replaces = ImageIdentity { digest: native(&old, 1).digest, size: 0 }.digest8();
    for content in [vec![0xA5; 700], encode(&other, &update.bytes, Hint::Unknown).unwrap().bytes] {
        let (stream, manifest) = signed(&content, &update.image, Some(Delta { replaces, result }));
        let wrong = Update { image: update.image, bytes: update.bytes.clone(), stream, manifest };
        let mut flash = device(&old);
        let object = receive(&mut flash, &wrong).unwrap();
        assert_eq!(install(&mut flash, &wrong, object), Err(ImageError::Object));
        assert_eq!(reset(&mut flash).unwrap().image.sequence, 1);
    }
}
