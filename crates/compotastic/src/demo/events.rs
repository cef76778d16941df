//! What nodes tell their hosts, as records of the event log.

use compotastic_node::{AgentEvent, JobFailure};
use compotastic_sim::recording::{self, Record};

/// The record of an event; `object` is the object that its node was last told of.
pub fn record(event: &AgentEvent, object: &mut u32) -> Record {
    match event {
        AgentEvent::Answered { job, answer } => {
            Record::JobAnswered { job: job.0, by: answer.by.0, class: answer.class }
        }
        AgentEvent::JobFailed { job, reason } => Record::JobFailed {
            job: job.0,
            reason: match reason {
                JobFailure::NoExecutor => recording::JobFailure::NoExecutor,
                JobFailure::NoAnswer => recording::JobFailure::NoAnswer,
                JobFailure::Unsupported | JobFailure::Failed(_) => recording::JobFailure::Unsupported,
            },
        },
        AgentEvent::ObjectWanted { tag } => {
            *object = *tag;
            Record::ObjectProgress { object: *tag, percent: 0 }
        }
        AgentEvent::ObjectComplete { tag } => {
            *object = *tag;
            Record::ObjectProgress { object: *tag, percent: 100 }
        }
        AgentEvent::ModelActivated { version } => {
            Record::ObjectInstalled { object: *object, version: u32::from(*version) }
        }
        other => Record::remark(&format!("{other:?}")),
    }
}
