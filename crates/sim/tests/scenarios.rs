//! Scenarios as TOML: the ready ones run, the bad ones say what is wrong and where, the same seed gives the same events.

use std::path::PathBuf;

use compotastic_mesh::router::{Rebroadcast, Role, RouterConfig};
use compotastic_sim::scenario::{self, Body, Scenario};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

#[test]
fn ready_scenarios_are_read_and_their_worlds_can_be_drawn() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let scenario = Scenario::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!scenario.description.is_empty(), "{} says what it is about", path.display());
        for seed in 1..4 {
            let built = scenario::build(&scenario, seed, None).unwrap();
            assert_eq!(built.names.len(), scenario.node_count());
        }
        names.push(scenario.name);
    }
    assert!(names.len() >= 4, "{names:?}");
}

#[test]
fn a_small_one_delivers_and_counts() {
    let scenario = Scenario::parse(&text("two-huts.toml")).unwrap();
    let report = scenario::run(&scenario, 1, None, |_| {}).unwrap();
    assert_eq!(report.nodes, 3);
    assert!(report.messages > 5 && report.wanted > report.messages as u64);
    assert!(report.delivery.unwrap() > 0.9, "{report:?}");
    assert_eq!(report.by_distance.iter().map(|(_, wanted, _)| wanted).sum::<u64>(), report.wanted);
    assert_eq!(report.by_distance.iter().map(|(.., delivered)| delivered).sum::<u64>(), report.delivered);
    assert_eq!(report.hops.iter().sum::<u64>(), report.delivered);
    assert!(report.airtime_s > report.message_airtime_s);
    assert_eq!(report.originations_over_gate, 0);
    assert!(report.acked + report.failed > 0);
}

#[test]
fn the_same_seed_gives_the_same_events_on_one_thread_or_two() {
    let scenario = Scenario::parse(&text("two-huts.toml")).unwrap();
    let hash = |seed| scenario::run(&scenario, seed, None, |_| {}).unwrap().event_log_sha256;
    let here = hash(7);
    let there = std::thread::scope(|scope| {
        let runs = [scope.spawn(|| hash(7)), scope.spawn(|| hash(8))];
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(here, there[0]);
    assert_ne!(here, there[1]);
}

#[test]
fn loss_and_distance_cost_deliveries() {
    let mut scenario = Scenario::parse(&text("river.toml")).unwrap();
    let delivery = |scenario: &Scenario| scenario::run(scenario, 2, None, |_| {}).unwrap().delivery.unwrap();
    let without = delivery(&scenario);
    scenario.set_loss(0.5);
    let with = delivery(&scenario);
    assert!(with < without, "{with} {without}");
    let weak = text("river.toml").replace("[radio]", "[radio]\ntx_power_dbm = -15.0");
    let weak = delivery(&Scenario::parse(&weak).unwrap());
    assert!(weak < without, "{weak} {without}");
}

/// One sender, one relay with these settings, and one receiver out of the sender's reach.
fn chain(settings: &str) -> Scenario {
    let head = "name = \"chain\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 24.0\n";
    let air = "[radio]\nexponent = 3.4\nshadowing_db = 0.0\n";
    let node = |name: &str, x_m: f64| format!("[[node]]\nname = \"{name}\"\nx_m = {x_m:.1}\ny_m = 0.0\n");
    let nodes =
        [node("sender", 0.0), node("relay", 3700.0), settings.to_string(), node("receiver", 7400.0)].concat();
    let messages = "[[messages]]\nfrom = \"sender\"\nto = \"receiver\"\nevery_s = 900\nlength = 40\n";
    Scenario::parse(&[head, air, &nodes, messages].concat()).unwrap()
}

fn delivery(settings: &str) -> f64 {
    scenario::run(&chain(settings), 1, None, |_| {}).unwrap().delivery.unwrap()
}

#[test]
fn every_role_can_be_named_and_only_the_mute_one_ends_a_chain() {
    for role in Role::ALL {
        let share = delivery(&format!("role = \"{role}\"\n"));
        assert!(if role == Role::ClientMute { share == 0.0 } else { share > 0.9 }, "{role}: {share}");
    }
}

#[test]
fn every_rebroadcast_mode_can_be_named_and_does_what_it_says() {
    for mode in Rebroadcast::ALL {
        let share = delivery(&format!("rebroadcast = \"{mode}\"\n"));
        match mode {
            Rebroadcast::None => assert!(share == 0.0, "{mode}: {share}"),
            // Nothing until the sender's first NodeInfo, which comes within three hours.
            Rebroadcast::KnownOnly => assert!((0.7..0.999).contains(&share), "{mode}: {share}"),
            _ => assert!(share > 0.9, "{mode}: {share}"),
        }
    }
}

#[test]
fn settings_of_nodes_and_fields_reach_their_routers() {
    let named = "role = \"client-base\"\nrebroadcast = \"local-only\"\nunknown_limit = 10\n\
                 favourites = [\"sender\"]\n";
    let field = "[[field]]\ncount = 2\nwidth_m = 10.0\nheight_m = 10.0\nrole = \"router-late\"\n\
                 rebroadcast = \"core-portnums-only\"\nunknown_limit = 0\n";
    // The field stands behind the relay, before the receiver.
    let built = scenario::build(&chain(&[named, field].concat()), 1, None).unwrap();
    assert_eq!(built.names, ["sender", "relay", "receiver", "node 4", "node 5"]);
    let config = |id: usize| -> &RouterConfig {
        let Body::Stock(stock) = built.world.host(id) else { panic!("node {id} is no stock node") };
        stock.router().config()
    };
    let relay = config(1);
    assert_eq!((relay.role, relay.relaying.rebroadcast), (Role::ClientBase, Rebroadcast::LocalOnly));
    assert_eq!(
        (relay.relaying.unknown_limit, &relay.relaying.favourites[..]),
        (Some(10), &[config(0).num][..])
    );
    for id in [3, 4] {
        let drawn = config(id);
        assert_eq!(
            (drawn.role, drawn.relaying.rebroadcast),
            (Role::RouterLate, Rebroadcast::CorePortnumsOnly)
        );
        assert_eq!(drawn.relaying.unknown_limit, Some(0));
    }
    for id in [0, 2] {
        assert_eq!((config(id).role, &config(id).relaying), (Role::Client, &Default::default()));
    }
}

#[test]
fn bad_relay_settings_get_a_clear_error_with_the_line() {
    let good = text("two-huts.toml");
    let cases = [
        ("rebroadcast = \"some\"", "core-portnums-only"),
        ("role = \"router_sometimes\"", "router-late"),
        ("unknown_limit = -1", "unknown_limit"),
        ("unknown_limit = 65536", "unknown_limit"),
        ("unknown_limit = \"few\"", "string"),
        ("favourites = [\"upper shed\"]", "upper shed"),
        ("favourites = [\"any\"]", "any"),
    ];
    for (bad, word) in cases {
        let line = good.lines().position(|line| line.starts_with("role")).unwrap() + 1;
        let error = Scenario::parse(&good.replacen("role = \"client-mute\"", bad, 1)).unwrap_err();
        assert_eq!(error.line, line, "{bad}: {error}");
        assert!(error.to_string().contains(word), "{bad}: {error}");
    }
    let many = format!("favourites = [{}]", "\"lower hut\", ".repeat(17));
    let error = Scenario::parse(&good.replacen("role = \"client-mute\"", &many, 1)).unwrap_err();
    assert!(error.to_string().contains("16"), "{error}");
    let field = "[[field]]\ncount = 2\nwidth_m = 10.0\nheight_m = 10.0\nunknown_limit = -3\n";
    let error = Scenario::parse(&format!("{good}{field}")).unwrap_err();
    assert!(error.to_string().contains("unknown_limit"), "{error}");
}

/// A scenario with one line changed, the line's number, and a word that the error must say.
#[test]
fn bad_scenarios_get_a_clear_error_with_the_line() {
    let good = text("two-huts.toml");
    let cases = [
        ("hours = 2.0", "hours = -2.0", "hours"),
        ("hours = 2.0", "hours = nan", "hours"),
        ("hours = 2.0", "hour = 2.0", "hour"),
        ("preset = \"LONG_FAST\"", "preset = \"LONG_LAZY\"", "LONG_LAZY"),
        ("region = \"EU_868\"", "region = \"MOON\"", "MOON"),
        ("exponent = 3.4", "exponent = inf", "exponent"),
        ("path_loss = \"log-distance\"", "path_loss = \"log-distants\"", "log-distants"),
        ("shadowing_db = 3.0", "shadowing_db = -3.0", "shadowing_db"),
        ("x_m = 2500.0", "x_m = nan", "x_m"),
        ("x_m = 2500.0", "x_m = \"far\"", "string"),
        ("antenna_height_m = 8.0", "antenna_height_m = -8.0", "antenna_height_m"),
        ("name = \"walker\"", "name = \"upper hut\"", "taken"),
        ("name = \"walker\"", "name = \"everybody\"", "cannot"),
        ("role = \"client-mute\"", "role = \"jester\"", "jester"),
        ("to = \"lower hut\"", "to = \"lower shed\"", "lower shed"),
        ("every_s = 600", "every_s = 0", "every_s"),
        ("length = 40", "length = 4000", "length"),
    ];
    for (from, to, word) in cases {
        assert!(good.contains(from), "{from}");
        let line = good.lines().position(|line| line == from).unwrap() + 1;
        let error = Scenario::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.line, line, "{to}: {error}");
        assert!(error.to_string().contains(word), "{to}: {error}");
    }
    let head = "name = \"x\"\npreset = \"LONG_FAST\"\nregion = \"US\"\nhours = 1.0\n";
    let nobody = Scenario::parse(head).unwrap_err();
    assert!(nobody.to_string().contains("nobody"), "{nobody}");
    for count in [10_000_000, 0, -4] {
        let field = format!("{head}[[field]]\ncount = {count}\nwidth_m = 10.0\nheight_m = 10.0\n");
        let error = Scenario::parse(&field).unwrap_err();
        assert_eq!(error.line, 6, "{error}");
        assert!(error.to_string().contains("20000"), "{error}");
    }
    let many = "[[field]]\ncount = 15000\nwidth_m = 10.0\nheight_m = 10.0\n".repeat(2);
    assert!(Scenario::parse(&format!("{head}{many}")).unwrap_err().to_string().contains("30000"));
    let apart = format!("{head}[[field]]\ncount = 2\nwidth_m = 9e6\nheight_m = 9e6\nconnected = true\n");
    let error = scenario::build(&Scenario::parse(&apart).unwrap(), 1, None).err().unwrap();
    assert!(error.contains("smaller"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_refused_or_read(text in ".{0,400}", cut in 0usize..900) {
        let _ = Scenario::parse(&text);
        let good = std::fs::read_to_string(folder().join("two-huts.toml")).unwrap();
        let mut mixed: String = good.chars().take(cut).collect();
        mixed.push_str(&text);
        let _ = Scenario::parse(&mixed);
    }
}
