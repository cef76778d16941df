//! A plan for the mesh of a running daemon: what it tells of its mesh over the API, on the radios of a simulated one, is a mesh to rehearse on.

mod fast_clock;
mod mesh_of_cores;

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use clap::Parser;
use compotastic_bundle::{ClaimedManifest, ClassMask, ComponentKind, Layout, Manifest, build_stream};
use compotastic_daemon::{
    cli::{
        ApiArgs, Client,
        mesh::{Wanted, live_mesh},
    },
    seam::{Brain, Snapshot},
    serve::{Options, Server},
    swarm::join_radio,
    up::{self, UpArgs},
};
use compotastic_links::SessionConfig;
use compotastic_sim::{
    plan::{Basis, PlanOrder, Rehearse, WayName, plan},
    scenario::{LinkSettings, Package, Scenario},
};
use mesh_of_cores::{Echo, Folder, operator};
use tokio::sync::oneshot;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    up: UpArgs,
}

/// Three radios in a row; the ends do not hear each other.
const ROW: &str = "name = \"row\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 24.0\n\
[[node]]\nname = \"west\"\nx_m = 0.0\ny_m = 0.0\n[[node]]\nname = \"middle\"\nx_m = 0.0\ny_m = 0.0\n\
[[node]]\nname = \"east\"\nx_m = 0.0\ny_m = 0.0\n\
[[link]]\nbetween = [\"west\", \"middle\"]\nsnr_db = 3.0\n[[link]]\nbetween = [\"middle\", \"east\"]\nsnr_db = 3.0\n";

async fn join(state: &Path, url: &str) {
    let store = up::open_store(Some(state.to_path_buf())).unwrap();
    let mut handle = up::open_link(&url.parse().unwrap(), SessionConfig::default()).await.unwrap();
    join_radio(&store, &mesh_of_cores::swarm(), &mut handle, |_| true).await.unwrap();
    handle.sender.shutdown().await.unwrap();
}

async fn status(api: &str) -> Option<Snapshot> {
    let args = ApiArgs { api: Some(api.to_string()), token_file: None };
    tokio::task::spawn_blocking(move || Client::new(&args).ok()?.get("/api/status").ok()).await.unwrap()
}

fn package(class: u8) -> Package {
    let content: Vec<u8> = (0..2000u32).map(|at| ((at * at) >> 3) as u8).collect();
    let layout = Layout::new(2000, 208).unwrap();
    let identity = build_stream(&content, 208, &mut vec![0; layout.stream_len() as usize]).unwrap();
    let manifest = Manifest::of(&identity, ComponentKind::Firmware, 0, 2, ClassMask::of(class));
    Package { claimed: ClaimedManifest::sign(manifest, &operator()).unwrap(), delegation: None, content }
}

#[tokio::test]
async fn the_mesh_of_a_daemon_on_simulated_radios_is_planned_for() {
    fast_clock::quicken();
    let folder = Folder::new("plan-live");
    let options = Options { warm_up_s: Some(0), speed: fast_clock::SPEED.into(), ..Options::default() };
    let mut server = Server::start(Scenario::parse(ROW).unwrap(), options).await.unwrap();
    let ports = server.listen("127.0.0.1".parse().unwrap(), 0, 3).await.unwrap();
    let (mut stops, mut daemons, mut apis) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (_, address)) in ports.iter().enumerate() {
        let (state, url) = (folder.0.join(index.to_string()), format!("tcp:{address}"));
        join(&state, &url).await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let words = ["up", "--state", state.to_str().unwrap(), "--listen", &listen, "--no-people"];
        let brain = Some(Arc::new(Echo) as Arc<dyn Brain>);
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        daemons.push(tokio::spawn(up::serve(
            Cli::parse_from(words).up,
            vec![url.parse().unwrap()],
            brain,
            stopped,
        )));
        apis.push(format!("http://{listen}"));
    }
    // Beacons come within two minutes, and name who is heard after another one or two.
    let mut snapshot = None;
    for _ in 0..900 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        snapshot = status(&apis[0]).await;
        let knows = |snapshot: &Snapshot| {
            let named = |node: &compotastic_daemon::seam::NodeView| {
                node.neighbours.as_ref().is_some_and(|named| named.len() == 2)
            };
            snapshot.nodes.iter().any(|node| node.member && named(node))
        };
        if snapshot.as_ref().is_some_and(knows) {
            break;
        }
    }
    let snapshot = snapshot.expect("the API answers");
    let wanted = Wanted { class: 0, loss: 0.05, apart_m: 800.0 };
    let mesh = live_mesh(&snapshot, &wanted).unwrap_or_else(|error| panic!("{error}: {snapshot:#?}"));
    let scenario = Scenario::parse(&mesh.toml).unwrap();
    assert_eq!(scenario.kinds().iter().filter(|kind| kind.is_ours()).count(), 3, "{}", mesh.toml);
    // West hears the middle, and by the middle's beacon that the east is behind it. What else is on the air is a node of its own.
    let between = |link: &&LinkSettings| !link.between.get_ref().contains(&"others".to_string());
    let links: Vec<&LinkSettings> = scenario.link.iter().filter(between).collect();
    assert_eq!(links.len(), 2, "{}", mesh.toml);
    for link in links {
        // As it was heard, with some fading.
        assert!((link.snr_db.get_ref() - 3.0).abs() < 5.0, "{}", mesh.toml);
    }
    let rehearse = Some(Rehearse { base: None, times: Some(4), threads: None });
    let order = PlanOrder { class: None, within_h: 24.0, walk_m_s: 1.2, rehearse };
    let plan = tokio::task::spawn_blocking(move || plan(&scenario, 1, &package(0), &order, |_, _| {}));
    let plan = plan.await.unwrap().unwrap();
    let way = plan.way(WayName::Mesh).unwrap();
    assert_eq!((way.basis, way.rehearsals, way.reaches), (Basis::Rehearsal, 4, 3), "{way:?}");
    assert!(way.hours > 0.0 && way.packets >= 20.0, "ten pieces over two hops: {way:?}");
    drop(stops);
    for daemon in daemons {
        daemon.await.unwrap().unwrap();
    }
}
