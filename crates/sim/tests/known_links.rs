//! Links that are known instead of reckoned: they are the only ones, as strong as given, wherever nodes stand.

use compotastic_sim::scenario::{Scenario, build, run};

const HEAD: &str = "name = \"known\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 4.0\n";

fn nodes() -> String {
    // a and b stand side by side, c on the other side of the country.
    [("a", 0.0), ("b", 10.0), ("c", 300_000.0)]
        .map(|(name, x_m)| format!("[[node]]\nname = \"{name}\"\nx_m = {x_m:.1}\ny_m = 0.0\n"))
        .concat()
}

fn link(a: &str, b: &str, more: &str) -> String {
    format!("[[link]]\nbetween = [\"{a}\", \"{b}\"]\n{more}\n")
}

fn refused(links: &str) -> String {
    Scenario::parse(&format!("{HEAD}{}{links}", nodes())).unwrap_err().to_string()
}

#[test]
fn only_what_is_given_is_heard_and_as_well() {
    let text = format!("{HEAD}{}{}", nodes(), link("a", "c", "snr_db = 6.0\nback_snr_db = -40.0"));
    let of = build(&Scenario::parse(&text).unwrap(), 1, None).unwrap();
    assert!(of.world.reception_ppm(0, 2) > 999_000, "{}", of.world.reception_ppm(0, 2));
    assert_eq!(of.world.reception_ppm(2, 0), 0, "one way only");
    assert_eq!(of.world.reception_ppm(0, 1), 0, "side by side, and no link");
}

#[test]
fn messages_go_over_them() {
    let talk = "[[messages]]\nfrom = \"a\"\nto = \"c\"\nevery_s = 600\nlength = 20\nwant_ack = true\n";
    let delivery = |links: &str| {
        let text = format!("{HEAD}{}{links}{talk}", nodes());
        let report = run(&Scenario::parse(&text).unwrap(), 1, None, |_| {}).unwrap();
        (report.wanted > 10, report.delivery.unwrap())
    };
    let there = delivery(&link("a", "c", "snr_db = 3.0"));
    assert!(there.0 && there.1 > 0.95, "{there:?}");
    // By way of b.
    let links = link("a", "b", "snr_db = 3.0") + &link("b", "c", "snr_db = 3.0");
    assert!(delivery(&links).1 > 0.9);
    assert_eq!(delivery(&link("a", "b", "snr_db = 3.0")), (true, 0.0));
}

#[test]
fn nonsense_is_refused_with_the_line() {
    let good = link("a", "b", "snr_db = 3.0");
    assert!(refused(&link("a", "d", "snr_db = 3.0")).contains("\"d\" names no [[node]]"));
    assert!(refused(&link("a", "a", "snr_db = 3.0")).contains("no link to itself"));
    assert!(refused(&format!("{good}{}", link("b", "a", "snr_db = 1.0"))).contains("have a link above"));
    assert!(refused(&link("a", "b", "snr_db = 300.0")).contains("snr_db = 300 is not between"));
    assert!(refused(&link("a", "b", "")).contains("snr_db"));
}
