//! `compotastic sim serve`: the nodes of a scenario as Meshtastic devices, one TCP port each, for apps and bots to be tested on.
//!
//! One thread owns the simulated world and lets it go on with the clock. Each connection is a task that reads and writes
//! frames; what it reads it hands to the thread, what the thread has for it waits in the device's own queue, as in a real radio.

mod connection;
mod http;
mod world;

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_sim::scenario::Scenario;
use tokio::{
    io::DuplexStream,
    net::TcpListener,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use world::Command;
pub use world::Options;

/// Port of Meshtastic's client API over TCP.
pub const PORT: u16 = 4403;
/// Bytes that may wait in a stream to an in-process client, each way.
const STREAM_BYTES: usize = 4096;

/// Options of `sim serve`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic sim serve scenarios/two-huts.toml\n  meshtastic --host localhost --nodes\n  meshtastic --host localhost:4404 --sendtext 'hello from the lower hut'\n  compotastic sim serve scenarios/festival.toml --nodes 8 --speed 20"
)]
pub struct ServeArgs {
    /// Scenario
    scenario: PathBuf,
    /// Port of the first node; node k has this port + k
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Port of the first node's HTTP API, for web apps; node k has this port + k
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Only so many nodes get a port; the others are on the air all the same
    #[arg(long, default_value_t = 32)]
    nodes: u16,
    /// Simulated seconds per second
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated minutes that the mesh has been on when the ports open; by default until nodes have told who they are
    #[arg(long, value_name = "MINUTES")]
    warm_up: Option<u32>,
}

/// A node that has a port, or can be opened in process.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Index in the scenario.
    pub index: usize,
    /// Node number.
    pub num: u32,
    /// Name in the scenario.
    pub name: String,
    /// Role as scenarios spell it, or what it is of ours.
    pub role: String,
    /// Latitude and longitude, degrees.
    pub place: (f64, f64),
    /// It has power, and takes a client.
    pub served: bool,
}

/// A scenario that is being served. It ends when this is dropped.
pub struct Server {
    commands: mpsc::Sender<Command>,
    nodes: Arc<[NodeRow]>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Builds the world, lets it warm up, and lets it go on from there by itself.
    pub async fn start(scenario: Scenario, options: Options) -> Result<Self> {
        let (commands, nodes) = world::spawn(scenario, options).await?;
        Ok(Self { commands, nodes: nodes.into(), tasks: JoinSet::new() })
    }

    /// All nodes, by index.
    pub fn nodes(&self) -> &[NodeRow] {
        &self.nodes
    }

    /// Opens TCP ports for the first `count` nodes, node k at `port` + k, or each at one that the system chooses where it is 0.
    /// Tells node and address of each.
    pub async fn listen(
        &mut self,
        bind: IpAddr,
        port: u16,
        count: usize,
    ) -> Result<Vec<(usize, SocketAddr)>> {
        let listeners = self.bind(bind, port, "--port", count).await?;
        let mut addresses = Vec::with_capacity(listeners.len());
        for (node, listener) in listeners {
            addresses.push((node, listener.local_addr()?));
            self.tasks.spawn(accept(listener, node, self.commands.clone()));
        }
        Ok(addresses)
    }

    /// The same for the HTTP API.
    pub async fn listen_http(
        &mut self,
        bind: IpAddr,
        port: u16,
        count: usize,
    ) -> Result<Vec<(usize, SocketAddr)>> {
        let listeners = self.bind(bind, port, "--http-port", count).await?;
        let mut addresses = Vec::with_capacity(listeners.len());
        for (node, listener) in listeners {
            addresses.push((node, listener.local_addr()?));
            self.tasks.spawn(http::serve(listener, node, self.commands.clone()));
        }
        Ok(addresses)
    }

    async fn bind(
        &self,
        bind: IpAddr,
        port: u16,
        flag: &str,
        count: usize,
    ) -> Result<Vec<(usize, TcpListener)>> {
        let count = count.min(self.nodes.len());
        ensure!(
            usize::from(port) + count.saturating_sub(1) <= usize::from(u16::MAX),
            "{count} nodes do not fit above port {port}: take a lower {flag}, or fewer --nodes"
        );
        let mut listeners = Vec::with_capacity(count);
        for row in self.nodes.iter().take(count).filter(|row| row.served) {
            let port = if port == 0 { 0 } else { port + row.index as u16 };
            listeners.push((row.index, bind_port(bind, port, flag, row).await?));
        }
        Ok(listeners)
    }

    /// Opens a node in this process: the bytes are those of its serial port. A client that was connected to it is closed.
    pub fn open(&mut self, node: usize) -> Result<DuplexStream> {
        let row = self.nodes.get(node);
        let row = row.with_context(|| {
            format!("the scenario has {} nodes; there is no node {node}", self.nodes.len())
        })?;
        ensure!(
            row.served,
            "node {node} ({}) is one of ours and takes no client; choose a stock node",
            row.name
        );
        let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
        self.tasks.spawn(connection::serve(ours, node, self.commands.clone(), false));
        Ok(theirs)
    }

    /// The node of this name, number (`!0b000001`) or index.
    pub fn find(&self, which: &str) -> Result<usize> {
        let by_number = which.strip_prefix('!').and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let found = self.nodes.iter().position(|row| row.name == which || Some(row.num) == by_number);
        let by_index = || which.parse().ok().filter(|index| *index < self.nodes.len());
        found.or_else(by_index).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().take(12).map(|row| row.name.as_str()).collect();
            anyhow!("the scenario has no node \"{which}\"; it has {}", names.join(", "))
        })
    }
}

/// One node of a scenario in this process, by name, number or index (the first one if `None`), at the speed of the clock. The server goes on
/// as long as it is held.
pub async fn open(scenario: &Path, node: Option<&str>) -> Result<(Server, DuplexStream)> {
    let scenario = read(scenario)?;
    let mut server = Server::start(scenario, Options::default()).await?;
    let index = node.map_or(Ok(0), |which| server.find(which))?;
    let stream = server.open(index)?;
    Ok((server, stream))
}

fn read(path: &Path) -> Result<Scenario> {
    Scenario::load(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// `flag` named the port.
async fn bind_port(bind: IpAddr, port: u16, flag: &str, row: &NodeRow) -> Result<TcpListener> {
    TcpListener::bind((bind, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "port {port} (node {}, {}) is in use: end what listens there, or choose another {flag} or fewer --nodes",
            row.index,
            row.name
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("port {port} may not be opened: ports below 1024 need root; choose a higher {flag}")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("{bind} is not an address of this machine; leave out --bind to listen on loopback")
        }
        _ => anyhow!("cannot listen on {bind} port {port}: {error}"),
    })
}

/// Takes one client after the other; the new one closes the old one, as a real node does.
async fn accept(listener: TcpListener, node: usize, commands: mpsc::Sender<Command>) {
    let mut last: Option<AbortHandle> = None;
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, address)) => {
                tracing::info!(node, %address, "client");
                if let Some(last) = last.take() {
                    last.abort();
                }
                // Small frames both ways, each of which somebody waits for.
                let _ = stream.set_nodelay(true);
                last = Some(clients.spawn(connection::serve(stream, node, commands.clone(), true)));
            }
            Err(error) => {
                // No file handles left, as a rule: wait rather than spin.
                tracing::warn!(node, %error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

/// Who listens where.
fn table(nodes: &[NodeRow], addresses: &[(usize, SocketAddr)]) -> String {
    let names = addresses.iter().map(|(node, _)| nodes[*node].name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    let mut lines = format!("{:>5}  {:<9}  {:<width$}  {:<13}  place\n", "port", "number", "name", "role");
    for (node, address) in addresses {
        let row = &nodes[*node];
        let (latitude, longitude) = row.place;
        lines += &format!(
            "{:>5}  !{:08x}  {:<width$}  {:<13}  {latitude:.5}, {longitude:.5}\n",
            address.port(),
            row.num,
            row.name,
            row.role
        );
    }
    let others = nodes.len() - addresses.len();
    if others > 0 {
        lines += &format!("{others} more on the air without a port (--nodes)\n");
    }
    lines
}

/// Runs `sim serve` until it is interrupted.
pub fn run(args: ServeArgs) -> Result<()> {
    if !(args.speed > 0.0 && args.speed <= 10_000.0) {
        bail!("--speed {} is not between 0 and 10000", args.speed);
    }
    let scenario = read(&args.scenario)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let options = Options {
            seed: args.seed,
            speed: args.speed,
            warm_up_s: args.warm_up.map(|minutes| u64::from(minutes) * 60),
        };
        eprintln!("The mesh warms up: {} nodes tell who they are ...", scenario.node_count());
        let mut server = Server::start(scenario, options).await?;
        let addresses = server.listen(args.bind, args.port, usize::from(args.nodes)).await?;
        let web = match args.http_port {
            Some(port) => server.listen_http(args.bind, port, usize::from(args.nodes)).await?,
            None => Vec::new(),
        };
        let mut out = std::io::stdout().lock();
        write!(out, "{}", table(server.nodes(), &addresses))?;
        if let Some((node, address)) = web.first() {
            let name = &server.nodes()[*node].name;
            writeln!(
                out,
                "\nWeb apps connect over HTTP to {address} ({name}); the next node has the next port."
            )?;
        }
        let (_, first) = addresses.first().context("no node has a port: take a larger --nodes")?;
        writeln!(
            out,
            "\nTry: meshtastic --host {}:{} --nodes        (Ctrl-C ends it)",
            first.ip(),
            first.port()
        )?;
        out.flush()?;
        drop(out);
        stop_asked().await
    })
}

/// Until SIGINT or SIGTERM.
async fn stop_asked() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
