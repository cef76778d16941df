//! The loop of the demo: reports come in at the nodes, hosts of edge nodes work, everything is counted.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    time::Instant as WallClock,
};

use anyhow::Result;
use compotastic_bundle::ClaimedManifest;
use compotastic_edge::{
    distil::task::evaluate,
    teacher::{BASE_ENCODER, answer},
};
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_node::{AgentEvent, Answer, JobFailure, SubmitError, agent::REPORT_MAX, jobs::JobId};
use compotastic_sim::{
    ledger::Traffic,
    recording::{About, Header, Record, Sink},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    DemoConfig,
    edge_host::EdgeHost,
    events,
    inputs::Inputs,
    outcome::{Airtime, Jobs, Model, Nodes, Outcome, Reports, TradeOff, Update},
    page::Pictures,
    recording,
    swarm::{self, BIN, Swarm},
};
use crate::{
    plots::traffic_colour,
    svg::{MapNode, Series},
};

/// A finished run.
pub struct Run {
    /// Figures.
    pub outcome: Outcome,
    /// What the page shows besides.
    pub pictures: Pictures,
}

/// One report and what became of it.
struct Job {
    node: usize,
    text: usize,
    submitted: Instant,
    had_model: bool,
    end: Option<End>,
}

enum End {
    Answered(Answer),
    Failed(JobFailure),
}

struct Texts {
    /// Text and its label, where that is known.
    all: Vec<(String, Option<usize>)>,
    in_order: bool,
}

struct State<'a> {
    config: &'a DemoConfig,
    inputs: &'a Inputs,
    swarm: Swarm,
    edges: Vec<usize>,
    hosts: Vec<EdgeHost>,
    jobs: Vec<Job>,
    open: BTreeMap<(usize, JobId), usize>,
    texts: Texts,
    updated: BTreeMap<usize, Instant>,
    decided: Option<(Instant, usize)>,
    job_air_at_decision_us: u64,
    jobs_at_decision: usize,
    job_air_at_completion: Option<(u64, usize)>,
    reports: Reports,
    /// Reports that their node did not take, by reason.
    refused: BTreeMap<&'static str, u32>,
    /// Object that each node was last told of.
    objects: BTreeMap<usize, u32>,
}

/// Runs the demo, and tells each event to the sink that `begin` makes when it sees the header.
pub fn run(
    config: &DemoConfig,
    inputs: &Inputs,
    quiet: bool,
    begin: impl FnOnce(&Header) -> io::Result<Option<Box<dyn Sink>>>,
) -> Result<Run> {
    let began = WallClock::now();
    let swarm = swarm::commission(config, inputs)?;
    let edges = swarm.edges(config);
    let modem = config.preset.modem(config.region.wide());
    let mut state = State {
        config,
        inputs,
        hosts: edges.iter().map(|_| EdgeHost::new(modem)).collect(),
        swarm,
        edges,
        jobs: Vec::new(),
        open: BTreeMap::new(),
        texts: texts(inputs),
        updated: BTreeMap::new(),
        decided: None,
        job_air_at_decision_us: 0,
        jobs_at_decision: 0,
        job_air_at_completion: None,
        reports: Reports::default(),
        refused: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    let header = state.header()?;
    let numbers = header.nodes.iter().map(|node| node.number).collect();
    state.swarm.world.log.begin(numbers, begin(&header)?)?;
    if config.edge_nodes == 0 {
        // The village is empty: nobody answers.
        state.swarm.world.set_on(0, false);
    }
    state.simulate(quiet)?;
    let wall_s = began.elapsed().as_secs_f64();
    state.finish(wall_s)
}

fn texts(inputs: &Inputs) -> Texts {
    if !inputs.reports.is_empty() {
        return Texts {
            all: inputs.reports.iter().map(|text| (text.clone(), None)).collect(),
            in_order: true,
        };
    }
    let unlabelled = inputs.task.unlabelled.iter().map(|text| (text.clone(), None));
    let test = inputs.task.test.iter().map(|(text, class)| (text.clone(), Some(*class)));
    let mut all: Vec<_> = unlabelled.chain(test).collect();
    if all.is_empty() {
        all = inputs.task.train.iter().map(|(text, class)| (text.clone(), Some(*class))).collect();
    }
    Texts { all, in_order: false }
}

fn seconds(instant: Instant) -> f64 {
    instant.as_micros() as f64 / 1e6
}

fn at(seconds: f64) -> Instant {
    Instant::from_micros((seconds * 1e6) as u64)
}

impl State<'_> {
    fn header(&self) -> Result<Header> {
        let nodes = (0..self.swarm.positions.len()).map(|id| match self.edges.contains(&id) {
            true => (format!("edge {id}"), "edge".to_string()),
            false => (id.to_string(), "client".to_string()),
        });
        let about = About {
            source: recording::source(self.config, self.inputs)?,
            title: &format!("{} in the valley", self.inputs.task.name),
            seed: self.config.seed,
            end: at(self.config.hours * 3600.0),
            nodes: nodes.collect(),
        };
        Ok(Header::of_world(about, &self.swarm.world))
    }

    /// When each report comes in: per node at a steady rate with jitter.
    fn arrivals(&self) -> Vec<(Instant, usize)> {
        let every_s = if self.config.field_nodes >= 50 { 3600.0 } else { 1800.0 };
        let until_s = self.config.hours * 3600.0;
        let seed = Rng::from_seed(self.config.seed).child(0x6172_7269);
        let mut arrivals = Vec::new();
        for node in 1..=self.config.field_nodes {
            let mut draws = seed.child(node as u64);
            let mut unit = || f64::from(draws.next_u32()) / f64::from(u32::MAX);
            let mut when = every_s * unit();
            while when < until_s {
                arrivals.push((at(when), node));
                when += every_s * (0.8 + 0.4 * unit());
            }
        }
        arrivals.sort_unstable();
        arrivals
    }

    fn simulate(&mut self, quiet: bool) -> Result<()> {
        let end = at(self.config.hours * 3600.0);
        let bar = progress_bar(quiet, self.config.hours);
        let mut leaves = self.config.edge_leaves_h.map(|hours| at(hours * 3600.0));
        let mut draws = Rng::from_seed(self.config.seed).child(0x7465_7874);
        for (index, (when, node)) in self.arrivals().into_iter().enumerate() {
            if let Some(time) = leaves.filter(|time| *time <= when) {
                self.run_until(time)?;
                self.leave();
                leaves = None;
            }
            self.run_until(when)?;
            bar.set_position((seconds(when) / 60.0) as u64);
            bar.set_message(format!(
                "{} jobs, {} nodes with the student",
                self.jobs.len(),
                self.updated.len()
            ));
            let text = if self.texts.in_order {
                index % self.texts.all.len()
            } else {
                draws.below(self.texts.all.len() as u32) as usize
            };
            self.submit(node, text, when);
        }
        if let Some(time) = leaves.filter(|time| *time <= end) {
            self.run_until(time)?;
            self.leave();
        }
        self.run_until(end)?;
        // Reports stop; what is under way may end.
        let mut grace = end;
        while !self.open.is_empty() && grace < end + Duration::from_secs(7 * 3600) {
            grace = grace + Duration::from_secs(300);
            self.run_until(grace)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(first) = self.edges.first() {
            self.swarm.world.set_on(*first, false);
        }
    }

    fn submit(&mut self, node: usize, text: usize, when: Instant) {
        let words = self.texts.all[text].0.clone();
        let had_model = self.updated.contains_key(&node);
        let result = self.swarm.world.with_host(node, |station, now| {
            let result = station.agent().submit(now, &words);
            station.settle(now);
            result
        });
        match result {
            Ok(id) => {
                self.swarm.world.log.note(when, node, &Record::JobSubmitted { job: id.0 });
                self.open.insert((node, id), self.jobs.len());
                self.jobs.push(Job { node, text, submitted: when, had_model, end: None });
            }
            Err(error) => {
                let reason = match error {
                    SubmitError::Busy => "the node had too many open jobs",
                    SubmitError::TooLong => "the text does not fit one frame",
                    SubmitError::Empty => "the text is empty",
                };
                let remark = Record::remark(&format!("report not taken: {reason}"));
                self.swarm.world.log.note(when, node, &remark);
                *self.refused.entry(reason).or_default() += 1;
            }
        }
        self.drain(node);
    }

    fn run_until(&mut self, until: Instant) -> Result<()> {
        while let Some(touched) = self.swarm.world.step(until) {
            for id in touched {
                self.drain(id);
            }
            self.consider_push()?;
        }
        Ok(())
    }

    /// Takes all events of a node.
    fn drain(&mut self, id: usize) {
        while let Some(event) = self.swarm.world.with_host(id, |station, _| station.agent().poll_event()) {
            let now = self.swarm.world.now();
            let record = events::record(&event, self.objects.entry(id).or_default());
            self.swarm.world.log.note(now, id, &record);
            match event {
                AgentEvent::Answered { job, answer } => self.end(id, job, End::Answered(answer)),
                AgentEvent::JobFailed { job, reason } => self.end(id, job, End::Failed(reason)),
                AgentEvent::Execute(ticket) => self.execute(id, ticket),
                AgentEvent::ModelActivated { .. } if id >= 1 && id <= self.config.field_nodes => {
                    self.updated.entry(id).or_insert(now);
                    if self.updated.len() == self.config.field_nodes {
                        let air = self.job_airtime_us();
                        self.job_air_at_completion.get_or_insert((air, self.jobs.len()));
                    }
                }
                AgentEvent::ReportDelivered { .. } => self.reports.delivered += 1,
                AgentEvent::ReportLost { .. } => self.reports.lost += 1,
                _ => {}
            }
        }
    }

    fn end(&mut self, node: usize, job: JobId, end: End) {
        if let Some(index) = self.open.remove(&(node, job)) {
            self.jobs[index].end = Some(end);
        }
    }

    fn execute(&mut self, id: usize, ticket: compotastic_node::promises::Ticket) {
        let Some(edge) = self.edges.iter().position(|edge| *edge == id) else { return };
        let (host, inputs) = (&mut self.hosts[edge], self.inputs);
        self.swarm.world.with_host(id, |station, now| {
            let mut buffer = [0; REPORT_MAX];
            let hops = station.agent().ticket_hops(ticket).unwrap_or(0);
            let coded = station.agent().ticket_coded_len(ticket).unwrap_or(0);
            let text = station.agent().ticket_text(ticket, &mut buffer).map(str::to_string);
            match text.and_then(|text| host.answer(inputs, now, &text, ticket.requester.0, hops, coded)) {
                Some(outcome) => station.agent().complete(now, ticket, outcome),
                None => station.agent().refuse(ticket),
            }
            station.settle(now);
        });
    }

    fn consider_push(&mut self) -> Result<()> {
        if self.decided.is_some() {
            return Ok(());
        }
        for edge in 0..self.edges.len() {
            let id = self.edges[edge];
            let now = self.swarm.world.now();
            let Some(bundle) = self.hosts[edge].consider(self.inputs, now, &self.swarm.edge_keys[edge])?
            else {
                continue;
            };
            let published = self.swarm.world.with_host(id, |station, now| {
                let published =
                    station.agent().publish(now, &bundle.delegation, &bundle.manifest, &bundle.content);
                station.settle(now);
                published
            });
            if let Ok(manifest) = ClaimedManifest::parse(&bundle.manifest) {
                self.objects.insert(id, manifest.claims().tag().0);
            }
            published
                .map_err(|refusal| anyhow::anyhow!("the edge node refuses its own bundle: {refusal:?}"))?;
            self.decided = Some((now, edge));
            self.job_air_at_decision_us = self.job_airtime_us();
            self.jobs_at_decision = self.jobs.len();
            self.drain(id);
            break;
        }
        Ok(())
    }

    fn job_airtime_us(&self) -> u64 {
        let ledger = &self.swarm.world.ledger;
        [Traffic::Job, Traffic::Report, Traffic::Ack].map(|kind| ledger.sum(kind).airtime_us).iter().sum()
    }

    fn finish(mut self, wall_s: f64) -> Result<Run> {
        let event_log_sha256 = self.swarm.world.log.finish()?;
        let model = self.model()?;
        let (jobs, answers) = self.job_figures();
        let outcome = Outcome {
            scenario: format!("{} in the valley", self.inputs.task.name),
            seed: self.config.seed,
            preset: self.config.preset.to_string(),
            region: self.config.region.to_string(),
            nodes: Nodes {
                field: self.config.field_nodes,
                edge: self.edges.len(),
                max_hops: self.swarm.valley.hops.iter().copied().max().unwrap_or(0),
            },
            simulated_s: seconds(self.swarm.world.now()),
            wall_s,
            event_log_sha256,
            inputs_sha256: self.inputs.sha256(),
            jobs,
            update: self.update(),
            airtime: self.airtime(),
            trade_off: model.1,
            model: model.0,
            reports: self.reports.clone(),
            hop_histogram: self.hop_histogram(),
            notes: self.notes(),
        };
        let pictures = self.pictures(answers);
        Ok(Run { outcome, pictures })
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.inputs.notes.clone();
        if self.edges.is_empty() {
            notes.push("no edge node: nobody can answer, and each job ends with that reason".into());
        }
        if let Some(hours) = self.config.edge_leaves_h {
            notes.push(format!("the first edge node left after {hours} h"));
        }
        for (reason, count) in &self.refused {
            notes.push(format!("{count} reports were not taken by their node: {reason}"));
        }
        if let Some(first) = self.swarm.world.ledger.first_over_gate() {
            notes.push(format!("sent over a gate: {first}"));
        }
        notes
    }

    fn model(&self) -> Result<(Model, Vec<TradeOff>)> {
        let task = &self.inputs.task;
        let tests: Vec<(&str, usize, usize)> = task
            .test
            .iter()
            .filter_map(|(text, label)| {
                Some((text.as_str(), *label, answer(&self.inputs.probabilities(text)?).0))
            })
            .collect();
        let share = |hits: usize| if tests.is_empty() { 0.0 } else { hits as f64 / tests.len() as f64 };
        let mut model = Model {
            teacher: self.inputs.teacher.clone(),
            teacher_accuracy: share(tests.iter().filter(|(_, label, teacher)| label == teacher).count()),
            classes: task.classes.iter().map(|class| class.name.clone()).collect(),
            test_reports: tests.len(),
            ..Model::default()
        };
        let student = self.decided.and_then(|(_, edge)| self.hosts[edge].student.as_ref());
        let Some((student, _)) = student else { return Ok((model, Vec::new())) };
        model.student_bytes = student.bytes.len();
        if tests.is_empty() {
            return Ok((model, Vec::new()));
        }
        let found = evaluate(&BaseEncoder::parse(BASE_ENCODER)?, &student.bytes, &tests)?;
        model.student_accuracy = found.student_accuracy;
        model.system_accuracy = found.system_accuracy;
        model.teacher_urgent_recall = found.teacher_urgent_recall;
        model.system_urgent_recall = found.system_urgent_recall;
        model.system_local_share = found.local_share;
        let curve = found
            .trade_off
            .iter()
            .map(|(local_share, accuracy)| TradeOff { local_share: *local_share, accuracy: *accuracy });
        Ok((model, curve.collect()))
    }

    fn job_figures(&self) -> (Jobs, Vec<String>) {
        let refused: u32 = self.refused.values().sum();
        let mut jobs = Jobs { submitted: self.jobs.len() as u32 + refused, ..Jobs::default() };
        let edge_numbers: Vec<NodeNum> =
            self.edges.iter().map(|id| self.swarm.world.host(*id).agent_ref().num()).collect();
        let mut latencies = Vec::new();
        let mut failures: BTreeMap<String, u32> = BTreeMap::new();
        let (mut right, mut labelled, mut local_after) = (0u32, 0u32, 0u32);
        let mut lines = Vec::new();
        for job in &self.jobs {
            jobs.submitted_after += u32::from(job.had_model);
            match &job.end {
                None => jobs.open_at_end += 1,
                Some(End::Failed(reason)) => {
                    jobs.failed += 1;
                    *failures.entry(reason_text(*reason).to_string()).or_default() += 1;
                }
                Some(End::Answered(answer)) => {
                    let local = answer.by == self.swarm.world.host(job.node).agent_ref().num();
                    jobs.answered_local += u32::from(local);
                    jobs.answered_remote += u32::from(!local);
                    jobs.answered_by_neighbour += u32::from(!local && !edge_numbers.contains(&answer.by));
                    jobs.unsure += u32::from(local && answer.unsure);
                    local_after += u32::from(local && job.had_model);
                    latencies.push(answer.latency.as_micros() as f64 / 1e6);
                    let (text, label) = &self.texts.all[job.text];
                    if let Some(label) = label {
                        labelled += 1;
                        right += u32::from(usize::from(answer.class) == *label);
                    }
                    lines.push(self.answer_line(job, answer, text, local));
                }
            }
        }
        jobs.failed += refused;
        failures.extend(self.refused.iter().map(|(reason, count)| (reason.to_string(), *count)));
        latencies.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            latencies.get(((latencies.len() as f64 - 1.0) * q).max(0.0) as usize).copied().unwrap_or(0.0)
        };
        (jobs.latency_p50_s, jobs.latency_p95_s) = (quantile(0.5), quantile(0.95));
        jobs.local_share_after = if jobs.submitted_after > 0 {
            f64::from(local_after) / f64::from(jobs.submitted_after)
        } else {
            0.0
        };
        jobs.accuracy = (labelled > 0).then(|| f64::from(right) / f64::from(labelled));
        jobs.failures = failures.into_iter().collect();
        let skip = lines.len().saturating_sub(12);
        (jobs, lines.split_off(skip))
    }

    /// Who answered, which model, how sure, how old.
    fn answer_line(&self, job: &Job, answer: &Answer, text: &str, local: bool) -> String {
        let class =
            self.inputs.task.classes.get(usize::from(answer.class)).map_or("?", |class| class.name.as_str());
        let age_min =
            self.swarm.world.now().saturating_duration_since(job.submitted).as_micros() / 60_000_000;
        let who = if local { "itself".to_string() } else { answer.by.to_string() };
        format!(
            "“{text}” → {class}{}; answered by {who}, model {}, sure {:.0} %, {age_min} min old",
            if answer.unsure { " (unsure)" } else { "" },
            answer.model_version,
            f64::from(answer.confidence) / 15.0 * 100.0
        )
    }

    fn update(&self) -> Update {
        let ledger = &self.swarm.world.ledger;
        let sums = [Traffic::Record, Traffic::Symbol, Traffic::SymbolRequest].map(|kind| ledger.sum(kind));
        let decision = self
            .decided
            .and_then(|(_, edge)| self.hosts[edge].decision.as_ref())
            .or_else(|| self.hosts.iter().find_map(|host| host.decision.as_ref()));
        let decided_at = self.decided.map(|(time, _)| time);
        let since = |time: &Instant| {
            decided_at.map_or(0.0, |from| time.saturating_duration_since(from).as_micros() as f64 / 1e6)
        };
        let mut activations_s: Vec<f64> = self.updated.values().map(since).collect();
        activations_s.sort_by(f64::total_cmp);
        let complete = self.updated.len() == self.config.field_nodes && decided_at.is_some();
        Update {
            bundle_bytes: self
                .decided
                .and_then(|(_, edge)| self.hosts[edge].student.as_ref())
                .map_or(0, |(_, bundle)| bundle.bytes),
            on_air_bytes: sums.iter().map(|sum| sum.bytes).sum(),
            transmissions: sums.iter().map(|sum| sum.transmissions).sum(),
            airtime_s: sums.iter().map(|sum| sum.airtime_us).sum::<u64>() as f64 / 1e6,
            nodes_updated: self.updated.len(),
            nodes_total: self.config.field_nodes,
            complete_after_s: if complete { activations_s.last().copied() } else { None },
            decided_at_s: decided_at.map(seconds),
            decision: decision.map_or_else(
                || "no edge node saw enough demand to think of a push".to_string(),
                |decision| decision.reason.clone(),
            ),
            break_even_jobs: decision
                .map(|decision| decision.break_even_jobs)
                .filter(|jobs| jobs.is_finite()),
            activations_s,
        }
    }

    fn airtime(&self) -> Airtime {
        let ledger = &self.swarm.world.ledger;
        let per_job =
            |air_us: u64, jobs: usize| if jobs == 0 { 0.0 } else { air_us as f64 / 1000.0 / jobs as f64 };
        let total_job_us = self.job_airtime_us();
        let (before_us, before_jobs) = match self.decided {
            Some(_) => (self.job_air_at_decision_us, self.jobs_at_decision),
            None => (total_job_us, self.jobs.len()),
        };
        let after = self.job_air_at_completion.filter(|_| self.decided.is_some());
        Airtime {
            total_s: ledger.total().airtime_us as f64 / 1e6,
            per_job_before_ms: per_job(before_us, before_jobs),
            per_job_after_ms: after
                .map_or(0.0, |(air_us, jobs)| per_job(total_job_us - air_us, self.jobs.len() - jobs)),
            originations_over_gate: ledger.originations_over_gate(),
            max_channel_utilization_pct: ledger.max_channel_utilization_pct(),
            max_duty_cycle_pct: ledger.max_duty_cycle_pct(),
            duty_cycle_limit_pct: f64::from(self.config.region.duty_cycle_permille()) / 10.0,
            by_kind_s: Traffic::ALL
                .iter()
                .map(|kind| (kind.name().to_string(), ledger.sum(*kind).airtime_us as f64 / 1e6))
                .filter(|(_, seconds)| *seconds > 0.0)
                .collect(),
        }
    }

    fn hop_histogram(&self) -> Vec<u32> {
        let hops = &self.swarm.valley.hops;
        let farthest = hops.iter().copied().max().unwrap_or(0);
        (1..=farthest).map(|hop| hops[1..].iter().filter(|other| **other == hop).count() as u32).collect()
    }

    fn pictures(&self, answers: Vec<String>) -> Pictures {
        let nodes = self
            .swarm
            .positions
            .iter()
            .enumerate()
            .map(|(id, position)| {
                let is_edge = self.edges.contains(&id);
                MapNode {
                    name: if is_edge { "edge".into() } else { id.to_string() },
                    x_m: position.x_m,
                    y_m: position.y_m,
                    class: match (is_edge, self.updated.contains_key(&id)) {
                        (true, _) => "edge",
                        (_, true) => "updated",
                        _ => "waiting",
                    },
                    detail: format!("node {id} {}", self.swarm.world.host(id).agent_ref().num()),
                }
            })
            .collect();
        let airtime = Traffic::ALL
            .iter()
            .map(|kind| Series {
                name: kind.name().to_string(),
                colour: traffic_colour(*kind),
                values: self.swarm.world.ledger.bins(*kind).iter().map(|us| *us as f64 / 1e6).collect(),
            })
            .filter(|series| series.values.iter().any(|value| *value > 0.0))
            .collect();
        Pictures {
            nodes,
            links: self.swarm.world.links(900_000),
            airtime,
            bin_h: BIN.as_micros() as f64 / 3.6e9,
            answers,
        }
    }
}

fn reason_text(reason: JobFailure) -> &'static str {
    match reason {
        JobFailure::NoExecutor => "nobody who could answer was heard of before the deadline",
        JobFailure::NoAnswer => "no answer came before the deadline",
        JobFailure::Unsupported => "the executor does not offer this task",
        JobFailure::Failed(_) => "the executor's model failed",
    }
}

fn progress_bar(quiet: bool, hours: f64) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new((hours * 60.0) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} simulated minutes · {msg}") {
        bar.set_style(style);
    }
    bar
}
