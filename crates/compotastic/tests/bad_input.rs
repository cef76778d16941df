//! Bad input gets an error that says what to do, never a panic.

mod common;

use common::{fails, file};

fn reports(name: &str, content: &[u8]) -> String {
    fails(&["demo", "--nodes", "4", "--hours", "0.1", "--reports", &file(name, content)])
}

fn task(name: &str, content: &str) -> String {
    fails(&["demo", "--nodes", "4", "--hours", "0.1", "--task", &file(name, content)])
}

#[test]
fn report_files() {
    assert!(reports("empty.txt", b"").contains("empty"));
    assert!(reports("blank.txt", b"\n \n\n").contains("one per line"));
    assert!(reports("binary.txt", &[0, 159, 146, 150, 255, 0, 1, 2]).contains("binary"));
    assert!(reports("zeros.txt", b"text\0text").contains("binary"));
    let megabyte = "word ".repeat(200_000);
    assert!(reports("megabyte.txt", megabyte.as_bytes()).contains("320 bytes at most"));
    assert!(fails(&["demo", "--reports", "no/such/file.txt"]).contains("no/such/file.txt"));
}

#[test]
fn task_files() {
    assert!(task("columns.csv", "sentence,class\nhello,a\n").contains("no column \"text\""));
    assert!(task("one.csv", "text,label,split\nhello,a,train\nthere,a,train\n").contains("at least two"));
    assert!(task("none.csv", "text,label,split\nhello,a,test\n").contains("split = train"));
    assert!(task("split.csv", "text,label,split\nhello,a,training\n").contains("line 2"));
    let rows: String = (0..10_000).map(|n| format!("text {n},class{n},train\n")).collect();
    assert!(task("classes.csv", &format!("text,label,split\n{rows}")).contains("10000 classes"));
    let long = format!("text,label,split\n{},a,train\nshort,b,train\n", "x".repeat(1 << 20));
    assert!(task("long.csv", &long).contains("320 bytes at most"));
    assert!(task("quote.csv", "text,label,split\n\"never closed,a,train\n").contains("label"));
}

#[test]
fn flags() {
    assert!(fails(&["demo", "--preset", "WARP_SPEED"]).contains("LONG_FAST"));
    assert!(fails(&["demo", "--region", "MARS"]).contains("EU_868"));
    assert!(fails(&["demo", "--loss=-0.1"]).contains("loss"));
    assert!(fails(&["demo", "--loss", "100%"]).contains("loss"));
    assert!(fails(&["demo", "--hours", "NaN"]).contains("--hours"));
    assert!(fails(&["demo", "--nodes", "1"]).contains("nodes"));
    assert!(fails(&["demo", "--replay", &file("no.rec", "{}")]).contains("--record"));
    let both = file("two.csv", "text,label,split\nhello,a,train\nbye,b,train\n");
    assert!(fails(&["demo", "--task", &both, "--urgent", "c"]).contains("\"c\""));
}

#[test]
fn a_damaged_model_cache() {
    let folder = common::scratch("damaged/all-MiniLM-L6-v2");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_compotastic"))
            .args(arguments)
            .env("COMPOTASTIC_CACHE", common::scratch("damaged"))
            .output()
            .unwrap()
    };
    let refused = run(&["demo", "--nodes", "4", "--hours", "0.1"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("model pull --force"), "{error}");
    // The encoder in the tree does not need the cache.
    let helped = run(&["demo", "--nodes", "4", "--hours", "0.1", "--teacher", "in-tree"]);
    assert!(helped.status.success(), "{}", String::from_utf8_lossy(&helped.stderr));
    assert!(fails(&["demo", "--teacher", "minilm"]).contains("model pull"));
}

#[test]
fn a_sentence_to_try() {
    assert!(fails(&["try", ""]).contains("empty"));
    assert!(fails(&["try", &"a ".repeat(1000)]).contains("320 bytes at most"));
}
