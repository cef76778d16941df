//! Jobs: a number is never given twice, and a job that was taken is found again.

use anyhow::Result;
use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};

use super::{META, Store, Write, decode, encode};
use crate::seam::{JobSpec, JobState, JobView};

/// Jobs that are kept; the oldest that have ended are dropped first.
pub const JOBS: u64 = 10_000;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");
/// Numbers of the jobs that are open.
const OPEN: TableDefinition<u64, ()> = TableDefinition::new("open jobs");
const KEY_NEXT: &str = "next job";

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

pub(super) fn make_tables(write: &WriteTransaction) -> Result<()> {
    write.open_table(TABLE)?;
    write.open_table(OPEN)?;
    Ok(())
}

impl Store {
    /// Takes a job: it has a number of its own from now on and is on the disk when this returns.
    pub fn add_job(&self, spec: &JobSpec, now_ms: u64) -> Result<JobView> {
        self.write(Write::Now, |write| {
            let mut meta = write.open_table(META)?;
            let id = meta.get(KEY_NEXT)?.map_or(1, |value| value.value());
            meta.insert(KEY_NEXT, id + 1)?;
            let job = JobView { id, spec: spec.clone(), submitted_ms: now_ms, state: JobState::Queued };
            let mut table = write.open_table(TABLE)?;
            let mut open = write.open_table(OPEN)?;
            table.insert(id, encode(&job)?.as_slice())?;
            open.insert(id, ())?;
            if table.len()? > JOBS {
                let mut oldest = None;
                for row in table.iter()? {
                    let id = row?.0.value();
                    if open.get(id)?.is_none() {
                        oldest = Some(id);
                        break;
                    }
                }
                if let Some(id) = oldest {
                    table.remove(id)?;
                }
            }
            Ok(job)
        })
    }

    /// Writes where a job stands: at once where it ends, else with the next batch.
    pub fn put_job(&self, job: &JobView) -> Result<()> {
        let when = if job.state.is_final() { Write::Now } else { Write::Soon };
        self.write(when, |write| {
            write.open_table(TABLE)?.insert(job.id, encode(job)?.as_slice())?;
            let mut open = write.open_table(OPEN)?;
            if job.state.is_final() {
                open.remove(job.id)?;
            } else {
                open.insert(job.id, ())?;
            }
            Ok(())
        })
    }

    /// One job.
    pub fn job(&self, id: u64) -> Result<Option<JobView>> {
        let read = self.shared.database.begin_read()?;
        let row = read.open_table(TABLE)?.get(id)?;
        Ok(row.and_then(|row| decode("jobs", row.value())))
    }

    /// All jobs that are open, oldest first: what a start goes on with.
    pub fn open_jobs(&self) -> Result<Vec<JobView>> {
        let read = self.shared.database.begin_read()?;
        let table = read.open_table(TABLE)?;
        let mut jobs = Vec::new();
        for row in read.open_table(OPEN)?.iter()? {
            if let Some(job) = table.get(row?.0.value())? {
                jobs.extend(decode::<JobView>("jobs", job.value()));
            }
        }
        Ok(jobs)
    }

    /// At most `limit` jobs with numbers below `before`, newest first.
    pub fn jobs(&self, filter: JobFilter, before: Option<u64>, limit: usize) -> Result<Vec<JobView>> {
        let read = self.shared.database.begin_read()?;
        let table = read.open_table(TABLE)?;
        let mut jobs = Vec::new();
        for row in table.range(..before.unwrap_or(u64::MAX))?.rev() {
            if jobs.len() >= limit {
                break;
            }
            let row = row?;
            jobs.extend(decode::<JobView>("jobs", row.1.value()).filter(|job| filter.takes(&job.state)));
        }
        Ok(jobs)
    }
}
