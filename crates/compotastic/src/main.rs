//! The Compotastic command: demo, try, bench, model.
fn main() {}
