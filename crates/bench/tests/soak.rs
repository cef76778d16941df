//! Two days of the soak: every kind of fault, no missed job, the link back within a minute each time.

use compotastic_bench::soak::{Kind, LIMIT_MS, Part, Report, soak};

fn check(report: &Report) {
    assert_eq!((report.answered, report.failed, report.lost), (report.jobs, 0, 0), "{report:#?}");
    assert!(report.jobs > 80, "{report:#?}");
    assert!(Kind::ALL.iter().all(|kind| report.faults.contains_key(kind)), "{report:#?}");
    assert_eq!(report.late(), 0, "{report:#?}");
    assert!(report.faults.values().all(|tally| tally.back_ms_max <= LIMIT_MS));
    // It is a soak: links broke, bytes were lost and invented, packets failed and were said to.
    assert!(report.sessions > 10 && report.bytes_lost > 0 && report.bytes_garbage > 0, "{report:#?}");
    assert!(report.waiting_max <= 16 * 1024, "{report:#?}");
}

#[test]
fn a_hosted_node_that_answers_misses_no_job_in_two_days_of_faults() {
    check(&soak(Part::Answers, 2, 1).unwrap());
}

#[test]
fn a_hosted_node_that_asks_misses_no_job_in_two_days_of_faults() {
    check(&soak(Part::Asks, 2, 1).unwrap());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| Report { rss_kib: (0, 0), ..soak(Part::Asks, 1, seed).unwrap() };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
