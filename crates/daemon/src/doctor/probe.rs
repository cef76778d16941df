//! Opens a link as the daemon would, and listens.

use std::{path::Path, time::Duration};

use compotastic_links::{
    Fault, FaultKind, LinkUrl, PacketConfig, PacketEvent, PacketLink, RadioEvent, RadioInfo, RadioLink,
    SessionConfig,
};
use compotastic_sim::scenario::Scenario;
use tokio::time::{Instant, timeout_at};

use super::{Finding, Seen, check_radio};
use crate::{cli::Client, seam::Snapshot};

/// A radio that does not tell its state within this time has something wrong with it; the link itself says so sooner.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody's node number: our ear on the network is no node.
const NOBODY: u32 = 0;

/// Looks at a link. Where it works, it is listened to for the time given. `mqtt_ca` are the authorities that brokers over TLS are believed by, instead
/// of the system's.
pub async fn probe(url: &LinkUrl, listen: Duration, mqtt_ca: Option<&Path>) -> Vec<Finding> {
    match url {
        LinkUrl::Sim { scenario, node } => vec![simulated(scenario, *node)],
        LinkUrl::Udp { .. } | LinkUrl::Mqtt { .. } => packets(url, listen, mqtt_ca).await,
        _ => match held(url).await {
            Some(finding) => vec![finding],
            None => radio(url, listen).await,
        },
    }
}

/// A radio that was reached has given this link up.
fn taken(url: &LinkUrl, fault: &Fault) -> Finding {
    if fault.kind != FaultKind::Closed {
        return self::fault(fault);
    }
    Finding::warning(
        "busy",
        format!(
            "{url} closed the connection: another program took it, since it serves one at a time, or it was started anew"
        ),
        "is it the radio of `compotastic up`? Stop that and look again, or look at the address of its --share; `compotastic status` shows how it is",
    )
}

/// The daemon of this machine, where it has this link: a look at it would push the daemon out.
async fn held(url: &LinkUrl) -> Option<Finding> {
    let state = tokio::task::spawn_blocking(|| {
        let client = Client::quick()?;
        anyhow::ensure!(client.is_here(), "its ports are not this machine's");
        client.get::<Snapshot>("/api/status")
    });
    let state = state.await.ok()?.ok()?;
    // One that is down is looked at: nobody is pushed out.
    let link = state.links.iter().find(|link| link.url == url.to_string() && link.state == "up")?;
    Some(Finding::warning(
        "busy",
        format!(
            "`compotastic up` has it (node {}, link {}: {}), and is not pushed out",
            state.id, link.state, link.detail
        ),
        "`compotastic status` shows how it is; to look at the radio itself stop `compotastic up`, or look at the address of its --share",
    ))
}

fn fault(fault: &Fault) -> Finding {
    let check = match fault.kind {
        FaultKind::Permission => "permission",
        FaultKind::Busy => "busy",
        FaultKind::WrongBaud => "baud",
        FaultKind::Refusal => "login",
        FaultKind::Untrusted => "certificate",
        FaultKind::Unsupported => "firmware",
        _ => "link",
    };
    Finding::broken(check, fault.what.clone(), fault.mend.clone())
}

fn simulated(scenario: &Path, node: Option<u32>) -> Finding {
    if scenario.as_os_str().is_empty() {
        return Finding::ok("scenario", "the one that is built in");
    }
    let nodes = match Scenario::load(scenario) {
        Ok(scenario) => scenario.node_count(),
        Err(error) => {
            return Finding::broken("scenario", error.to_string(), "mend the file, or see scenarios/");
        }
    };
    match node {
        Some(node) if node as usize >= nodes => Finding::broken(
            "scenario",
            format!("it has no node {node}"),
            format!("its {nodes} nodes are counted from 0"),
        ),
        _ => Finding::ok("scenario", format!("{nodes} nodes")),
    }
}

async fn radio(url: &LinkUrl, listen: Duration) -> Vec<Finding> {
    let mut radio = match RadioLink::spawn(url, SessionConfig::default()) {
        Ok(radio) => radio,
        Err(error) => return vec![fault(&error)],
    };
    let opened = timeout_at(Instant::now() + PATIENCE, async {
        loop {
            match radio.events.recv().await {
                Some(RadioEvent::Up(info)) => return Ok(*info),
                Some(RadioEvent::Down { reason }) => return Err(reason),
                Some(_) => {}
                None => return Err(Fault::new(FaultKind::Other, "the link ended by itself", "try again")),
            }
        }
    });
    let info = match opened.await {
        Ok(Ok(info)) => info,
        Ok(Err(reason)) => return vec![fault(&reason)],
        Err(_) => {
            return vec![Finding::broken(
                "link",
                "the radio tells nothing of itself within a minute",
                "restart it, and see whether it is a Meshtastic radio",
            )];
        }
    };
    let mut findings = vec![Finding::ok("link", format!("radio !{:08x}{}", info.num, name(&info)))];
    let mut seen = Seen::default();
    let until = Instant::now() + listen;
    // What the radio says to a person is as good as any check of ours.
    while let Ok(Some(event)) = timeout_at(until, radio.events.recv()).await {
        match event {
            RadioEvent::Telemetry(telemetry) => seen.telemetry = Some(telemetry),
            RadioEvent::Packet(packet) => {
                seen.packets += 1;
                seen.rx_time = packet.rx_time.or(seen.rx_time);
            }
            RadioEvent::QueueStatus { free, .. } => seen.queue_free = Some(free),
            RadioEvent::Notice(notice) => {
                findings.push(Finding::warning("notice", notice, "the radio itself says so"));
            }
            RadioEvent::Down { reason } => {
                findings.push(taken(url, &reason));
                break;
            }
            _ => {}
        }
    }
    findings.extend(check_radio(&info, &seen));
    let known = info.nodes.len().saturating_sub(1);
    findings.push(Finding::ok(
        "mesh",
        format!("{known} other nodes known, {} packets in {} s", seen.packets, listen.as_secs()),
    ));
    let _ = radio.sender.shutdown().await;
    findings
}

fn name(info: &RadioInfo) -> String {
    let own = info.nodes.iter().find(|node| node.num == info.num);
    own.map(|node| format!(" \"{}\"", node.long_name)).unwrap_or_default()
}

async fn packets(url: &LinkUrl, listen: Duration, mqtt_ca: Option<&Path>) -> Vec<Finding> {
    let config = PacketConfig {
        node: NOBODY,
        channels: vec!["LongFast".into()],
        downlink: true,
        mqtt_ca: mqtt_ca.map(Path::to_path_buf),
    };
    let mut link = match PacketLink::spawn(url, config) {
        Ok(link) => link,
        Err(error) => return vec![fault(&error)],
    };
    let opened = timeout_at(Instant::now() + PATIENCE, async {
        loop {
            match link.events.recv().await {
                Some(PacketEvent::Up) => return None,
                Some(PacketEvent::Down { reason }) => return Some(reason),
                Some(_) => {}
                None => return Some(Fault::new(FaultKind::Other, "the link ended by itself", "try again")),
            }
        }
    });
    match opened.await {
        Ok(None) => {}
        Ok(Some(reason)) => return vec![fault(&reason)],
        Err(_) => {
            return vec![Finding::broken(
                "link",
                "nothing answers within a minute",
                "see whether the network is there",
            )];
        }
    }
    let detail = link.state.borrow().detail.clone();
    let mut findings = vec![Finding::ok("link", detail)];
    let mut heard = 0;
    let until = Instant::now() + listen;
    while let Ok(Some(event)) = timeout_at(until, link.events.recv()).await {
        match event {
            PacketEvent::Packet { .. } => heard += 1,
            PacketEvent::Down { reason } => {
                findings.push(fault(&reason));
                break;
            }
            _ => {}
        }
    }
    findings.push(Finding::ok("mesh", format!("{heard} packets in {} s", listen.as_secs())));
    let _ = link.sender.shutdown().await;
    findings
}
