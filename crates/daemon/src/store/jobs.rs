//! Jobs: a number is never given twice, and a job that was taken is found again.

use std::ops::ControlFlow::{Break, Continue};

use anyhow::Result;

use super::{
    Store, counter, decode, encode,
    rows::{Table, When, key, number},
    set_counter,
};
use crate::seam::{JobSpec, JobState, JobView};

/// Jobs that are kept; the oldest that have ended are dropped first.
pub const JOBS: u64 = 10_000;

/// The number that was given last.
const LAST: &[u8] = b"last job";

/// Which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFilter {
    /// All.
    All,
    /// Those that are queued or running.
    Open,
    /// Those that wait for their turn.
    Queued,
    /// Those that are asked somewhere.
    Running,
    /// Those with an answer.
    Done,
    /// Those that ended without one.
    Failed,
    /// Those that were taken back.
    Cancelled,
}

impl JobFilter {
    /// True if the state is asked for.
    pub fn takes(self, state: &JobState) -> bool {
        match self {
            Self::All => true,
            Self::Open => !state.is_final(),
            Self::Queued => matches!(state, JobState::Queued),
            Self::Running => matches!(state, JobState::Running { .. }),
            Self::Done => matches!(state, JobState::Done(_)),
            Self::Failed => matches!(state, JobState::Failed { .. }),
            Self::Cancelled => matches!(state, JobState::Cancelled),
        }
    }
}

fn row(table: Table, id: u64) -> Vec<u8> {
    key(table, &id.to_be_bytes())
}

impl Store {
    /// Takes a job: it has a number of its own from now on and is on the disk when this returns.
    pub fn add_job(&self, spec: &JobSpec, now_ms: u64) -> Result<JobView> {
        self.write(When::Now, |rows| {
            let id = counter(rows, LAST)? + 1;
            set_counter(rows, LAST, id)?;
            let job = JobView { id, spec: spec.clone(), submitted_ms: now_ms, state: JobState::Queued };
            rows.put(row(Table::Job, id), encode(&job)?)?;
            rows.put(row(Table::OpenJob, id), Vec::new())?;
            if rows.count(Table::Job) > JOBS {
                let mut open = Vec::new();
                rows.scan_table(Table::OpenJob, |key, _| {
                    open.push(number(key));
                    Continue(())
                })?;
                let mut oldest = None;
                rows.scan_table(Table::Job, |key, _| {
                    oldest = Some(number(key)).filter(|id| open.binary_search(id).is_err());
                    if oldest.is_some() { Break(()) } else { Continue(()) }
                })?;
                if let Some(id) = oldest {
                    rows.remove(row(Table::Job, id))?;
                }
            }
            Ok(job)
        })
    }

    /// Writes where a job stands: at once where it ends, else with the next batch.
    pub fn put_job(&self, job: &JobView) -> Result<()> {
        let when = if job.state.is_final() { When::Now } else { When::Soon };
        self.write(when, |rows| {
            rows.put(row(Table::Job, job.id), encode(job)?)?;
            if job.state.is_final() {
                rows.remove(row(Table::OpenJob, job.id))?;
                Ok(())
            } else {
                rows.put(row(Table::OpenJob, job.id), Vec::new())
            }
        })
    }

    /// One job.
    pub fn job(&self, id: u64) -> Result<Option<JobView>> {
        let bytes = self.read(|rows| rows.get(&row(Table::Job, id)))?;
        Ok(bytes.and_then(|bytes| decode("jobs", &bytes)))
    }

    /// All jobs that are open, oldest first: what a start goes on with.
    pub fn open_jobs(&self) -> Result<Vec<JobView>> {
        self.read(|rows| {
            let mut open = Vec::new();
            rows.scan_table(Table::OpenJob, |key, _| {
                open.push(number(key));
                Continue(())
            })?;
            let mut jobs = Vec::new();
            for id in open {
                if let Some(job) = rows.get(&row(Table::Job, id))? {
                    jobs.extend(decode::<JobView>("jobs", &job));
                }
            }
            Ok(jobs)
        })
    }

    /// At most `limit` jobs with numbers below `before`, newest first.
    pub fn jobs(&self, filter: JobFilter, before: Option<u64>, limit: usize) -> Result<Vec<JobView>> {
        self.read(|rows| {
            let mut jobs = Vec::new();
            let to = row(Table::Job, before.unwrap_or(u64::MAX));
            rows.scan(&[Table::Job as u8], &to, true, |_, job| {
                if jobs.len() >= limit {
                    return Break(());
                }
                jobs.extend(decode::<JobView>("jobs", job).filter(|job| filter.takes(&job.state)));
                Continue(())
            })?;
            Ok(jobs)
        })
    }
}
