//! Device classes have numbers; people may give them names, in a scenario or in a file.

mod common;

use common::{Folder, fails, json, succeeds};

fn desk(name: &str) -> Folder {
    let desk = Folder::new(name);
    succeeds(&["key", "new", &desk.at("operator")]);
    succeeds(&["key", "trust", &desk.at("operator.pub"), "--trust", &desk.at("trust")]);
    desk.write("classes.toml", "[classes]\ngauge = 3\nmast = 4\n");
    desk.write("content", [9; 900]);
    desk
}

#[test]
fn names_stand_for_numbers() {
    let desk = desk("class-names");
    let (content, key, names) = (desk.at("content"), desk.at("operator"), desk.at("classes.toml"));
    let build = ["bundle", "build", &content, "--kind", "policy", "--version", "1", "--key", &key];
    let said = json(&[&build[..], &["--class", "gauge,1", "--classes", &names, "--json"]].concat());
    assert_eq!(said["classes"], serde_json::json!([1, 3]));
    let unknown = fails(&[&build[..], &["--class", "pump", "--classes", &names]].concat());
    assert!(unknown.contains("named \"pump\"") && unknown.contains("gauge, mast"), "{unknown}");
    let unnamed = fails(&[&build[..], &["--class", "gauge"]].concat());
    assert!(unnamed.contains("known by name: none"), "{unnamed}");
    let high = fails(&[&build[..], &["--class", "32"]].concat());
    assert!(high.contains("classes are 0 to 31"), "{high}");
    let (bundle, trust) = (desk.at("content.bundle"), desk.at("trust"));
    let verify = ["bundle", "verify", &bundle, "--trust", &trust, "--classes", &names, "--class"];
    succeeds(&[&verify[..], &["gauge"]].concat());
    let other = fails(&[&verify[..], &["mast"]].concat());
    assert!(other.contains("not for this device class"), "{other}");
    // Without a daemon, so far as to the name.
    let push = ["push", &bundle, "--classes", &names, "--api", "127.0.0.1:9", "--to"];
    let live = fails(&[&push[..], &["class:gauge"]].concat());
    assert!(live.contains("no daemon answers"), "{live}");
    let live = fails(&[&push[..], &["class:pump"]].concat());
    assert!(live.contains("named \"pump\""), "{live}");
}

const MESH: &str = "name = \"pair\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\n[classes]\ngauge = 3\n\
[radio]\nexponent = 3.4\nshadowing_db = 0.0\nfading_db = 0.0\n\
[[node]]\nname = \"post\"\nkind = \"edge\"\nclass = \"gauge\"\nx_m = 0.0\ny_m = 0.0\n\
[[node]]\nname = \"a\"\nkind = \"field\"\nclass = \"gauge\"\nx_m = 2000.0\ny_m = 0.0\n";

#[test]
fn a_scenario_names_its_classes() {
    let desk = desk("class-scenario");
    let (content, key, trust) = (desk.at("content"), desk.at("operator"), desk.at("trust"));
    let build =
        ["bundle", "build", &content, "--kind", "policy", "--version", "1", "--class", "3", "--key", &key];
    succeeds(&build);
    let (bundle, mesh) = (desk.at("content.bundle"), desk.write("mesh.toml", MESH));
    let push = ["push", &bundle, "--scenario", &mesh, "--trust", &trust, "--json", "--to"];
    let told = succeeds(&[&push[..], &["class:gauge"]].concat());
    let report: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&report["end"], &report["done"]), (&"complete".into(), &2.into()));
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["class"] == 3), "{report}");
    let unknown = fails(&[&push[..], &["class:mast"]].concat());
    assert!(unknown.contains("named \"mast\"") && unknown.contains("gauge"), "{unknown}");
    let plan = json(&["plan", &bundle, "--scenario", &mesh, "--class", "gauge", "--quick", "--json"]);
    assert_eq!(plan["plan"]["nodes"], 2);
    for (old, new) in
        [("class = \"gauge\"", "class = \"pump\""), ("gauge = 3", "gauge = 32"), ("gauge = 3", "\"3\" = 3")]
    {
        let said = fails(&["sim", "run", &desk.write("bad.toml", MESH.replacen(old, new, 1))]);
        assert!(said.contains("line "), "{new}: {said}");
    }
}
