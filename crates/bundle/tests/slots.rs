//! A device runs whole, verified content, takes only newer, and goes back when the new one fails.

mod common;

use common::{Bundle, CLASS, Flash, content, geometry, target};
use compotastic_bundle::{
    BeginError, Begun, Encoder, Geometry, MAX_TRIAL_BOOTS, ObjectReceiver, Refusal, SlotError, Slots,
    SwitchError, Target,
};

fn open(flash: Flash) -> Slots<Flash> {
    Slots::open(flash, geometry()).unwrap()
}

fn restart(slots: Slots<Flash>) -> Slots<Flash> {
    open(slots.into_flash())
}

fn receive(slots: &mut Slots<Flash>, bundle: &Bundle) {
    slots.begin(&bundle.manifest, Some(&target())).unwrap();
    let mut store = slots.store().unwrap();
    let mut rx = ObjectReceiver::resume(bundle.manifest.object(), &mut store).unwrap();
    for (g, id) in bundle.pieces() {
        rx.handle_symbol(g, id, &bundle.symbol(g, id), &mut store).unwrap();
    }
    rx.finish(&mut store).unwrap();
}

fn install(slots: &mut Slots<Flash>, bundle: &Bundle) {
    receive(slots, bundle);
    slots.switch().unwrap();
    assert!(slots.confirm().unwrap());
}

fn assert_active(slots: &Slots<Flash>, bundle: &Bundle, on_trial: bool) {
    let active = slots.active().unwrap();
    assert_eq!(active.manifest, *bundle.manifest.manifest());
    assert_eq!(active.on_trial, on_trial);
    let content = active.content.start as usize..active.content.end as usize;
    assert_eq!(slots.flash().bytes()[content], bundle.content);
}

#[test]
fn install_restart_install() {
    let mut slots = open(Flash::new());
    assert!(slots.active().is_none());
    for sequence in 1..40 {
        let bundle = Bundle::new(content(4000 + sequence as usize, u64::from(sequence)), sequence);
        install(&mut slots, &bundle);
        assert_active(&slots, &bundle, false);
        slots = restart(slots);
        assert_active(&slots, &bundle, false);
        assert_eq!(slots.active().unwrap().slot, (1 - sequence % 2) as u8, "slots take turns");
        let again = slots.begin(&bundle.manifest, Some(&target()));
        assert_eq!(again, Err(BeginError::Refused(Refusal::Rollback { have: sequence, offered: sequence })));
    }
}

#[test]
fn a_trial_ends_well_or_badly() {
    let bundles: Vec<Bundle> = (1..=4).map(|n| Bundle::new(content(900, n), n as u32)).collect();
    let mut slots = open(Flash::new());
    assert!(!slots.confirm().unwrap() && !slots.fall_back().unwrap(), "nothing is on trial");
    install(&mut slots, &bundles[0]);
    receive(&mut slots, &bundles[1]);
    assert_active(&slots, &bundles[0], false);
    slots.switch().unwrap();
    assert_active(&slots, &bundles[1], true);
    slots = restart(slots);
    assert_active(&slots, &bundles[1], true);
    // The fallback is in the other slot: it is not to be written over.
    assert_eq!(slots.begin(&bundles[2].manifest, Some(&target())), Err(BeginError::OnTrial));
    assert!(slots.fall_back().unwrap());
    assert_active(&slots, &bundles[0], false);
    slots = restart(slots);
    assert_active(&slots, &bundles[0], false);
    // What failed is not tried again, what is newer is.
    let failed = slots.begin(&bundles[1].manifest, Some(&target()));
    assert_eq!(failed, Err(BeginError::Refused(Refusal::Rollback { have: 2, offered: 2 })));
    install(&mut slots, &bundles[2]);
    assert_active(&slots, &bundles[2], false);
    let old = slots.begin(&bundles[0].manifest, Some(&target()));
    assert_eq!(old, Err(BeginError::Refused(Refusal::Rollback { have: 3, offered: 1 })));
}

#[test]
fn a_trial_that_nobody_confirms_ends_by_itself() {
    let (one, two) = (Bundle::new(content(900, 1), 1), Bundle::new(content(900, 2), 2));
    let mut slots = open(Flash::new());
    install(&mut slots, &one);
    receive(&mut slots, &two);
    slots.switch().unwrap();
    for _ in 0..MAX_TRIAL_BOOTS {
        slots = restart(slots);
        assert_active(&slots, &two, true);
    }
    slots = restart(slots);
    assert_eq!(slots.recovery().expired, Some(2));
    assert_active(&slots, &one, false);
    assert_eq!(slots.installed().floor, Some(2));
    slots = restart(slots);
    assert_eq!(slots.recovery().expired, None);
    assert_active(&slots, &one, false);
}

#[test]
fn a_first_trial_can_fail_too() {
    let bundle = Bundle::new(content(900, 1), 1);
    let mut slots = open(Flash::new());
    receive(&mut slots, &bundle);
    slots.switch().unwrap();
    assert!(slots.fall_back().unwrap());
    assert!(slots.active().is_none());
    assert!(slots.pending().unwrap().is_none(), "what failed is not pending");
    slots = restart(slots);
    assert!(slots.active().is_none());
}

#[test]
fn damaged_content_is_never_in_force() {
    let (one, two) = (Bundle::new(content(900, 1), 5), Bundle::new(content(900, 2), 6));
    let mut slots = open(Flash::new());
    install(&mut slots, &one);
    receive(&mut slots, &two);
    slots.switch().unwrap();
    // The content on trial: the confirmed one takes over.
    let at = slots.active().unwrap().content.start as usize;
    let mut flash = slots.into_flash();
    flash.bytes_mut()[at + 17] ^= 4;
    let mut slots = open(flash);
    assert_eq!(slots.recovery().damaged, Some(6));
    assert_active(&slots, &one, false);
    // It can be fetched again.
    receive(&mut slots, &two);
    slots.switch().unwrap();
    slots.confirm().unwrap();
    // The confirmed content: none is in force, the same may come again, an older one may not.
    let at = slots.active().unwrap().content.start as usize;
    let mut flash = slots.into_flash();
    flash.bytes_mut()[at + 800] ^= 1;
    let mut slots = open(flash);
    assert!(slots.active().is_none());
    let old = slots.begin(&one.manifest, Some(&target()));
    assert_eq!(old, Err(BeginError::Refused(Refusal::Rollback { have: 5, offered: 5 })));
    install(&mut slots, &two);
    assert_active(&slots, &two, false);
}

#[test]
fn nothing_incomplete_comes_into_force() {
    let (one, two) = (Bundle::new(content(900, 1), 1), Bundle::new(content(900, 2), 2));
    let mut slots = open(Flash::new());
    assert_eq!(slots.switch(), Err(SwitchError::NotBegun));
    install(&mut slots, &one);
    assert_eq!(slots.switch(), Err(SwitchError::NotBegun));
    slots.begin(&two.manifest, Some(&target())).unwrap();
    let mut store = slots.store().unwrap();
    let mut rx = ObjectReceiver::new(&two.manifest);
    for (g, id) in two.pieces().skip(1) {
        rx.handle_symbol(g, id, &two.symbol(g, id), &mut store).unwrap();
    }
    assert_eq!(slots.switch(), Err(SwitchError::Digest));
    assert_active(&slots, &one, false);
    // A restart goes on with what is there, after the manifest has been verified again.
    let mut slots = restart(slots);
    assert!(slots.store().is_none(), "only a verified manifest opens the store");
    let pending = slots.pending().unwrap().unwrap();
    let verified = common::trust().verify(&pending).unwrap();
    assert_eq!(slots.begin(&verified, Some(&target())), Ok(Begun::Resumed));
    let mut store = slots.store().unwrap();
    let mut rx = ObjectReceiver::resume(verified.object(), &mut store).unwrap();
    assert_eq!(rx.needed(0), 1);
    for (g, id) in two.pieces() {
        rx.handle_symbol(g, id, &two.symbol(g, id), &mut store).unwrap();
    }
    slots.switch().unwrap();
    assert_active(&slots, &two, true);
}

#[test]
fn another_bundle_takes_over_a_reception() {
    let (two, three) = (Bundle::new(content(900, 2), 2), Bundle::new(content(900, 3), 3));
    let mut slots = open(Flash::new());
    receive(&mut slots, &two);
    assert_eq!(slots.begin(&three.manifest, Some(&target())), Ok(Begun::Fresh));
    assert_eq!(slots.pending().unwrap().unwrap(), *three.manifest.claimed());
    slots.abandon().unwrap();
    assert!(slots.pending().unwrap().is_none());
    assert!(slots.store().is_none());
    install(&mut slots, &three);
    assert_active(&slots, &three, false);
}

#[test]
fn refusals_touch_nothing() {
    let one = Bundle::new(content(900, 1), 1);
    let mut slots = open(Flash::new());
    install(&mut slots, &one);
    let before = slots.flash().operations();
    let two = Bundle::new(content(900, 2), 2);
    let wrong = Target { class: CLASS + 1, ..target() };
    assert_eq!(slots.begin(&two.manifest, Some(&wrong)), Err(BeginError::Refused(Refusal::WrongClass)));
    let large = Bundle::new(content(9000, 2), 2);
    let refused = slots.begin(&large.manifest, Some(&target()));
    assert!(matches!(refused, Err(BeginError::Refused(Refusal::NoFlash { .. }))), "{refused:?}");
    assert_eq!(slots.flash().operations(), before);
    assert_active(&slots, &one, false);
}

#[test]
fn what_is_in_force_is_served_to_others() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let mut slots = open(Flash::new());
    assert!(slots.source().is_none());
    install(&mut slots, &bundle);
    let object = bundle.manifest.object();
    let encoder = Encoder::new(object.layout, object.tag());
    let mut out = [0; 176];
    for id in (0..25).chain(300..310) {
        let len = encoder.symbol(0, id, &mut slots.source().unwrap(), &mut out).unwrap();
        assert_eq!(out[..len], bundle.symbol(0, id));
    }
}

#[test]
fn impossible_geometries_are_refused() {
    let good = geometry();
    assert!(good.end() <= 65_536);
    let bad = [
        Geometry { log: 0..2048, ..good.clone() },
        Geometry { log: 8..4104, ..good.clone() },
        Geometry { slots: [good.slots[0].clone(), good.slots[0].clone()], ..good.clone() },
        Geometry {
            slots: [good.slots[0].clone(), good.slots[1].start..good.slots[1].end - 2048],
            ..good.clone()
        },
        Geometry { spare: 63_488..67_584, ..good.clone() },
        Geometry { spare: good.log.clone(), ..good.clone() },
    ];
    for geometry in bad {
        assert!(matches!(Slots::open(Flash::new(), geometry), Err(SlotError::Geometry)));
    }
    type CoarseWrites = compotastic_bundle::ramflash::RamFlash<65_536, 32, 2048>;
    assert!(matches!(Slots::open(CoarseWrites::new(), good), Err(SlotError::Geometry)));
    assert!(Geometry::packed::<Flash>(0, 0, 176, 8).is_none());
    assert!(Geometry::packed::<Flash>(u32::MAX - 5, 4096, 176, 8).is_none());
}
