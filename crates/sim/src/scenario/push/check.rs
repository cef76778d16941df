//! What is looked at before a push begins: for whom it is, and whether it can be.

use super::{PushOrder, PushRow, Target};
use crate::{
    NodeId,
    scenario::{NodeKind, Scenario, build::ScenarioWorld},
    swarm::Store,
};

/// Who publishes: the first edge node, else the first of ours.
pub(crate) fn publisher(kinds: &[NodeKind]) -> Result<NodeId, String> {
    let edge = kinds.iter().position(|kind| *kind == NodeKind::Edge);
    let ours = || kinds.iter().position(|kind| kind.is_ours());
    edge.or_else(ours).ok_or_else(|| {
        "the scenario has no nodes of ours: kind = \"edge\", \"field\" or \"hosted\"".to_string()
    })
}

/// What is said where a push or a plan is for nobody; of nodes of ours the number, the name and the class.
pub(crate) fn nobody_is_meant<'n>(ours: impl Iterator<Item = (String, &'n str, u8)>) -> String {
    let known: Vec<String> = ours.map(|(id, node, class)| format!("{id} ({node}, class {class})")).collect();
    format!("nobody is meant: nodes of ours are {}", known.join(", "))
}

pub(super) fn rows(
    scenario: &Scenario,
    of: &ScenarioWorld,
    order: &PushOrder,
) -> Result<Vec<(NodeId, PushRow)>, String> {
    let (kinds, classes) = (scenario.kinds(), scenario.classes());
    let publisher = publisher(&kinds)?;
    let taken = order.package.claimed.claims().classes;
    let ours = (0..kinds.len()).filter(|id| kinds[*id].is_ours());
    let rows: Vec<(NodeId, PushRow)> = ours
        .map(|id| {
            let number = of.world.ledger.number(id);
            let target = match &order.to {
                Target::All => taken.contains(classes[id]),
                Target::Class(class) => classes[id] == *class,
                Target::Node(name) => of.names[id] == *name || number.to_string() == *name,
            };
            let row = PushRow {
                node: of.names[id].clone(),
                id: number.to_string(),
                class: classes[id],
                publishes: id == publisher,
                target,
                percent: 0,
                version: None,
                done_min: None,
                runs: None,
                runs_min: None,
                restarts: 0,
            };
            (id, row)
        })
        .collect();
    let targets = || rows.iter().map(|(_, row)| row).filter(|row| row.target);
    if targets().count() == 0 {
        return Err(nobody_is_meant(
            rows.iter().map(|(_, row)| (row.id.clone(), row.node.as_str(), row.class)),
        ));
    }
    match targets().find(|row| !taken.contains(row.class)) {
        Some(row) => Err(format!(
            "{} is of device class {}, for which the bundle is not signed: bundle build --class {}",
            row.node, row.class, row.class
        )),
        None => Ok(rows),
    }
}

pub(super) fn check(order: &PushOrder) -> Result<Store, String> {
    let mut store = order.package.store()?;
    store.native &= !order.kept;
    if let Some(canary) = &order.canary {
        let (first, then) = (canary.package.claimed.claims(), order.package.claimed.claims());
        if (first.kind, first.task) != (then.kind, then.task)
            || canary.package.store()? != order.package.store()?
        {
            return Err("the candidate is another component, or cut otherwise, than the bundle".to_string());
        }
        if first.sequence >= then.sequence {
            return Err(format!(
                "the candidate (version {}) needs a lower version than the bundle ({}), of which the content may be the same: a node \
                 that has installed it takes only something newer",
                first.sequence, then.sequence
            ));
        }
    }
    check_running(order, &store)?;
    Ok(store)
}

/// A delta makes something of what nodes run, or of what the candidate makes of it.
fn check_running(order: &PushOrder, store: &Store) -> Result<(), String> {
    if !store.native {
        return match order.running {
            Some(_) => Err("what nodes run matters to firmware alone".to_string()),
            None => Ok(()),
        };
    }
    let canary = order.canary.as_ref().map(|canary| &canary.package);
    let before = [order.running.as_ref(), canary];
    for package in [canary, Some(&order.package)].into_iter().flatten() {
        let Some(replaces) = package.claimed.claims().replaces() else { continue };
        let mut images = before.iter().flatten().map(|package| package.claimed.claims().image().digest8());
        if order.running.is_none() {
            return Err(
                "it is a delta: say which firmware the nodes run, by its bundle (--running OLD.bundle)"
                    .to_string(),
            );
        }
        if !images.any(|image| image == replaces) {
            return Err("it is a delta for another image than the nodes run".to_string());
        }
    }
    Ok(())
}
