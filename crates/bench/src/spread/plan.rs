//! Which runs there are, and running them on several threads.

use anyhow::{Context as _, Result, ensure};
use compotastic_mesh::rng::Rng;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    SpreadArgs, cds,
    harness::{self, Outcome, Peer, Spec},
    rows::{Method, Row},
    topology::Topology,
};
use crate::threads::parallel;

/// Above this, not all of the plan is run without `--full`.
const MANY_NODES: usize = 100;
/// Largest object that goes to many nodes by direct messages without `--full`.
const MANY_BYTES: usize = 4500;
/// Up to here the reference is exact.
const EXACT_NODES: usize = 50;

/// A topology, and the nodes of its connected dominating set.
pub struct Place {
    /// The topology.
    pub topology: Topology,
    /// Nodes of the smallest connected dominating set that holds the source; above 50 nodes of the best that was found.
    pub cds: usize,
}

impl Place {
    /// Draws a topology and finds its set.
    pub fn draw(class: super::Class, nodes: usize, seed: u64) -> Result<Self> {
        let topology = Topology::draw(class, nodes, seed)
            .with_context(|| format!("no {class} of {nodes} nodes under seed {seed}: try other counts"))?;
        let cds = if nodes <= EXACT_NODES {
            cds::exact(&topology.graph)
        } else {
            cds::heuristic(&topology.graph, 1)
        };
        let cds = cds.with_context(|| format!("no dominating set of {class} {nodes} {seed}"))?;
        Ok(Self { topology, cds })
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Job {
    place: usize,
    method: Method,
    loss: f64,
    bytes: usize,
}

/// All runs.
pub struct Plan {
    places: Vec<Place>,
    jobs: Vec<Job>,
}

impl Plan {
    /// The runs that the options ask for.
    pub fn draw(args: &SpreadArgs) -> Result<Self> {
        let mut wanted = Vec::new();
        for &nodes in &args.nodes {
            for &class in &args.topology {
                let seeds = if class.is_field() { 1..=args.fields } else { 0..=0 };
                wanted.extend(seeds.map(|seed| (class, nodes, seed)));
            }
        }
        let places = parallel(args.threads, wanted.len(), None, |index| {
            let (class, nodes, seed) = wanted[index];
            Place::draw(class, nodes, seed)
        })?;
        let places: Vec<Place> = places.into_iter().collect::<Result<_>>()?;
        let mut jobs = Vec::new();
        for (place, Place { topology, .. }) in places.iter().enumerate() {
            let many = topology.len() > MANY_NODES && !args.full;
            for (index, &loss) in args.loss.iter().enumerate() {
                // Many nodes cost hours: their fields take turns with the losses.
                let turn = topology.seed as usize % args.loss.len() == index;
                if many && topology.class.is_field() && !turn {
                    continue;
                }
                for &bytes in &args.bytes {
                    for &method in &args.methods {
                        if !(many && method == Method::Unicast && bytes > MANY_BYTES) {
                            jobs.push(Job { place, method, loss, bytes });
                        }
                    }
                }
            }
        }
        ensure!(!jobs.is_empty(), "nothing to run");
        Ok(Self { places, jobs })
    }

    /// Runs them; rows in the order of the plan.
    pub fn run(&self, args: &SpreadArgs) -> Result<Vec<Row>> {
        let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(self.jobs.len() as u64) };
        bar.set_style(ProgressStyle::with_template("{pos}/{len} runs, {elapsed_precise}, {eta} left {msg}")?);
        // The long ones first, so that the threads end together.
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        order.sort_by_key(|index| {
            let job = &self.jobs[*index];
            std::cmp::Reverse(self.places[job.place].topology.len() * job.bytes)
        });
        let rows = parallel(args.threads, order.len(), Some(&bar), |index| {
            let job = &self.jobs[order[index]];
            self.row(job)
        })?;
        bar.finish_and_clear();
        let mut rows: Vec<(usize, Result<Row>)> = order.into_iter().zip(rows).collect();
        rows.sort_by_key(|(index, _)| *index);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn row(&self, job: &Job) -> Result<Row> {
        let Place { topology, cds } = &self.places[job.place];
        let reference = harness::reference(job.bytes, *cds, job.loss);
        let seed =
            Rng::from_seed(topology.seed).child(topology.len() as u64).child(job.bytes as u64).next_u64();
        let spec = Spec { topology, loss: job.loss, bytes: job.bytes, reference, seed };
        Ok(Row {
            method: job.method,
            class: topology.class,
            seed: topology.seed,
            nodes: topology.len(),
            loss: job.loss,
            bytes: job.bytes,
            cds: *cds,
            reference,
            outcome: outcome(&spec, job.method)?,
        })
    }
}

fn outcome(spec: &Spec<'_>, method: Method) -> Result<Outcome> {
    let peer = match method {
        Method::Compotastic => return super::ours::run(spec, false),
        Method::CompotasticHosted => return super::ours::run(spec, true),
        Method::Unicast => Peer::Unicast(Default::default()),
        Method::FloodedCarousel => Peer::Carousel(Default::default()),
        Method::FloodedFountain => Peer::Fountain(Default::default()),
        Method::PlainFountain => Peer::PlainFountain(Default::default()),
        Method::BlockPull => Peer::Blocks(Default::default()),
    };
    Ok(harness::run_peer(spec, &peer))
}
