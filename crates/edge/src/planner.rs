//! When pushing a model is cheaper than answering: the break-even that decides.

/// What the edge node has measured and expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Jobs of this task seen so far.
    pub jobs: u32,
    /// Time over which they came, seconds.
    pub over_s: f64,
    /// Air time of one remote job, all transmitters, milliseconds: frames, hops and repetitions.
    pub job_airtime_ms: f64,
    /// Air time of one report that a node answers itself and passes on, averaged over classes, milliseconds.
    pub report_airtime_ms: f64,
    /// Share that the student will answer by itself.
    pub local_share: f64,
    /// For how long the demand is expected to last, seconds.
    pub horizon_s: f64,
}

/// What a push costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PushCost {
    /// Symbols that one neighbourhood needs.
    pub symbols: u32,
    /// Air time of a symbol, milliseconds.
    pub symbol_ms: f64,
    /// Nodes that will pass it on, the edge node included.
    pub servers: u32,
    /// Air time of flooding delegation and manifest, milliseconds.
    pub records_ms: f64,
    /// Air time of one request for symbols, milliseconds.
    pub request_ms: f64,
    /// Nodes that will ask.
    pub receivers: u32,
}

/// The decision and its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Push now.
    pub push: bool,
    /// Air time of the push, milliseconds.
    pub push_airtime_ms: f64,
    /// Air time that one job costs less afterwards, milliseconds.
    pub saved_per_job_ms: f64,
    /// Jobs after which the push has paid for itself; infinite if it never does.
    pub break_even_jobs: f64,
    /// For people.
    pub reason: String,
}

/// Fewest jobs on which a decision is based: a rate needs something to be measured on.
pub const JOBS_MIN: u32 = 20;

impl PushCost {
    /// Air time of the push.
    pub fn airtime_ms(&self) -> f64 {
        f64::from(self.servers) * f64::from(self.symbols) * self.symbol_ms
            + self.records_ms
            + f64::from(self.receivers) * self.request_ms
    }
}

/// Decides.
pub fn decide(demand: &Demand, cost: &PushCost) -> Decision {
    let push_airtime_ms = cost.airtime_ms();
    let saved_per_job_ms = demand.local_share * (demand.job_airtime_ms - demand.report_airtime_ms);
    let break_even_jobs =
        if saved_per_job_ms > 0.0 { push_airtime_ms / saved_per_job_ms } else { f64::INFINITY };
    let per_hour = if demand.over_s > 0.0 { f64::from(demand.jobs) / demand.over_s * 3600.0 } else { 0.0 };
    let expected = per_hour * demand.horizon_s / 3600.0;
    let enough = demand.jobs >= JOBS_MIN;
    let push = enough && expected > break_even_jobs;
    let reason = if !enough {
        format!("{} jobs seen: too few to tell the demand", demand.jobs)
    } else if !break_even_jobs.is_finite() {
        "a student would not save air time on this task".to_string()
    } else {
        format!(
            "{} of {per_hour:.0} jobs an hour: a push costs {:.0} s of air and saves {:.1} s per job, so it pays after \
             {break_even_jobs:.0} jobs; {expected:.0} are expected",
            if push { "pushed at a demand" } else { "not pushed at a demand" },
            push_airtime_ms / 1000.0,
            saved_per_job_ms / 1000.0
        )
    };
    Decision { push, push_airtime_ms, saved_per_job_ms, break_even_jobs, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        jobs: 60,
        over_s: 3600.0,
        job_airtime_ms: 8000.0,
        report_airtime_ms: 2000.0,
        local_share: 0.8,
        horizon_s: 6.0 * 3600.0,
    };
    const COST: PushCost = PushCost {
        symbols: 20,
        symbol_ms: 1800.0,
        servers: 8,
        records_ms: 30_000.0,
        request_ms: 500.0,
        receivers: 24,
    };

    #[test]
    fn pays_when_demand_lasts() {
        let decision = decide(&DEMAND, &COST);
        // 8 * 20 * 1.8 + 30 + 12 = 330 s; 0.8 * 6 s saved per job.
        assert!((decision.break_even_jobs - 68.75).abs() < 0.01, "{decision:?}");
        assert!(decision.push);
    }

    #[test]
    fn waits_for_demand_and_refuses_what_never_pays() {
        assert!(!decide(&Demand { jobs: 5, ..DEMAND }, &COST).push);
        assert!(!decide(&Demand { horizon_s: 1800.0, ..DEMAND }, &COST).push);
        let never = decide(&Demand { report_airtime_ms: 9000.0, ..DEMAND }, &COST);
        assert!(!never.push && never.break_even_jobs.is_infinite());
    }
}
