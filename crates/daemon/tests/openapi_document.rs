//! The document of the API does not change unseen: clients are written against it.
//!
//! `COMPOTASTIC_BLESS=1 cargo test -p compotastic-daemon --test openapi_document` writes it anew.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

fn kept() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("openapi.json")
}

fn document() -> String {
    compotastic_daemon::http::document().to_pretty_json().unwrap() + "\n"
}

#[test]
fn the_kept_document_is_what_the_code_makes() {
    if std::env::var_os("COMPOTASTIC_BLESS").is_some() {
        fs::write(kept(), document()).unwrap();
    }
    let kept = fs::read_to_string(kept()).expect("openapi.json is there");
    assert!(
        kept == document(),
        "the API has changed: look whether old clients can live with it, then write the document anew with\n\
COMPOTASTIC_BLESS=1 cargo test -p compotastic-daemon --test openapi_document"
    );
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                found.insert(to.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_whole() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let at = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(at).is_some(), "{reference} leads nowhere");
    }
    assert!(found.len() > 15);
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 21, "{:?}", paths.keys());
    for (path, item) in paths {
        for (method, call) in item.as_object().unwrap() {
            assert!(call["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(call["tags"][0].is_string(), "{method} {path}");
            for response in call["responses"].as_object().unwrap().values() {
                assert!(response["description"].is_string(), "{method} {path}");
            }
            for parameter in call["parameters"].as_array().into_iter().flatten() {
                let in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(parameter["in"] == "path", in_path, "{method} {path}");
            }
        }
    }
}
