//! `compotastic plan`: what a push will cost, before anything is sent.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_sim::{
    plan::{self, Plan, PlanOrder, Way, WayName},
    scenario::{self, Package, PushEvent, PushOrder, Scenario, Sent, Target},
    swarm::Trusted,
};
use serde_json::json;

use super::{
    bundle::{loaded, verify},
    key::TrustPath,
    push::{package, read_scenario},
    sim::base,
};

/// Options of `plan`.
#[derive(Args)]
#[command(
    long_about = "Predicts packets, air time, energy and hours of each way in which a bundle can travel through a scenario's mesh: over the mesh, by Bluetooth \
from somebody who walks by, or both. Nothing is sent. The figures are means; single runs lie about them by luck.\n\n\
It ends with status 1 if the mesh alone takes longer than --within, or does not reach all nodes. There is no daemon on a live mesh yet to plan for.",
    after_help = "Examples:\n  compotastic plan zephyr.bin.bundle --scenario scenarios/valley-sar.toml\n  \
compotastic plan zephyr.bin.bundle --scenario mesh.toml --check --trust ./trust\n  \
compotastic plan zephyr.bin.bundle --scenario mesh.toml --within 12 --json | jq .plan.ways"
)]
pub struct PlanArgs {
    /// The bundle, signed or not
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The mesh
    #[arg(long, value_name = "SCENARIO")]
    scenario: PathBuf,
    /// Only for this device class [default: all that the bundle is for]
    #[arg(long, value_name = "N")]
    class: Option<u8>,
    /// A way that takes longer is refused, hours
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    within: f64,
    /// Speed of the carrier, m/s
    #[arg(long, value_name = "M/S", default_value_t = 1.2)]
    walk: f64,
    /// Runs the simulation too, and prints the ratio of prediction to outcome; the bundle must be signed
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    trust: TrustPath,
    /// Seed of all luck, and of places that are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const fn name(way: WayName) -> &'static str {
    match way {
        WayName::Mesh => "broadcast over the mesh",
        WayName::Carrier => "Bluetooth, a carrier on foot",
        WayName::Both => "both",
    }
}

fn print(plan: &Plan) {
    println!(
        "{} bytes, {} pieces in {} generations, to {} nodes; {} of them will send it at {:.1} % mean loss\n\
         a symbol takes {:.2} s of air, and bulk gets {:.0} % of it\n",
        plan.bytes,
        plan.pieces,
        plan.generations,
        plan.nodes,
        plan.servers,
        plan.loss * 100.0,
        plan.symbol_s,
        plan.share * 100.0
    );
    println!("{:<29} {:>7} {:>8} {:>9} {:>9} {:>8}", "way", "reaches", "packets", "air", "energy", "time");
    for way in &plan.ways {
        println!(
            "{:<29} {:>3}/{:<3} {:>8.0} {:>7.0} s {:>5.1} mWh {:>6.1} h{}",
            name(way.way),
            way.reaches,
            plan.nodes,
            way.packets,
            way.airtime_s,
            way.energy_mwh,
            way.hours,
            if way.fits { "" } else { "  refused" }
        );
    }
    if plan.movers > 0 {
        println!(
            "\n{} nodes move; they are planned where they begin, so the outcome may be quite another",
            plan.movers
        );
    }
}

/// What came of it, when it was run.
struct Outcome {
    sent: Sent,
    hours: f64,
    end: PushEvent,
}

fn check(args: &PlanArgs, scenario: &Scenario, package: &Package, mesh: &Way) -> Result<Outcome> {
    let trusted = args.trust.read()?;
    let classes = scenario.classes();
    // The class of whoever takes it; of several, the lowest.
    let taken = package.claimed.claims().classes;
    let kinds = scenario.kinds();
    let class = args.class.or_else(|| {
        (0..classes.len())
            .filter(|id| kinds[*id].is_ours() && taken.contains(classes[*id]))
            .map(|id| classes[id])
            .min()
    });
    let order = PushOrder {
        package: package.clone(),
        to: Target::Class(class.ok_or_else(|| anyhow!("no node of the scenario takes it"))?),
        running: None,
        // The plan is about what crosses the air.
        kept: true,
        cuts: Vec::new(),
        trust: Trusted { roots: trusted.roots().to_vec(), records: trusted.records().to_vec() },
        canary: None,
        pause_min: None,
        resume_min: None,
        cancel_min: None,
        warm_up_h: 6.0,
        limit_h: (mesh.hours * 10.0).clamp(24.0, 2000.0),
    };
    let report = scenario::push(scenario, args.seed, base()?, &order, |_, _, _| true)
        .map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    Ok(Outcome { sent: report.sent, hours: report.hours, end: report.end })
}

/// Runs `plan`.
pub fn run(args: &PlanArgs) -> Result<()> {
    ensure!(args.within > 0.0 && args.walk > 0.0, "--within and --walk are more than 0");
    let bundle = loaded::load(&args.file)?;
    if args.check {
        verify::check(&bundle, &args.trust)?;
    }
    let package = package(&args.file, bundle)?;
    let scenario = read_scenario(&args.scenario)?;
    let order = PlanOrder { class: args.class, within_h: args.within, walk_m_s: args.walk };
    let plan = plan::plan(&scenario, args.seed, &package, &order)
        .map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    let mesh = plan
        .ways
        .iter()
        .find(|way| way.way == WayName::Mesh)
        .ok_or_else(|| anyhow!("no way over the mesh"))?;
    let outcome = args.check.then(|| check(args, &scenario, &package, mesh)).transpose()?;
    let ratios = outcome.as_ref().map(|outcome| {
        [
            ("packets", mesh.packets, outcome.sent.packets as f64),
            ("air time, s", mesh.airtime_s, outcome.sent.airtime_s),
            ("energy, mWh", mesh.energy_mwh, outcome.sent.energy_mwh),
            ("hours", mesh.hours, outcome.hours),
        ]
    });
    if args.json {
        let rows = ratios.map(|ratios| {
            let row = |(what, predicted, was): (&str, f64, f64)| json!({ "what": what, "predicted": predicted, "outcome": was, "ratio": predicted / was });
            ratios.map(row)
        });
        let end = outcome.as_ref().map(|outcome| outcome.end);
        println!("{}", json!({ "plan": plan, "check": rows, "end": end }));
    } else {
        print(&plan);
        if let (Some(ratios), Some(outcome)) = (ratios, &outcome) {
            println!(
                "\n{:<14} {:>10} {:>10} {:>7}   (the run ended: {:?})",
                "mesh", "predicted", "outcome", "ratio", outcome.end
            );
            for (what, predicted, was) in ratios {
                println!("{what:<14} {predicted:>10.1} {was:>10.1} {:>7.2}", predicted / was);
            }
        }
    }
    if mesh.reaches < plan.nodes {
        bail!("the mesh reaches {} of {} nodes: the rest needs a carrier", mesh.reaches, plan.nodes);
    }
    if !mesh.fits {
        bail!(
            "{} cannot carry {} bytes to {} nodes within {} h: it would take {:.1} h; --within allows more, a faster preset, a delta \
             (`compotastic bundle diff`) or a carrier takes less",
            scenario.preset.get_ref(),
            plan.bytes,
            plan.nodes,
            args.within,
            mesh.hours
        );
    }
    Ok(())
}
