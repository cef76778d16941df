//! Power fails before, inside and after every single flash operation of an update, and again during the recovery:
//! the device always comes up with whole, verified content, and the update can always be finished.

mod common;

use common::{Bundle, Flash, content, geometry, target, trust};
use compotastic_bundle::ramflash::{Cut, RamFlashError};
use compotastic_bundle::{BeginError, ObjectReceiver, SlotError, Slots, SwitchError};

/// Why a script ended early: power, and nothing else.
#[derive(Debug)]
struct PowerLost;

fn lost(e: RamFlashError) -> PowerLost {
    assert_eq!(e, RamFlashError::NoPower, "a fault that is no power cut");
    PowerLost
}

fn open(flash: &mut Flash) -> Result<Slots<&mut Flash>, PowerLost> {
    Slots::open(flash, geometry()).map_err(|e| match e {
        SlotError::Flash(e) => lost(e),
        SlotError::Geometry => panic!("geometry"),
    })
}

/// Receives what is missing of a bundle, in a mix of coded and uncoded symbols of which some are lost, and puts it
/// on trial. Does nothing if that has been done.
fn update(flash: &mut Flash, bundle: &Bundle, salt: u16) -> Result<(), PowerLost> {
    let mut slots = open(flash)?;
    if let Some(pending) = slots.pending().map_err(lost)? {
        trust().verify(&pending).expect("what was stored was verified");
    }
    match slots.begin(&bundle.manifest, Some(&target())) {
        Ok(_) => {}
        Err(BeginError::Flash(e)) => return Err(lost(e)),
        // It is in force already.
        Err(_) => return Ok(()),
    }
    let mut store = slots.store().unwrap();
    let object = bundle.manifest.object();
    let mut rx = ObjectReceiver::resume(object, &mut store).map_err(lost)?;
    let k = object.layout.generation_len(0);
    let pieces = (0..k).rev().filter(|id| !(id + salt).is_multiple_of(3));
    for id in pieces.chain(k + 100 * salt..) {
        if rx.handle_symbol(0, id, &bundle.symbol(0, id), &mut store).map_err(lost)?.complete {
            break;
        }
        assert!(id < k + 100 * salt + 99, "enough symbols");
    }
    rx.finish(&mut store).expect("complete");
    match slots.switch() {
        Ok(_) => Ok(()),
        Err(SwitchError::Flash(e)) => Err(lost(e)),
        Err(e) => panic!("{e:?}"),
    }
}

fn confirm(flash: &mut Flash) -> Result<(), PowerLost> {
    open(flash)?.confirm().map(|_| ()).map_err(lost)
}

fn fall_back(flash: &mut Flash) -> Result<(), PowerLost> {
    open(flash)?.fall_back().map(|_| ()).map_err(lost)
}

/// Sequence of the content in force, which must be one of these bundles, byte for byte. Looks at a copy: each start
/// counts against a trial.
fn sequence_in_force(flash: &Flash, bundles: &[&Bundle]) -> Option<u32> {
    let mut copy = flash.clone();
    let slots = open(&mut copy).unwrap();
    let active = slots.active()?;
    let bundle =
        bundles.iter().find(|b| b.manifest.sequence == active.manifest.sequence).expect("one of them");
    let content = active.content.start as usize..active.content.end as usize;
    assert_eq!(slots.flash().bytes()[content], bundle.content);
    Some(active.manifest.sequence)
}

const CUTS: [Cut; 6] =
    [Cut::Before, Cut::Inside(0), Cut::Inside(60), Cut::Inside(140), Cut::Inside(250), Cut::After];

/// Runs `script` with each cut at each operation. After each: what is in force must be in `allowed`; then `then` runs
/// to the end without a cut and must leave `finally` in force.
fn cut_everywhere(
    start: &Flash,
    bundles: &[&Bundle],
    allowed: &[u32],
    finally: u32,
    script: impl Fn(&mut Flash) -> Result<(), PowerLost>,
    then: impl Fn(&mut Flash) -> Result<(), PowerLost>,
) -> u64 {
    let mut whole = start.clone();
    script(&mut whole).unwrap();
    let operations = whole.operations() - start.operations();
    for n in 0..operations {
        for cut in CUTS {
            let mut flash = start.clone();
            flash.cut_after(n, cut);
            script(&mut flash).unwrap_err();
            flash.power_on();
            let sequence = sequence_in_force(&flash, bundles);
            assert!(sequence.is_some_and(|s| allowed.contains(&s)), "{sequence:?} after {cut:?} at {n}");
            then(&mut flash).unwrap();
            assert_eq!(sequence_in_force(&flash, bundles), Some(finally), "after {cut:?} at {n}");
        }
    }
    operations
}

fn bundles() -> [Bundle; 3] {
    [Bundle::new(content(1500, 1), 1), Bundle::new(content(1700, 2), 2), Bundle::new(content(1600, 3), 3)]
}

fn installed(bundles: &[&Bundle]) -> Flash {
    let mut flash = Flash::new();
    for bundle in bundles {
        update(&mut flash, bundle, 1).unwrap();
        confirm(&mut flash).unwrap();
    }
    flash
}

#[test]
fn during_an_update() {
    let [one, two, three] = bundles();
    let all = [&one, &two, &three];
    let operations = cut_everywhere(
        &installed(&[&one, &two]),
        &all,
        &[2, 3],
        3,
        |f| update(f, &three, 1).and_then(|()| confirm(f)),
        |f| update(f, &three, 2).and_then(|()| confirm(f)),
    );
    println!("{operations} flash operations in an update, {} cuts each", CUTS.len());
    assert!(operations > 20);
}

#[test]
fn during_a_fallback() {
    let [one, two, three] = bundles();
    let all = [&one, &two, &three];
    let mut start = installed(&[&one]);
    update(&mut start, &two, 1).unwrap();
    let operations = cut_everywhere(&start, &all, &[1, 2], 3, fall_back, |f| {
        fall_back(f).and_then(|()| update(f, &three, 2)).and_then(|()| confirm(f))
    });
    assert!(operations >= 2);
}

#[test]
fn during_the_first_installation() {
    let [one, ..] = bundles();
    let all = [&one];
    let mut whole = Flash::new();
    update(&mut whole, &one, 1).unwrap();
    for n in 0..whole.operations() {
        for cut in CUTS {
            let mut flash = Flash::new();
            flash.cut_after(n, cut);
            update(&mut flash, &one, 1).unwrap_err();
            flash.power_on();
            assert!(sequence_in_force(&flash, &all).is_none_or(|s| s == 1));
            update(&mut flash, &one, 2).and_then(|()| confirm(&mut flash)).unwrap();
            assert_eq!(sequence_in_force(&flash, &all), Some(1));
        }
    }
}

/// A cut, and a second one at every operation of what follows.
#[test]
fn during_the_recovery_from_a_cut() {
    let [one, two, three] = bundles();
    let all = [&one, &two, &three];
    let start = installed(&[&one, &two]);
    let mut whole = start.clone();
    update(&mut whole, &three, 1).unwrap();
    let operations = whole.operations() - start.operations();
    for (n, cut) in
        (0..operations).step_by(3).zip([Cut::Inside(90), Cut::Inside(200), Cut::Before].iter().cycle())
    {
        let mut cut_once = start.clone();
        cut_once.cut_after(n, *cut);
        update(&mut cut_once, &three, 1).unwrap_err();
        cut_once.power_on();
        cut_everywhere(
            &cut_once,
            &all,
            &[2, 3],
            3,
            |f| update(f, &three, 2),
            |f| update(f, &three, 3).and_then(|()| confirm(f)),
        );
    }
}

/// The log goes round its pages many times; a cut in any append or page change never loses the state.
#[test]
fn while_the_log_wraps() {
    let [one, two, _] = bundles();
    let all = [&one, &two];
    let mut start = installed(&[&one]);
    update(&mut start, &two, 1).unwrap();
    confirm(&mut start).unwrap();
    let mut sequence = 10;
    let mut erased = start.erased_pages();
    let mut wraps = 0;
    while wraps < 3 {
        sequence += 1;
        let bundle = Bundle::new(content(600, u64::from(sequence)), sequence);
        let before = start.clone();
        update(&mut start, &bundle, 1).unwrap();
        fall_back(&mut start).unwrap();
        let slot_pages = 2 * geometry().slots[0].len() as u64 / 2048;
        let log_wrapped =
            start.erased_pages() - erased > slot_pages / 2 + geometry().spare.len() as u64 / 2048;
        erased = start.erased_pages();
        if log_wrapped {
            wraps += 1;
            let all = [all[0], all[1], &bundle];
            cut_everywhere(
                &before,
                &all,
                &[2, sequence],
                2,
                |f| update(f, &bundle, 1).and_then(|()| fall_back(f)),
                fall_back,
            );
        }
        assert!(sequence < 400);
    }
}
