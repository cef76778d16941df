//! `up` and `swarm` as a whole: on the radios of a simulated mesh, reached over TCP as any radio, and with what cannot work.

#[path = "../../links/tests/common/broker.rs"]
mod broker;
mod fast_clock;
mod mesh_of_cores;

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use clap::Parser;
use compotastic_daemon::{
    seam::{JobKind, JobState, JobView, Snapshot, SwarmView},
    serve::{Options, Server},
    store::Store,
    swarm::{self, SwarmArgs, join_radio, joined, leave_radio, slot},
    up::{self, UpArgs},
};
use compotastic_links::{LinkUrl, RadioHandle, RadioInfo, SessionConfig};
use compotastic_sim::scenario::Scenario;
use mesh_of_cores::{Echo, Folder, spec};
use tokio::sync::oneshot;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    up: UpArgs,
}

#[derive(Parser)]
struct SwarmCli {
    #[command(flatten)]
    swarm: SwarmArgs,
}

fn args(words: &[&str]) -> UpArgs {
    Cli::parse_from([&["up"], words].concat()).up
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The two huts, each as a radio on a TCP port.
async fn huts() -> (Server, Vec<String>) {
    huts_at(1.0).await
}

/// The radios of two huts, whose world goes `speed` times as fast as the wall's clock.
async fn huts_at(speed: f64) -> (Server, Vec<String>) {
    // `RUST_LOG=debug` shows what the links say.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .try_init();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/two-huts.toml");
    let options = Options { warm_up_s: Some(0), speed, ..Options::default() };
    let mut server = Server::start(Scenario::load(&file).unwrap(), options).await.unwrap();
    let ports = server.listen("127.0.0.1".parse().unwrap(), 0, 2).await.unwrap();
    let urls = ports.iter().map(|(_, address)| format!("tcp:{address}")).collect();
    (server, urls)
}

async fn radio(url: &str) -> RadioHandle {
    up::open_link(&url.parse().unwrap(), SessionConfig::default()).await.unwrap()
}

async fn look(url: &str) -> RadioInfo {
    let mut handle = radio(url).await;
    let info = slot::contact(&mut handle).await.unwrap();
    handle.sender.shutdown().await.unwrap();
    info
}

async fn join(state: &Path, url: &str) {
    let store = up::open_store(Some(state.to_path_buf())).unwrap();
    let mut handle = radio(url).await;
    let mut asked = String::new();
    join_radio(&store, &mesh_of_cores::swarm(), &mut handle, |plan| {
        asked = plan.to_owned();
        true
    })
    .await
    .unwrap();
    assert!(asked.contains("-> `hills` (SECONDARY"), "{asked}");
    handle.sender.shutdown().await.unwrap();
}

async fn get<T: serde::de::DeserializeOwned + Send + 'static>(url: String) -> Option<T> {
    tokio::task::spawn_blocking(move || {
        let text = ureq::get(&url).call().ok()?.into_body().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    })
    .await
    .unwrap()
}

async fn submit(url: String, body: String) -> JobView {
    let text = tokio::task::spawn_blocking(move || {
        let answer = ureq::post(&url).header("content-type", "application/json").send(&body).unwrap();
        answer.into_body().read_to_string().unwrap()
    });
    serde_json::from_str(&text.await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_asked_at_one_daemon_is_answered_by_the_other_and_new_keys_are_begun() {
    // A beacon takes a minute or two, by the rules: of a clock that runs fast.
    fast_clock::quicken();
    let folder = Folder::new("up-jobs");
    let (_server, urls) = huts_at(fast_clock::SPEED.into()).await;
    let mut stops = Vec::new();
    let mut daemons = Vec::new();
    let mut apis = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        let state = folder.0.join(index.to_string());
        join(&state, url).await;
        let store = up::open_store(Some(state.clone())).unwrap();
        store.set("swarm operator secret", &mesh_of_cores::operator().to_bytes()).unwrap();
        drop(store);
        let listen = format!("127.0.0.1:{}", free_port());
        let args = args(&["--state", state.to_str().unwrap(), "--listen", &listen, "--no-people"]);
        let brain = (index == 0).then(|| Arc::new(Echo) as Arc<dyn compotastic_daemon::seam::Brain>);
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        daemons.push(tokio::spawn(up::serve(args, vec![url.parse().unwrap()], brain, stopped)));
        apis.push(format!("http://{listen}"));
    }
    let asker = &apis[1];
    let body = serde_json::to_string(&spec(JobKind::Chat, "where is the spring")).unwrap();
    let mut snapshot = None;
    for _ in 0..100 {
        snapshot = get::<Snapshot>(format!("{asker}/api/status")).await;
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.mode == "hosted") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let snapshot = snapshot.expect("the API answers");
    assert_eq!((snapshot.mode.as_str(), snapshot.region.as_str()), ("hosted", "EU_868"), "{snapshot:?}");
    // A beacon of the one that has the model comes within 90 s of its start, after telemetry that says that the air is free.
    let mut known = false;
    for _ in 0..240 {
        let snapshot = get::<Snapshot>(format!("{asker}/api/status")).await;
        known = snapshot
            .is_some_and(|snapshot| snapshot.nodes.iter().any(|node| node.member && node.foundation_model));
        if known {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(known, "the beacon of the node with the model was not heard");
    let job = submit(format!("{asker}/api/jobs"), body).await;
    let mut state = job.state;
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(job) = get::<JobView>(format!("{asker}/api/jobs/{}", job.id)).await {
            state = job.state;
        }
        if state.is_final() {
            break;
        }
    }
    let JobState::Done(answer) = state else { panic!("{state:?}") };
    assert_eq!(answer.text.as_deref(), Some("you said: where is the spring"));
    assert_ne!(answer.by, snapshot.num);
    let airtime = get::<Snapshot>(format!("{asker}/api/status")).await.unwrap().airtime;
    let jobs = airtime.by_purpose.iter().find(|row| row.purpose == "jobs").unwrap();
    assert!(jobs.packets >= 1 && jobs.airtime_ms > 100, "{airtime:?}");

    // New keys go out at once, by the command that does it without a daemon too.
    let state = folder.0.join("1").to_str().unwrap().to_owned();
    let rotate = SwarmCli::parse_from(["swarm", "rotate", "--hours", "2", "--state", &state]).swarm;
    tokio::task::spawn_blocking(move || swarm::run(rotate)).await.unwrap().unwrap();
    // The other's key may be asked for again after ten minutes, so the end is left to the tests whose time is a number.
    let swarm: SwarmView = get(format!("{asker}/api/swarm")).await.unwrap();
    let rotation = swarm.rotation.as_ref().expect("it has begun");
    assert!(["asking", "bringing"].contains(&rotation.phase.as_str()), "{rotation:?}");
    assert!(swarm.members.iter().any(|member| member.num == answer.by), "{swarm:?}");
    drop(stops);
    for daemon in daemons {
        daemon.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_changes_one_slot_and_leaving_puts_it_back() {
    let folder = Folder::new("up-join");
    let (_server, urls) = huts().await;
    let before = look(&urls[0]).await;
    join(&folder.0, &urls[0]).await;
    let during = look(&urls[0]).await;
    let changed: Vec<u8> = during
        .channels
        .iter()
        .filter(|channel| before.channels.get(usize::from(channel.index)) != Some(channel))
        .map(|channel| channel.index)
        .collect();
    assert_eq!(changed, [1], "{:?}", during.channels);
    assert_eq!(
        (before.region, before.preset, before.hop_limit, &before.channels[0]),
        (during.region, during.preset, during.hop_limit, &during.channels[0])
    );
    let store = up::open_store(Some(folder.0.clone())).unwrap();
    assert_eq!(joined(&store).unwrap().unwrap().swarm_id, [1; 8]);
    let mut handle = radio(&urls[0]).await;
    leave_radio(&store, &mut handle, |_| true).await.unwrap();
    handle.sender.shutdown().await.unwrap();
    assert!(joined(&store).unwrap().is_none());
    let after = look(&urls[0]).await;
    let role = |info: &RadioInfo| info.channels.get(1).map_or(0, |channel| channel.role);
    assert_eq!((role(&before), role(&during), role(&after)), (0, 2, 0));
    let mut handle = radio(&urls[0]).await;
    let refused = join_radio(&store, &mesh_of_cores::swarm(), &mut handle, |_| false).await.unwrap_err();
    assert_eq!(refused.to_string(), "nothing was changed");
    assert!(joined(&store).unwrap().is_none());
}

async fn fails(folder: &Folder, words: &[&str], links: &[&str]) -> String {
    let state = folder.0.to_str().unwrap().to_owned();
    let port = free_port().to_string();
    let listen = format!("127.0.0.1:{port}");
    let mut all = vec!["--state", &state];
    if !words.contains(&"--listen") {
        all.extend(["--listen", &listen]);
    }
    all.extend(words);
    let links: Vec<LinkUrl> = links.iter().map(|link| link.parse().unwrap()).collect();
    let (_stop, stopped) = oneshot::channel();
    let run = up::serve(args(&all), links, None, stopped);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends by itself");
    ended.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_ends_with_what_to_do() {
    let folder = Folder::new("up-errors");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_at = taken.local_addr().unwrap().to_string();
    let error = fails(&folder, &["--listen", &taken_at], &["tcp:127.0.0.1:1"]).await;
    assert!(error.contains("in use"), "{error}");
    let error = fails(&folder, &["--share", &taken_at], &["tcp:127.0.0.1:1"]).await;
    assert!(error.contains("in use"), "{error}");
    let error = fails(&folder, &[], &["tcp:127.0.0.1:1"]).await;
    assert!(error.contains("127.0.0.1:1") && error.contains(';'), "{error}");
    // Before the radio, and with nothing made.
    let error = fails(&folder, &["--listen", "0.0.0.0:0"], &["tcp:127.0.0.1:1"]).await;
    assert!(error.contains("--token-file"), "{error}");
    // A web server is no radio.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_url = format!("tcp:{}", web.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in web.incoming().take(3) {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let error = fails(&folder, &[], &[&web_url]).await;
    assert!(error.contains("Meshtastic"), "{error}");
    let error = fails(&folder, &[], &["udp:"]).await;
    assert!(error.contains("swarm join"), "{error}");
    let error = fails(&folder, &[], &["udp:", "tcp:127.0.0.1:1"]).await;
    assert!(error.contains("or with the radio's link"), "{error}");
    let error = fails(&folder, &[], &["tcp:127.0.0.1:1", "udp:", "tcp:127.0.0.1:2"]).await;
    assert!(error.contains("start a daemon for each") && error.contains("beside their radios"), "{error}");
    let error = fails(&folder, &[], &["udp:", "udp:"]).await;
    assert!(error.contains("named twice"), "{error}");
    let error = fails(&folder, &["--mqtt-to-lora"], &["udp:"]).await;
    assert!(error.contains("name both links"), "{error}");
    let error = fails(&folder, &["--share", "127.0.0.1:0"], &["udp:"]).await;
    assert!(error.contains("--share shares a radio"), "{error}");
}

/// No radio is waited for that would be of no use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mqtt_cannot_carry_is_said_before_a_radio_is_touched() {
    let folder = Folder::new("up-topics");
    let join = |name: &str| {
        let mut swarm = mesh_of_cores::swarm();
        swarm.channel_name = name.try_into().unwrap();
        swarm::set_joined(&up::open_store(Some(folder.0.clone())).unwrap(), &swarm).unwrap();
    };
    let radio = TcpListener::bind("127.0.0.1:0").unwrap();
    radio.set_nonblocking(true).unwrap();
    let beside = [format!("tcp:{}", radio.local_addr().unwrap()), "mqtt://broker.example/msh".into()];
    for name in ["hills/north", "hills+", "#hills"] {
        join(name);
        for links in [&beside[..], &beside[1..]] {
            let links: Vec<&str> = links.iter().map(String::as_str).collect();
            let error = fails(&folder, &[], &links).await;
            assert!(error.contains(name) && error.contains("or leave MQTT out"), "{error}");
        }
    }
    join("hills");
    let secure = [beside[0].as_str(), "mqtts://broker.example/msh"];
    let error = fails(&folder, &["--mqtt-ca", "/no/such/ca.pem"], &secure).await;
    assert!(error.contains("/no/such/ca.pem") && error.contains("PEM"), "{error}");
    let error = fails(&folder, &["--mqtt-ca", "ca.pem"], &["mqtt://broker.example"]).await;
    assert!(error.contains("name one as mqtts://"), "{error}");
    assert_eq!(radio.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was touched");
}

/// A broker whose authority is a private one, named on the command line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_over_tls_is_reached_with_its_authority() {
    let Some(authority) = broker::Authority::new("up") else { return };
    let rules = authority.rules("broker", "IP:127.0.0.1", "-days 30");
    let Some(mosquitto) = broker::Mosquitto::start("up", &rules) else { return };
    let folder = Folder::new("up-tls");
    swarm::set_joined(&up::open_store(Some(folder.0.clone())).unwrap(), &mesh_of_cores::swarm()).unwrap();
    let (listen, ca) = (format!("127.0.0.1:{}", free_port()), authority.file());
    let words =
        ["--state", folder.0.to_str().unwrap(), "--listen", &listen, "--mqtt-ca", ca.to_str().unwrap()];
    let url = format!("mqtts://127.0.0.1:{}", mosquitto.port).parse().unwrap();
    let (stop, stopped) = oneshot::channel();
    let daemon = tokio::spawn(up::serve(args(&words), vec![url], None, stopped));
    let mut state = String::new();
    for _ in 0..100 {
        if let Some(snapshot) = get::<Snapshot>(format!("http://{listen}/api/status")).await {
            state = format!("{} {}", snapshot.links[0].state, snapshot.links[0].url);
        }
        if state.starts_with("up mqtts://127.0.0.1:") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(state.starts_with("up mqtts://127.0.0.1:"), "{state}");
    stop.send(()).unwrap();
    daemon.await.unwrap().unwrap();
}

#[test]
fn figures_that_cannot_be_are_refused() {
    for words in [
        &["--public-channel", "8"][..],
        &["--share", "127.0.0.1:0", "--share-airtime", "0"],
        &["--share", "127.0.0.1:0", "--share-airtime", "101"],
        &["--share", "127.0.0.1:0", "--share-airtime", "NaN"],
    ] {
        let error = Cli::try_parse_from([&["up"], words].concat()).err().map(|error| error.to_string());
        assert!(
            error.as_ref().is_some_and(|error| error.contains(words[words.len() - 2])),
            "{words:?}: {error:?}"
        );
    }
    let least = args(&["--share", "127.0.0.1:0", "--share-airtime", "0.1", "--public-channel", "7"]);
    assert_eq!((least.share.config().airtime_permille, least.people.public_channel), (1, vec![7]));
}

#[test]
fn invitations_that_are_none_say_why() {
    let text = mesh_of_cores::swarm().to_text().unwrap();
    assert_eq!(swarm::read_invitation(&text).unwrap(), mesh_of_cores::swarm());
    let cut = &text[..text.len() - 3];
    assert!(swarm::read_invitation(cut).is_err());
    let error = swarm::read_invitation("/no/such/file").unwrap_err().to_string();
    assert!(error.contains("neither a line that begins with compotastic: nor a file"), "{error}");
    let mut no_key = mesh_of_cores::swarm();
    no_key.channel_key.clear();
    assert!(no_key.to_text().unwrap_err().to_string().contains("lacks channel_key"));
}

#[test]
fn a_new_swarm_needs_a_region_and_a_preset_that_there_are() {
    let folder = Folder::new("swarm-new");
    let store = Store::open(folder.0.join("store")).unwrap();
    let new = || swarm::Operators::draw().unwrap();
    let error = swarm::make(&store, "hills", "EU_999", "LONG_FAST", 3, new()).unwrap_err().to_string();
    assert!(error.contains("`EU_999` is no region") && error.contains("EU_868"), "{error}");
    let error = swarm::make(&store, "hills", "EU_868", "FASTER", 3, new()).unwrap_err().to_string();
    assert!(error.contains("`FASTER` is no preset"), "{error}");
    let error = swarm::make(&store, "a name that is too long", "EU_868", "LONG_FAST", 3, new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 to 11 bytes"), "{error}");
    let made = swarm::make(&store, "hills", "eu-868", "LongFast", 3, new()).unwrap();
    assert_eq!((made.region.as_str(), made.preset.as_str()), ("EU_868", "LONG_FAST"));
    assert_eq!(joined(&store).unwrap(), Some(made.clone()));
    assert_eq!(swarm::read_invitation(&made.to_text().unwrap()).unwrap(), made);
    assert!(swarm::make(&store, "other", "EU_868", "LONG_FAST", 3, new()).is_err(), "one swarm at a time");
}
