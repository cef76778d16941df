//! A job from its submission to its end, for clients that wait for it.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::broadcast;

use super::{Api, problem::Problem};
use crate::seam::{Event, JobAnswer, JobSpec, JobState, JobView, NodeGone};

/// The node's task has so long to answer a command.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// A job without a deadline of its own is waited for so long.
const JOB_PATIENCE: Duration = Duration::from_secs(1800);
/// The job's own end comes first; this is for the case that it does not come.
const GRACE: Duration = Duration::from_secs(30);

/// Waits for the node's task, not without end.
pub async fn command<T>(
    answer: impl Future<Output = Result<T, NodeGone>>,
    patience: Duration,
) -> Result<T, Problem> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())),
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "the node's task did not answer within {} s; try again, and see the log if it stays so",
                patience.as_secs()
            ),
        )),
    }
}

/// Submits a job.
pub async fn submit(api: &Api, spec: JobSpec) -> Result<JobView, Problem> {
    command(api.node.submit(spec), COMMAND_PATIENCE).await?.map_err(|reason| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the job is not taken: {reason}"))
    })
}

/// A job whose client waits. Dropped before its end (the client went away), it takes the job back: nobody reads the answer.
pub struct Waited {
    api: Api,
    events: broadcast::Receiver<Event>,
    job: JobView,
    patience: Duration,
}

impl Waited {
    /// Submits a job and waits for it from then on.
    pub async fn submit(api: &Api, spec: JobSpec) -> Result<Self, Problem> {
        // Before it is submitted, so that no event is missed.
        let events = api.node.subscribe();
        let patience = spec.deadline_s.map_or(JOB_PATIENCE, |s| Duration::from_secs(s.into())) + GRACE;
        let job = submit(api, spec).await?;
        Ok(Self { api: api.clone(), events, job, patience })
    }

    /// The answer, or why there is none.
    pub async fn answer(mut self) -> Result<JobAnswer, Problem> {
        let id = self.job.id;
        let patience = self.patience;
        if tokio::time::timeout(patience, self.end()).await.is_err() {
            let detail = format!("job {id} has no answer after {} s", patience.as_secs());
            return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail));
        }
        match self.job.state.clone() {
            JobState::Done(answer) => Ok(answer),
            JobState::Failed { reason } => Err(Problem::new(
                StatusCode::BAD_GATEWAY,
                format!("job {id} ended without an answer: {reason}"),
            )),
            JobState::Cancelled => Err(Problem::new(StatusCode::CONFLICT, format!("job {id} was cancelled"))),
            JobState::Queued | JobState::Running { .. } => {
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"))
            }
        }
    }

    async fn end(&mut self) {
        while !self.job.state.is_final() {
            match self.events.recv().await {
                Ok(Event::Job(job)) if job.id == self.job.id => self.job = job,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Ok(Some(job)) = self.api.store.job(self.job.id) {
                        self.job = job;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if !self.job.state.is_final() {
            let (node, id) = (self.api.node.clone(), self.job.id);
            tokio::spawn(async move {
                if let Ok(true) = node.cancel(id).await {
                    tracing::info!("job {id} was taken back: its client went away");
                }
            });
        }
    }
}
