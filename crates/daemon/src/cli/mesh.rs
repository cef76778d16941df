//! The mesh as the running daemon knows it, as a scenario: what `compotastic plan --live` rehearses on.
//!
//! A node knows its own neighbours and how it hears them, and by their beacons whom those hear: the graph two hops around it. What lies farther is known by
//! number and hops at most. All that had to be assumed is told in words, and the scenario is TOML, so that one can look at it, mend it
//! and plan with it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Result, bail, ensure};
use compotastic_mesh::lora::{Preset, Region};

use crate::seam::{NodeView, Snapshot};

/// A member that was not heard for so long is taken to be away, s: longer than any beacon keeps one waiting.
const AWAY_S: u64 = 24 * 3600;
/// How well nodes hear each other where nobody says so, dB above what their preset needs.
const USUAL_MARGIN_DB: f32 = 10.0;
/// No member is farther, hops.
const HOPS_MAX: u8 = 7;
/// Others' use of the channel below this is none, percent.
const QUIET_PERCENT: f32 = 0.5;
/// Their packets are taken to be so long, bytes of text.
const TALK_BYTES: usize = 60;
/// Around a text: header, port, lengths, bitfield.
const AROUND_TEXT: usize = 24;

/// What the scenario is to be for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Device class of the publisher: one for which the bundle is signed.
    pub class: u8,
    /// Loss per transmission and receiver, beside what the radio loses; no node measures it.
    pub loss: f64,
    /// Metres from node to node for somebody who walks.
    pub apart_m: f64,
}

/// The mesh, and what of it is guessed.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveMesh {
    /// A scenario as TOML.
    pub toml: String,
    /// What had to be assumed, a sentence each.
    pub assumed: Vec<String>,
}

/// A member on the way into the scenario.
struct Member {
    name: String,
    kind: &'static str,
    class: u8,
    hops: Option<u8>,
}

/// Everything that is put into the scenario.
struct Draft {
    members: Vec<Member>,
    /// By place in `members`, the lower first: dB, where somebody measured it.
    links: BTreeMap<(usize, usize), Option<f32>>,
    /// Stock nodes between members: name, and the two that it connects.
    relays: Vec<(String, usize, usize)>,
    assumed: Vec<String>,
}

fn some(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

impl Draft {
    fn index(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    fn link(&mut self, a: usize, b: usize, snr_db: Option<f32>) {
        if a != b {
            let known = self.links.entry((a.min(b), a.max(b))).or_default();
            *known = known.or(snr_db);
        }
    }

    /// Members that the publisher does not reach.
    fn cut_off(&self) -> Vec<usize> {
        let mut seen = BTreeSet::from([0]);
        let mut next = vec![0];
        let over_relays = self.relays.iter().map(|(_, a, b)| (*a, *b));
        let pairs: Vec<(usize, usize)> = self.links.keys().copied().chain(over_relays).collect();
        while let Some(at) = next.pop() {
            for (a, b) in &pairs {
                for (from, to) in [(*a, *b), (*b, *a)] {
                    if from == at && seen.insert(to) {
                        next.push(to);
                    }
                }
            }
        }
        (0..self.members.len()).filter(|member| !seen.contains(member)).collect()
    }

    /// Members that are known, without those that are away.
    fn add_members(&mut self, nodes: &[NodeView]) {
        let away = |node: &&NodeView| node.heard_s_ago.is_none_or(|ago| ago > AWAY_S);
        let gone = nodes.iter().filter(|node| node.member).filter(away).count();
        if gone > 0 {
            let members = some(gone, "member was", "members were");
            self.assumed.push(format!("{members} not heard for a day, and left out"));
        }
        for node in nodes.iter().filter(|node| node.member && !away(node)) {
            let class = node.device_class.unwrap_or_default();
            // Class 0 is that of daemons behind radios.
            let kind = if node.foundation_model || class == 0 { "hosted" } else { "field" };
            self.members.push(Member { name: node.id.clone(), kind, class, hops: node.hops_away });
        }
    }

    /// What the publisher hears, and what its neighbours' beacons say.
    fn add_links(&mut self, nodes: &[NodeView], class: u8) {
        for node in nodes {
            let Some(at) = self.index(&node.id) else { continue };
            if node.hops_away == Some(0) {
                self.link(0, at, node.snr_db);
            }
        }
        let mut unknown = 0;
        for node in nodes {
            let Some(at) = self.index(&node.id) else { continue };
            for heard in node.neighbours.iter().flatten() {
                let to = match self.index(heard) {
                    Some(to) => to,
                    // Beacons name members alone: one that only its neighbours have heard, or that was not heard itself for a day.
                    None => {
                        unknown += 1;
                        let hops = node.hops_away.map(|hops| (hops + 1).min(HOPS_MAX));
                        self.members.push(Member { name: heard.clone(), kind: "field", class, hops });
                        self.members.len() - 1
                    }
                };
                self.link(at, to, None);
            }
        }
        if unknown > 0 {
            let members = some(unknown, "member is", "members are");
            self.assumed
                .push(format!("{members} only known by beacons of others: taken to be of class {class}"));
        }
    }

    /// Whoever is not connected yet stands behind somebody a hop nearer, those near first.
    fn place_the_rest(&mut self) {
        let mut left = self.cut_off();
        if left.is_empty() {
            return;
        }
        let named: Vec<String> = left.iter().map(|at| self.members[*at].name.clone()).collect();
        let hops = |members: &[Member], at: usize| members[at].hops.unwrap_or(1);
        left.sort_by_key(|at| (hops(&self.members, *at), *at));
        let mut behind = vec![0usize; self.members.len()];
        let mut relays = 0;
        for at in left {
            if !self.cut_off().contains(&at) {
                continue;
            }
            let wanted = hops(&self.members, at);
            let cut_off = self.cut_off();
            let before = (0..self.members.len())
                .filter(|other| !cut_off.contains(other))
                .map(|other| (if other == 0 { None } else { Some(hops(&self.members, other)) }, other))
                // The publisher itself is one hop nearer than its neighbours.
                .filter(|(hops, _)| hops.is_none_or(|hops| hops < wanted))
                .max_by_key(|(hops, other)| (*hops, std::cmp::Reverse((behind[*other], *other))));
            let (near, other) = before.unwrap_or((None, 0));
            behind[other] += 1;
            // Hops that no member explains are stock nodes'.
            let missing = wanted - near.map_or(0, |hops| hops + 1).min(wanted);
            if missing > 0 {
                relays += 1;
                self.relays.push((format!("relay {relays}"), other, at));
            } else {
                self.link(other, at, None);
            }
        }
        self.assumed.push(format!(
            "nobody tells whom {} hear: placed behind a member that is a hop nearer",
            named.join(", ")
        ));
        if relays > 0 {
            let nodes = some(relays, "stock node", "stock nodes");
            self.assumed.push(format!("{nodes} put where hops have no member of ours"));
        }
    }
}

/// What others use of the channel, percent, own sending left out.
fn others_percent(snapshot: &Snapshot) -> f32 {
    let air = &snapshot.airtime;
    (air.channel_utilization_percent - air.air_util_tx_percent).clamp(0.0, 60.0)
}

/// The mesh that a daemon tells of; the publisher is the daemon's own node.
pub fn live_mesh(snapshot: &Snapshot, wanted: &Wanted) -> Result<LiveMesh> {
    match snapshot.mode.as_str() {
        "hosted" => {}
        "native" => bail!(
            "the daemon has no radio of its own (its mode is native): plan with --scenario, or at a daemon that has one"
        ),
        _ => bail!("the daemon only listens, so it could not push: `compotastic swarm join` first"),
    }
    let preset = snapshot.preset.parse::<Preset>();
    let region = snapshot.region.parse::<Region>();
    let (Ok(preset), Ok(region)) = (preset, region) else {
        bail!(
            "the daemon knows no preset and region of its radio yet (\"{}\", \"{}\"): is its link up? `compotastic status`",
            snapshot.preset,
            snapshot.region
        );
    };
    let own = Member { name: snapshot.id.clone(), kind: "hosted", class: wanted.class, hops: None };
    let mut draft = Draft {
        members: vec![own],
        links: BTreeMap::new(),
        relays: Vec::new(),
        assumed: vec![format!(
            "loss beside noise is {:.0} %: no node measures it; --loss",
            wanted.loss * 100.0
        )],
    };
    let nodes: Vec<NodeView> = snapshot.nodes.iter().filter(|node| node.id != snapshot.id).cloned().collect();
    draft.add_members(&nodes);
    ensure!(
        draft.members.len() > 1,
        "the daemon has not heard a member of its swarm within a day: `compotastic nodes --members` lists them"
    );
    draft.add_links(&nodes, wanted.class);
    draft.place_the_rest();
    Ok(write(snapshot, wanted, preset, region, draft))
}

fn write(snapshot: &Snapshot, wanted: &Wanted, preset: Preset, region: Region, draft: Draft) -> LiveMesh {
    let Draft { members, links, relays, mut assumed } = draft;
    if snapshot.links.len() > 1 {
        assumed.push(
            "nodes that are heard without a hop are taken to be on the air, also where a LAN brought them"
                .to_string(),
        );
    }
    let modem = preset.modem(region.wide());
    let measured: Vec<f32> = links.values().copied().flatten().collect();
    let usual_db = match measured.len() {
        0 => f32::from(modem.snr_limit_qdb()) / 4.0 + USUAL_MARGIN_DB,
        count => measured.iter().sum::<f32>() / count as f32,
    };
    let guessed = links.len() - measured.len() + 2 * relays.len();
    if guessed > 0 {
        let of = if measured.is_empty() {
            "10 dB above what the preset needs"
        } else {
            "as the measured ones on average"
        };
        assumed.push(format!(
            "{} of {} links are not measured: taken to be {usual_db:.1} dB, {of}",
            guessed,
            links.len() + 2 * relays.len()
        ));
    }
    assumed.push(format!(
        "a carrier walks {:.0} m from node to node: places are not known; --apart",
        wanted.apart_m
    ));
    let mut toml = format!(
        "name = \"as {} knows it\"\ndescription = \"Made by compotastic plan --live.\"\npreset = \"{}\"\nregion = \"{}\"\nhours = 24.0\n\
         loss = {:.4}\n\n[radio]\nfading_db = 2.0\n",
        snapshot.id,
        preset.name(),
        region.name(),
        wanted.loss
    );
    // Writing to a string cannot fail.
    let mut node = |name: &str, kind: &str, class: Option<u8>, x_m: f64| {
        let class = class.map_or(String::new(), |class| format!("class = {class}\n"));
        let _ = write!(
            toml,
            "\n[[node]]\nname = \"{name}\"\nkind = \"{kind}\"\n{class}x_m = {x_m:.1}\ny_m = 0.0\n"
        );
    };
    for (at, member) in members.iter().enumerate() {
        node(&member.name, member.kind, Some(member.class), wanted.apart_m * at as f64);
    }
    for (name, ..) in &relays {
        node(name, "stock", None, 0.0);
    }
    let percent = others_percent(snapshot);
    if percent >= QUIET_PERCENT {
        node("others", "stock", None, 0.0);
    }
    let mut link = |a: &str, b: &str, snr_db: f32| {
        let _ = write!(
            toml,
            "\n[[link]]\nbetween = [\"{a}\", \"{b}\"]\nsnr_db = {:.2}\n",
            snr_db.clamp(-40.0, 40.0)
        );
    };
    for ((a, b), snr_db) in &links {
        link(&members[*a].name, &members[*b].name, snr_db.unwrap_or(usual_db));
    }
    for (name, a, b) in &relays {
        link(&members[*a].name, name, usual_db);
        link(name, &members[*b].name, usual_db);
    }
    if percent >= QUIET_PERCENT {
        for member in &members {
            link(&member.name, "others", usual_db);
        }
        let airtime_s = modem.time_on_air_us(TALK_BYTES + AROUND_TEXT) as f64 / 1e6;
        let every_s = (airtime_s * 100.0 / f64::from(percent)).max(1.0);
        let _ = write!(
            toml,
            "\n[[messages]]\nfrom = \"others\"\nto = \"everybody\"\nevery_s = {every_s:.1}\nlength = {TALK_BYTES}\nhop_limit = 0\n"
        );
        assumed.push(format!(
            "others go on using {percent:.1} % of the channel, everywhere, as they do now here"
        ));
    }
    LiveMesh { toml, assumed }
}

#[cfg(test)]
mod tests {
    use compotastic_sim::scenario::{Scenario, build};

    use super::*;
    use crate::seam::AirtimeView;

    const WANTED: Wanted = Wanted { class: 3, loss: 0.1, apart_m: 500.0 };

    fn member(num: u32, hops: u8, hears: &[&str]) -> NodeView {
        NodeView {
            num,
            id: format!("!{num:08x}"),
            heard_s_ago: Some(600),
            hops_away: Some(hops),
            snr_db: (hops == 0).then_some(4.0),
            member: true,
            device_class: Some(3),
            neighbours: (!hears.is_empty()).then(|| hears.iter().map(|id| (*id).to_string()).collect()),
            ..NodeView::default()
        }
    }

    fn snapshot(nodes: Vec<NodeView>) -> Snapshot {
        Snapshot {
            num: 1,
            id: "!00000001".to_string(),
            mode: "hosted".to_string(),
            region: "EU_868".to_string(),
            preset: "LONG_FAST".to_string(),
            nodes,
            airtime: AirtimeView {
                channel_utilization_percent: 9.0,
                air_util_tx_percent: 1.0,
                ..AirtimeView::default()
            },
            ..Snapshot::default()
        }
    }

    /// The mesh, and its links by name.
    fn made(snapshot: &Snapshot) -> (LiveMesh, Vec<(String, String)>) {
        let mesh = live_mesh(snapshot, &WANTED).unwrap();
        let scenario = Scenario::parse(&mesh.toml).unwrap_or_else(|error| panic!("{error}\n{}", mesh.toml));
        let of = build(&scenario, 1, None).unwrap();
        let links = of.world.links(990_000).into_iter();
        let mut links: Vec<(String, String)> =
            links.map(|(a, b)| (of.names[a].clone(), of.names[b].clone())).collect();
        links.retain(|(_, b)| b != "others");
        (mesh, links)
    }

    fn pair(a: u32, b: u32) -> (String, String) {
        (format!("!{a:08x}"), format!("!{b:08x}"))
    }

    #[test]
    fn two_hops_are_known_and_what_lies_farther_is_placed_behind() {
        let stranger = NodeView { member: false, ..member(9, 0, &[]) };
        let nodes = vec![
            member(2, 0, &["!00000001", "!00000003", "?abcd"]),
            member(3, 1, &[]),
            member(4, 2, &[]),
            member(5, 2, &[]),
            stranger,
        ];
        // The radio knows the name of a node that only a beacon tells to be a member.
        let told = NodeView { member: false, hops_away: Some(1), ..member(7, 1, &[]) };
        let with_name = snapshot(vec![member(2, 0, &["!00000001", "!00000007"]), told]);
        assert!(made(&with_name).1.contains(&pair(2, 7)), "{}", made(&with_name).0.toml);

        let (mesh, links) = made(&snapshot(nodes));
        let unknown = || ("!00000002".to_string(), "?abcd".to_string());
        assert!(links.contains(&pair(1, 2)) && links.contains(&pair(2, 3)) && links.contains(&unknown()));
        // The two at two hops share the two at one.
        assert!(links.contains(&pair(3, 4)), "{links:?}");
        assert!(links.contains(&("!00000005".to_string(), "?abcd".to_string())), "{links:?}");
        assert_eq!(links.len(), 5, "the stranger is no part of it: {links:?}");
        let assumed = mesh.assumed.join("\n");
        for said in ["only known by beacons", "!00000004, !00000005", "not measured", "8.0 % of the channel"]
        {
            assert!(assumed.contains(said), "{said}: {assumed}");
        }
        assert!(mesh.toml.contains("loss = 0.1000") && mesh.toml.contains("class = 3"));
    }

    #[test]
    fn hops_without_a_member_are_a_stock_nodes() {
        let (mesh, links) = made(&snapshot(vec![member(3, 3, &[]), member(2, 2, &[])]));
        assert_eq!(links.len(), 3, "{links:?}");
        assert!(
            links.iter().any(|link| *link == pair(3, 2) || *link == pair(2, 3)),
            "behind the one that is behind the relay: {links:?}"
        );
        assert_eq!(links.iter().filter(|(a, b)| a == "relay 1" || b == "relay 1").count(), 2);
        assert!(mesh.assumed.iter().any(|said| said.contains("1 stock node put")), "{:?}", mesh.assumed);
    }

    #[test]
    fn what_makes_no_mesh_is_refused_with_what_to_do() {
        let away = NodeView { heard_s_ago: Some(2 * AWAY_S), ..member(2, 0, &[]) };
        let good = snapshot(vec![member(2, 0, &[])]);
        assert!(live_mesh(&good, &WANTED).is_ok());
        let cases = [
            (Snapshot { nodes: vec![away], ..good.clone() }, "nodes --members"),
            (Snapshot { mode: "native".to_string(), ..good.clone() }, "--scenario"),
            (Snapshot { mode: "listening".to_string(), ..good.clone() }, "swarm join"),
            (Snapshot { preset: String::new(), ..good.clone() }, "compotastic status"),
        ];
        for (snapshot, said) in cases {
            let error = live_mesh(&snapshot, &WANTED).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
