//! `sim:`: a radio of a simulated mesh in this process.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use compotastic_links::{Connector, Fault, FaultKind, Pipe, connect::Opening};
use compotastic_sim::{files, scenario::Scenario};

use crate::serve::{Options, Server};

/// A mesh with stock nodes, where no scenario was named.
const DEFAULT_SCENARIO: &str = include_str!("../../../../scenarios/two-huts.toml");

/// No scenario is longer.
const SCENARIO_BYTES: u64 = 16 << 20;

/// Opens one node's client API, again and again.
pub struct SimConnector {
    server: Arc<Mutex<Server>>,
    node: usize,
    name: String,
}

/// Starts the world and gives the way to one of its nodes: the one of this index, or the first that takes a client.
pub async fn start(scenario: &std::path::Path, node: Option<u32>) -> Result<SimConnector> {
    let text = if scenario.as_os_str().is_empty() {
        DEFAULT_SCENARIO.to_owned()
    } else {
        files::read_text(scenario, SCENARIO_BYTES)
            .with_context(|| format!("cannot read the scenario {}", scenario.display()))?
    };
    let name = format!("sim:{}", scenario.display());
    let parsed = Scenario::parse(&text).with_context(|| format!("the scenario of {name}"))?;
    let server = Server::start(parsed, Options::default()).await?;
    let served = server.nodes().iter().find(|row| node.map_or(row.served, |node| row.index == node as usize));
    let node =
        served.with_context(|| format!("{name} has no such node; it has {}", server.nodes().len()))?.index;
    Ok(SimConnector { server: Arc::new(Mutex::new(server)), node, name })
}

impl Connector for SimConnector {
    fn open(&mut self) -> Opening<'_> {
        let opened = self.server.lock().unwrap_or_else(PoisonError::into_inner).open(self.node);
        Box::pin(async move {
            match opened {
                Ok(stream) => Ok(Pipe::Stream(Box::new(stream))),
                Err(error) => {
                    Err(Fault::new(FaultKind::Missing, format!("{error:#}"), "choose another node"))
                }
            }
        })
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn nonsense(&self, _seen: &[u8]) -> Fault {
        Fault::new(FaultKind::Other, "the simulated radio says what cannot be read", "report this as a bug")
    }

    fn silence(&self) -> Fault {
        Fault::new(FaultKind::Silent, "the simulated radio says nothing", "look at its scenario")
    }
}
