//! A boot loader starts whole, verified images only, tries a new one, goes back when it fails, and never to what the
//! floor forbids.

mod common;

use common::{CLASS, content, public, root_key};
use compotastic_bundle::boot::{
    BootError, Firmware, IMAGE_TRIAL_STARTS, ImageBegun, ImageError, ImageGeometry, ImageProducer, Inputs,
    LogTrusted, Mended, NativeImage, ProduceError, RootSigned, Start, Voucher, WholeImage, provision, start,
};
use compotastic_bundle::ramflash::RamFlash;
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, Manifest, TrustStore, build_stream,
};
use ed25519_dalek::SigningKey;
use embedded_storage::nor_flash::ReadNorFlash;

type Flash = RamFlash<65536, 8, 1024>;

/// Where the object lies: above the images.
const OBJECT: u32 = 48 * 1024;

fn geometry() -> ImageGeometry {
    ImageGeometry::packed::<Flash>(0, 1024, 8000, 2048).unwrap()
}

struct Image {
    bytes: Vec<u8>,
    identity: NativeImage,
    proof: Vec<u8>,
}

fn signed(sequence: u32, len: usize, key: &SigningKey, change: impl Fn(&mut Manifest)) -> Image {
    let bytes = content(len, u64::from(sequence));
    let object = build_stream(&bytes, 176, &mut vec![0; 2 * len + 64]).unwrap();
    let mut manifest = Manifest::of(&object, ComponentKind::Firmware, 0, sequence, ClassMask::of(CLASS));
    change(&mut manifest);
    let proof = ClaimedManifest::sign(manifest, key).unwrap().to_packed().to_vec();
    let identity = NativeImage { digest: object.digest, size: len as u32, sequence, floor: 0 };
    Image { bytes, identity, proof }
}

fn delta_to(digest: [u8; 32], size: u32) -> Delta {
    Delta { replaces: [1; 8], result: ImageIdentity { digest, size } }
}

fn image(sequence: u32) -> Image {
    signed(sequence, 5000 + 131 * sequence as usize, &root_key(), |_| {})
}

fn roots() -> TrustStore {
    TrustStore::new(&[public(&root_key())]).unwrap()
}

/// A device whose programmer has put this image, and its proof, into slot A.
fn device(image: &Image) -> Flash {
    let mut flash = Flash::new();
    let a = geometry().slots[0].start as usize;
    let proof_at = a + image.bytes.len().next_multiple_of(16);
    flash.bytes_mut()[a..a + image.bytes.len()].copy_from_slice(&image.bytes);
    flash.bytes_mut()[proof_at..proof_at + 2].copy_from_slice(&(image.proof.len() as u16).to_le_bytes());
    flash.bytes_mut()[proof_at + 2..proof_at + 2 + image.proof.len()].copy_from_slice(&image.proof);
    provision(&mut flash, &geometry(), &image.identity).unwrap();
    flash
}

fn reset_by(flash: &mut Flash, voucher: &impl Voucher) -> Result<Start, BootError<RamError>> {
    let started = start(flash, &geometry(), voucher, &mut [0; 256])?;
    let a = geometry().slots[0].start as usize;
    let running = sha256(&flash.bytes()[a..a + started.image.size as usize]);
    assert_eq!(running, started.image.digest, "what runs is what was named");
    Ok(started)
}

type RamError = compotastic_bundle::ramflash::RamFlashError;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

fn reset(flash: &mut Flash) -> Start {
    reset_by(flash, &LogTrusted).unwrap()
}

fn app(flash: &mut Flash) -> Firmware<&mut Flash> {
    Firmware::open(flash, geometry()).unwrap()
}

fn put_object(flash: &mut Flash, object: &[u8]) -> core::ops::Range<u32> {
    flash.bytes_mut()[OBJECT as usize..OBJECT as usize + object.len()].copy_from_slice(object);
    OBJECT..OBJECT + object.len() as u32
}

fn write(flash: &mut Flash, image: &Image) -> Result<(), ImageError<RamError>> {
    let object = put_object(flash, &image.bytes);
    let mut firmware = app(flash);
    firmware.begin(&image.identity)?;
    let mut producer = WholeImage::default();
    let mut buffer = [0; 100];
    while !firmware.write_page(&mut producer, object.clone(), &image.proof, &mut buffer)?.is_complete() {}
    firmware.request(&LogTrusted)
}

fn on_trial(old: &Image, new: &Image) -> Flash {
    let mut flash = device(old);
    write(&mut flash, new).unwrap();
    flash
}

#[test]
fn update_after_update() {
    let mut flash = device(&image(1));
    assert_eq!(provision(&mut flash, &geometry(), &image(1).identity), Err(BootError::Provisioned));
    for sequence in 2..30 {
        let new = image(sequence);
        write(&mut flash, &new).unwrap();
        let started = reset(&mut flash);
        assert_eq!(started, Start { image: new.identity, on_trial: true, mended: None });
        let mut firmware = app(&mut flash);
        assert!(firmware.on_trial() && !firmware.wants_reset());
        assert_eq!(firmware.begin(&image(sequence + 1).identity), Err(ImageError::OnTrial));
        assert!(
            firmware.confirm().unwrap() && !firmware.confirm().unwrap() && !firmware.fall_back().unwrap()
        );
        let started = reset(&mut flash);
        assert_eq!(started, Start { image: new.identity, on_trial: false, mended: None });
    }
}

#[test]
fn a_failed_self_test_brings_the_old_image_back() {
    let (one, two, three) = (image(1), image(2), image(3));
    let mut flash = on_trial(&one, &two);
    assert!(reset(&mut flash).on_trial);
    let mut firmware = app(&mut flash);
    assert_eq!(*firmware.running(), two.identity);
    assert!(firmware.fall_back().unwrap() && firmware.wants_reset() && !firmware.confirm().unwrap());
    assert_eq!(*firmware.running(), two.identity, "until the reset");
    let mended = Some(Mended::Reverted { failed: two.identity });
    assert_eq!(reset(&mut flash), Start { image: one.identity, on_trial: false, mended });
    assert_eq!(reset(&mut flash).mended, None);
    assert_eq!(write(&mut flash, &two), Err(ImageError::Rollback { have: 2, offered: 2 }));
    write(&mut flash, &three).unwrap();
    assert_eq!(reset(&mut flash).image, three.identity);
}

#[test]
fn an_image_that_hangs_is_reverted() {
    let (one, two) = (image(1), image(2));
    let mut flash = on_trial(&one, &two);
    for left in (0..IMAGE_TRIAL_STARTS).rev() {
        assert_eq!(reset(&mut flash).image, two.identity);
        assert_eq!(app(&mut flash).trial_starts_left(), left);
    }
    let mended = Some(Mended::Reverted { failed: two.identity });
    assert_eq!(reset(&mut flash), Start { image: one.identity, on_trial: false, mended });
}

#[test]
fn nothing_older_and_nothing_below_the_floor_is_started() {
    let (one, two, three) = (image(1), image(2), image(3));
    // The floor of a trial is not in force before it is confirmed: its predecessor, below it, comes back.
    let strict = Image { identity: NativeImage { floor: 2, ..two.identity }, ..two };
    let mut flash = on_trial(&one, &strict);
    reset(&mut flash);
    app(&mut flash).fall_back().unwrap();
    assert_eq!(reset(&mut flash).image, one.identity);
    assert_eq!(app(&mut flash).floor(), 0);
    // And after the confirmation it stands: what was replaced does not come back, though it is whole in slot B.
    let strict = Image { identity: NativeImage { floor: 3, ..three.identity }, ..three };
    write(&mut flash, &strict).unwrap();
    reset(&mut flash);
    app(&mut flash).confirm().unwrap();
    assert_eq!(app(&mut flash).floor(), 3);
    for old in [&one, &image(2), &strict] {
        assert!(matches!(write(&mut flash, old), Err(ImageError::Rollback { have: 3, .. })));
    }
    let a = geometry().slots[0].start as usize;
    flash.bytes_mut()[a + 1000] ^= 8;
    assert_eq!(reset_by(&mut flash, &LogTrusted), Err(BootError::NothingToStart));
    flash.bytes_mut()[a + 1000] ^= 8;
    assert_eq!(reset(&mut flash).image, strict.identity, "nothing was changed meanwhile");
    let senseless = NativeImage { sequence: 9, floor: 10, ..one.identity };
    assert_eq!(app(&mut flash).begin(&senseless), Err(ImageError::Size));
}

#[test]
fn a_damaged_image_in_force_is_replaced_by_its_predecessor() {
    let (one, two) = (image(1), image(2));
    let mut flash = on_trial(&one, &two);
    reset(&mut flash);
    app(&mut flash).confirm().unwrap();
    let a = geometry().slots[0].start as usize;
    flash.bytes_mut()[a + 3000] ^= 1;
    let mended = Some(Mended::Restored { damaged: two.identity });
    assert_eq!(reset(&mut flash), Start { image: one.identity, on_trial: false, mended });
    // The same one may come again.
    write(&mut flash, &two).unwrap();
    assert_eq!(reset(&mut flash).image, two.identity);
}

#[test]
fn damage_before_and_during_a_trial() {
    let (one, two) = (image(1), image(2));
    let (a, b) = (geometry().slots[0].start as usize, geometry().slots[1].start as usize);
    // In slot B, while it waits for the reset.
    let mut flash = on_trial(&one, &two);
    flash.bytes_mut()[b + 100] ^= 1;
    assert_eq!(reset(&mut flash), Start { image: one.identity, on_trial: false, mended: None });
    write(&mut flash, &two).unwrap();
    // In slot A, on trial.
    reset(&mut flash);
    flash.bytes_mut()[a + 100] ^= 1;
    assert_eq!(reset(&mut flash).image, one.identity);
    // In slot B, where the predecessor waits: then there is no way back, and the trial goes on without end.
    let mut flash = on_trial(&one, &two);
    reset(&mut flash);
    let up = b + geometry().page as usize;
    flash.bytes_mut()[up + 100] ^= 1;
    for _ in 0..2 * IMAGE_TRIAL_STARTS {
        assert_eq!(reset(&mut flash).image, two.identity);
    }
    app(&mut flash).fall_back().unwrap();
    assert_eq!(reset(&mut flash).image, two.identity);
    app(&mut flash).confirm().unwrap();
    assert!(!reset(&mut flash).on_trial);
}

#[test]
fn only_what_a_root_key_signed_for_this_class_is_started() {
    let (trust, other) = (roots(), SigningKey::from_bytes(&[0x77; 32]));
    let voucher = RootSigned { trust: &trust, class: CLASS };
    let (one, two) = (image(1), image(2));
    let len = two.bytes.len();
    let wrong = [
        ("no proof", Image { proof: Vec::new(), ..signed(2, len, &root_key(), |_| {}) }),
        ("another key", signed(2, len, &other, |_| {})),
        ("another class", signed(2, len, &root_key(), |m| m.classes = ClassMask::of(CLASS + 1))),
        ("another kind", signed(2, len, &root_key(), |m| m.kind = ComponentKind::Logic)),
        ("another image", signed(2, len, &root_key(), |m| m.digest[0] ^= 1)),
        ("another sequence", signed(2, len, &root_key(), |m| m.sequence = 3)),
        ("another floor", signed(2, len, &root_key(), |m| m.floor = 1)),
        ("a delta for another", signed(2, len, &root_key(), |m| m.delta = Some(delta_to([9; 32], 77)))),
    ];
    for (what, image) in wrong {
        // The application asks the same question before it asks for the trial ...
        let mut flash = device(&one);
        let object = put_object(&mut flash, &image.bytes);
        let mut firmware = app(&mut flash);
        firmware.begin(&image.identity).unwrap();
        let mut producer = WholeImage::default();
        while !firmware
            .write_page(&mut producer, object.clone(), &image.proof, &mut [0; 64])
            .unwrap()
            .is_complete()
        {}
        assert_eq!(firmware.request(&voucher), Err(ImageError::NotVerified), "{what}");
        assert!(!firmware.wants_reset());
        // ... and the boot loader does not take its word.
        write(&mut flash, &image).unwrap();
        let started = reset_by(&mut flash, &voucher).unwrap();
        assert_eq!(started, Start { image: one.identity, on_trial: false, mended: None }, "{what}");
    }
    // The manifest of a delta is a proof of what it makes.
    let (digest, size) = (two.identity.digest, two.identity.size);
    let made = signed(2, len, &root_key(), |m| {
        (m.digest, m.delta) = ([3; 32], Some(delta_to(digest, size)));
    });
    for proven in [two, made] {
        let mut flash = on_trial(&one, &proven);
        assert_eq!(reset_by(&mut flash, &voucher).unwrap().image, proven.identity);
    }
    let mut flash = on_trial(&one, &image(2));
    assert_eq!(reset_by(&mut flash, &voucher).unwrap().image.sequence, 2);
    app(&mut flash).fall_back().unwrap();
    assert_eq!(reset_by(&mut flash, &voucher).unwrap().image, one.identity);
}

#[test]
fn writing_goes_on_after_a_restart() {
    let (one, two) = (image(1), image(2));
    let mut flash = device(&one);
    let object = put_object(&mut flash, &two.bytes);
    let mut firmware = app(&mut flash);
    let mut buffer = [0; 2048];
    let none = firmware.write_page(&mut WholeImage::default(), object.clone(), &two.proof, &mut buffer);
    assert_eq!(none, Err(ImageError::NotBegun));
    assert_eq!(firmware.begin(&two.identity), Ok(ImageBegun::Fresh));
    let mut producer = WholeImage::default();
    firmware.write_page(&mut producer, object.clone(), &two.proof, &mut buffer).unwrap();
    firmware.write_page(&mut producer, object.clone(), &two.proof, &mut buffer).unwrap();
    assert_eq!(firmware.request(&LogTrusted), Err(ImageError::Incomplete));
    assert_eq!(reset(&mut flash).image, one.identity);
    let before = flash.written();
    let mut firmware = app(&mut flash);
    assert_eq!(firmware.candidate(), Some(&two.identity));
    assert_eq!(firmware.begin(&two.identity), Ok(ImageBegun::Resumed { page: 2 }));
    let mut producer = WholeImage::default();
    while !firmware.write_page(&mut producer, object.clone(), &two.proof, &mut buffer).unwrap().is_complete()
    {
    }
    firmware.request(&LogTrusted).unwrap();
    assert_eq!(reset(&mut flash).image, two.identity);
    assert!(flash.written() > before);
    // Something else is announced: from the first page.
    let mut flash = device(&one);
    let object = put_object(&mut flash, &two.bytes);
    let mut firmware = app(&mut flash);
    firmware.begin(&two.identity).unwrap();
    firmware.write_page(&mut WholeImage::default(), object, &two.proof, &mut buffer).unwrap();
    assert_eq!(firmware.begin(&image(3).identity), Ok(ImageBegun::Fresh));
    assert!(firmware.abandon().unwrap() && firmware.candidate().is_none());
}

/// Each byte is the one 48 before plus one; the first 48 are the object.
#[derive(Default)]
struct Growing {
    at: u32,
}

impl ImageProducer for Growing {
    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>> {
        assert!(!inputs.read_new(self.at, &mut [0]).unwrap(), "not made yet");
        // Odd counts, so that reads straddle what is in flash and what is not.
        let count = out.len().min(37);
        let out = &mut out[..count];
        if self.at < 48 {
            assert!(inputs.read_object(self.at, &mut out[..1]).unwrap());
            self.at += 1;
            return Ok(1);
        }
        assert!(inputs.read_new(self.at - 48, out).unwrap());
        out.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        self.at += count as u32;
        Ok(count)
    }
}

#[test]
fn an_image_can_be_made_of_itself() {
    let seed = content(48, 5);
    let bytes: Vec<u8> = (0..6000).map(|n| seed[n % 48].wrapping_add((n / 48) as u8)).collect();
    let identity = NativeImage { digest: sha256(&bytes), size: 6000, sequence: 2, floor: 0 };
    let mut flash = device(&image(1));
    let object = put_object(&mut flash, &seed);
    for buffer in [16, 32, 48, 100, 1000, 4000] {
        let mut flash = flash.clone();
        let mut buffer = vec![0; buffer];
        let mut firmware = app(&mut flash);
        firmware.begin(&identity).unwrap();
        firmware.write_page(&mut Growing::default(), object.clone(), &[], &mut buffer).unwrap();
        // After a restart as well.
        let mut firmware = app(&mut flash);
        firmware.begin(&identity).unwrap();
        let mut producer = Growing::default();
        while !firmware.write_page(&mut producer, object.clone(), &[], &mut buffer).unwrap().is_complete() {}
        firmware.request(&LogTrusted).unwrap();
        assert_eq!(reset(&mut flash).image, identity);
    }
}

#[test]
fn objects_that_do_not_make_the_image() {
    let (one, two) = (image(1), image(2));
    let mut flash = device(&one);
    let object = put_object(&mut flash, &two.bytes);
    let mut firmware = app(&mut flash);
    let mut buffer = [0; 256];
    // Too short.
    firmware.begin(&two.identity).unwrap();
    let mut producer = WholeImage::default();
    let short = object.start..object.end - 1;
    let ended = loop {
        if let Err(e) = firmware.write_page(&mut producer, short.clone(), &two.proof, &mut buffer) {
            break e;
        }
    };
    assert_eq!(ended, ImageError::Object);
    let again = firmware.write_page(&mut producer, short, &two.proof, &mut buffer);
    assert_eq!(again, Err(ImageError::NotBegun), "the producer has gone on, so it begins anew");
    // Other bytes.
    firmware.begin(&two.identity).unwrap();
    let mut producer = WholeImage::default();
    let shifted = object.start + 16..object.end + 16;
    loop {
        match firmware.write_page(&mut producer, shifted.clone(), &two.proof, &mut buffer) {
            Ok(progress) if progress.is_complete() => break,
            Ok(_) => {}
            // The first pages are there already, and differ.
            Err(e) => {
                assert_eq!(e, ImageError::Changed);
                firmware.begin(&two.identity).unwrap();
                producer = WholeImage::default();
            }
        }
    }
    assert_eq!(firmware.request(&LogTrusted), Err(ImageError::NotVerified));
    assert!(firmware.candidate().is_none());
    let far = 65_000..70_000;
    firmware.begin(&two.identity).unwrap();
    let refused = firmware.write_page(&mut WholeImage::default(), far, &two.proof, &mut buffer);
    assert_eq!(refused, Err(ImageError::Arguments));
    assert_eq!(reset(&mut flash).image, one.identity);
}

#[test]
fn geometries() {
    let good = geometry();
    assert_eq!(good.capacity(), 5 * 2048 - 512);
    let mut flash = Flash::new();
    let (one, shift) = (image(1), |r: &core::ops::Range<u32>, by: u32| r.start + by..r.end + by);
    let bad = [
        ImageGeometry { page: 1000, ..good.clone() },
        ImageGeometry { page: 0, ..good.clone() },
        ImageGeometry { log: 0..1024, ..good.clone() },
        ImageGeometry { log: shift(&good.log, 1024), ..good.clone() },
        ImageGeometry { slots: [good.slots[0].clone(), shift(&good.slots[1], 512)], ..good.clone() },
        ImageGeometry { slots: [good.slots[0].clone(), shift(&good.slots[1], 1 << 20)], ..good.clone() },
        ImageGeometry { slots: [good.slots[0].clone(), good.slots[0].clone()], ..good.clone() },
    ];
    for geometry in bad {
        assert_eq!(provision(&mut flash, &geometry, &one.identity), Err(BootError::Geometry), "{geometry:?}");
    }
    assert_eq!(start(&mut flash, &good, &LogTrusted, &mut [0; 64]), Err(BootError::NotProvisioned));
    let large = NativeImage { size: good.capacity() + 1, ..one.identity };
    assert_eq!(provision(&mut flash, &good, &large), Err(BootError::NothingToStart));
    let mut flash = device(&one);
    assert_eq!(start(&mut flash, &good, &LogTrusted, &mut [0; 8]), Err(BootError::Geometry));
    assert_eq!(app(&mut flash).begin(&NativeImage { sequence: 5, ..large }), Err(ImageError::Size));
}
