#[path = "../tests/fake_node/mod.rs"]
mod fake_node;
fn main() {
    let s = fake_node::Server::with(None, |a| a.listen = "127.0.0.1:4499".parse().unwrap());
    println!("{}", s.address);
    std::thread::sleep(std::time::Duration::from_secs(std::env::args().nth(1).unwrap().parse().unwrap()));
}
