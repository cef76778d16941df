//! Server-sent events: numbered, so that a client which comes back is told what it missed, or that it missed something.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::sse;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};

use super::now_ms;
use crate::{
    seam::{EVENTS, Event, JobView, NodeHandle},
    store::Store,
};

/// A comment is sent after so much silence, so that both ends know that the other is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Numbered = Arc<(u64, Event)>;
/// One event for the wire; a stream of them never fails.
pub type SseItem = Result<sse::Event, std::convert::Infallible>;

/// All events with numbers, the latest of them kept.
#[derive(Debug)]
pub struct Feed {
    /// Tells this run's numbers from another run's.
    run: u64,
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Numbered>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    latest: VecDeque<Numbered>,
}

/// Numbers events until it is dropped.
#[derive(Debug)]
pub struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Feed {
    /// Listens to the node; texts that come are kept in the store. `run` is a number of this run, such as its start time.
    pub fn start(node: &NodeHandle, store: Store, run: u64) -> (Arc<Self>, Pump) {
        let (sender, _) = broadcast::channel(EVENTS);
        let feed = Arc::new(Self { run, kept: Mutex::default(), sender });
        let mut events = node.subscribe();
        let pump = tokio::spawn({
            let feed = feed.clone();
            async move {
                loop {
                    match events.recv().await {
                        Ok(event) => {
                            if let Event::Text(text) = &event
                                && let Err(error) = store.add_text(text, now_ms())
                            {
                                tracing::error!("a text is not kept: {error:#}");
                            }
                            feed.push(event);
                        }
                        // Their numbers are skipped: whoever follows sees the gap.
                        Err(broadcast::error::RecvError::Lagged(missed)) => feed.lock().next += missed,
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            }
        });
        (feed, Pump(pump))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Event) {
        let mut kept = self.lock();
        kept.next += 1;
        let event = Arc::new((kept.next, event));
        if kept.latest.len() == EVENTS {
            kept.latest.pop_front();
        }
        kept.latest.push_back(event.clone());
        // Under the lock, so that a new listener gets each event once: kept or sent.
        let _ = self.sender.send(event);
    }

    /// All events from now on, or from after the id that the client saw last.
    pub fn follow(self: &Arc<Self>, last_id: Option<&str>) -> impl Stream<Item = SseItem> + Send + 'static {
        let kept = self.lock();
        let live = self.sender.subscribe();
        let mut first = Vec::new();
        // Before the first event the client is told where it stands.
        let mut seen = kept.next;
        if let Some(last_id) = last_id {
            match last_id
                .split_once('-')
                .and_then(|(run, n)| Some((run.parse::<u64>().ok()?, n.parse::<u64>().ok()?)))
            {
                Some((run, number)) if run == self.run && number <= kept.next => {
                    seen = number;
                    first.extend(kept.latest.iter().filter(|event| event.0 > number).cloned());
                }
                _ => seen = u64::MAX,
            }
        }
        drop(kept);
        let feed = self.clone();
        let other_run = (seen == u64::MAX).then(|| lagged(None));
        let live = stream::unfold(live, |mut live| async move {
            loop {
                match live.recv().await {
                    Ok(event) => return Some((event, live)),
                    // The numbers show how many.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let events = stream::iter(first).chain(live).scan(seen, move |seen, event| {
            let gap = event.0.saturating_sub(seen.saturating_add(1));
            *seen = event.0;
            let gap = (gap > 0).then(|| lagged(Some(gap)));
            let item = to_sse(&event.1).id(format!("{}-{}", feed.run, event.0));
            std::future::ready(Some(stream::iter(gap.into_iter().chain([item]))))
        });
        stream::iter(other_run).chain(events.flatten()).map(Ok)
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Job(_) => "job",
        Event::Node(_) => "node",
        Event::Text(_) => "text",
        Event::Link(_) => "link",
        Event::Object(_) => "object",
    }
}

fn to_sse(event: &Event) -> sse::Event {
    // JSON that serde_json makes has no line ends in it.
    sse::Event::default().event(name(event)).data(serde_json::to_string(event).unwrap_or_default())
}

fn lagged(missed: Option<u64>) -> sse::Event {
    let data = json!({"event": "lagged", "missed": missed, "hint": "read the state anew"});
    sse::Event::default().event("lagged").data(data.to_string())
}

/// One job: where it stands, each step from there, and the end of the stream with the end of the job.
pub fn follow_job(
    events: broadcast::Receiver<Event>,
    store: Store,
    job: JobView,
) -> impl Stream<Item = SseItem> + Send + 'static {
    stream::unfold(
        (events, store, Some(job.clone()), job),
        |(mut events, store, next, mut last)| async move {
            if let Some(job) = next {
                return Some((job.clone(), (events, store, None, job)));
            }
            while !last.state.is_final() {
                let job = match events.recv().await {
                    Ok(Event::Job(job)) if job.id == last.id => job,
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Lagged(_)) => match store.job(last.id) {
                        Ok(Some(job)) => job,
                        _ => return None,
                    },
                    Err(broadcast::error::RecvError::Closed) => return None,
                };
                if job.state != last.state {
                    last = job.clone();
                    return Some((job, (events, store, None, last)));
                }
            }
            None
        },
    )
    .map(|job| {
        let id = if job.state.is_final() { "end" } else { "open" };
        let data = serde_json::to_string(&job).unwrap_or_default();
        Ok(sse::Event::default().event("job").id(id).data(data))
    })
}

/// A response out of events: with keep-alive, and an end when the server stops.
pub fn respond<S>(
    stream: S,
    mut stop: watch::Receiver<bool>,
) -> sse::Sse<sse::KeepAliveStream<stream::BoxStream<'static, SseItem>>>
where
    S: Stream<Item = SseItem> + Send + 'static,
{
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    sse::Sse::new(stream.take_until(Box::pin(stopped)).boxed())
        .keep_alive(sse::KeepAlive::new().interval(KEEP_ALIVE))
}
