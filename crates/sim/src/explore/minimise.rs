//! Makes a failing plan smaller: whatever can be left out while the same checker still fails is left out.

use super::plan::{Kind, Plan};

/// Shrinks a plan. `fails` says whether a plan still fails in the same way; it is called at most `tries` times.
pub fn minimise(plan: &Plan, mut tries: u32, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut smallest = plan.clone();
    let mut attempt = |candidate: Plan, smallest: &mut Plan| {
        if tries == 0 || candidate == *smallest || candidate.check().is_err() {
            return false;
        }
        tries -= 1;
        let smaller = fails(&candidate);
        if smaller {
            *smallest = candidate;
        }
        smaller
    };
    loop {
        let before = smallest.clone();
        shrink_list(&mut smallest, |plan| &mut plan.faults, &mut attempt);
        shrink_list(&mut smallest, |plan| &mut plan.jobs, &mut attempt);
        shrink_list(&mut smallest, |plan| &mut plan.publications, &mut attempt);
        for node in (1..smallest.nodes.len()).rev() {
            attempt(without_node(&smallest, node), &mut smallest);
        }
        for node in 1..smallest.nodes.len() {
            let mut native = smallest.clone();
            if native.nodes[node].kind == Kind::Hosted {
                native.nodes[node].kind = Kind::Field;
                attempt(native, &mut smallest);
            }
        }
        attempt(Plan { loss_ppm: 0, ..smallest.clone() }, &mut smallest);
        for earlier in [3600, 7200] {
            let faults_end_s = earlier.min(smallest.faults_end_s);
            let saved = smallest.faults_end_s - faults_end_s;
            attempt(Plan { faults_end_s, end_s: smallest.end_s - saved, ..smallest.clone() }, &mut smallest);
        }
        if smallest == before {
            return smallest;
        }
    }
}

/// Leaves out halves, quarters and so on of a list, as long as that works.
fn shrink_list<T: Clone>(
    smallest: &mut Plan,
    list: impl Fn(&mut Plan) -> &mut Vec<T>,
    attempt: &mut impl FnMut(Plan, &mut Plan) -> bool,
) {
    let mut chunk = list(smallest).len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < list(smallest).len() {
            let mut candidate = smallest.clone();
            let end = (start + chunk).min(list(&mut candidate).len());
            list(&mut candidate).drain(start..end);
            if !attempt(candidate, smallest) {
                start += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
}

/// The plan without a node, and without all that concerns it.
fn without_node(plan: &Plan, node: usize) -> Plan {
    let mut smaller = plan.clone();
    smaller.nodes.remove(node);
    smaller.jobs.retain(|job| job.node != node);
    smaller.faults.retain(|fault| fault.node != node);
    for job in smaller.jobs.iter_mut().filter(|job| job.node > node) {
        job.node -= 1;
    }
    for fault in smaller.faults.iter_mut().filter(|fault| fault.node > node) {
        fault.node -= 1;
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_failure_needs_is_left() {
        // A failure that needs one of the faults and one of the jobs.
        let plan =
            (0..200).map(Plan::draw).find(|plan| plan.faults.len() > 6 && plan.jobs.len() > 10).unwrap();
        let (fault, job) = (plan.faults[3].clone(), plan.jobs[7].clone());
        let mut calls = 0;
        let smallest = minimise(&plan, 500, |candidate| {
            calls += 1;
            let at = |list: &[u64], one: u64| list.contains(&one);
            let faults: Vec<u64> = candidate.faults.iter().map(|fault| fault.at_ms).collect();
            let jobs: Vec<u64> = candidate.jobs.iter().map(|job| u64::from(job.at_s)).collect();
            at(&faults, fault.at_ms) && at(&jobs, u64::from(job.at_s))
        });
        assert_eq!((smallest.faults.len(), smallest.jobs.len(), smallest.publications.len()), (1, 1, 0));
        assert_eq!(smallest.loss_ppm, 0);
        assert!(smallest.nodes.len() <= 3 && calls <= 500);
        assert_eq!(minimise(&plan, 0, |_| true), plan, "without tries nothing changes");
    }
}
