//! `compotastic top`: the live view of a node.

mod view;

use std::{
    io::IsTerminal as _,
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ratatui::crossterm::event::{self as input, Event as Input, KeyEventKind};

pub use self::view::{Action, Pane, View};
use super::client::{ApiArgs, Client, event};
use crate::seam::{Event, JobView, Snapshot};

/// Shows nodes, jobs, air, links, objects and news of the daemon, live
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Keys: q quits, Tab and 1 to 5 choose a pane, Enter makes it large, arrows scroll, p pauses\n\n\
Examples:\n  compotastic top\n  compotastic top --interval 10\n  compotastic top --json | jq .airtime.channel_utilization_percent"
)]
pub struct TopArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// Seconds between two looks at the whole state; news are shown at once
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub interval: f64,
    /// One JSON object per look, until it is stopped
    #[arg(long)]
    pub json: bool,
}

/// What the view is told.
enum News {
    State(Box<Snapshot>, Vec<JobView>),
    Happened(Event),
    Lost(String),
}

fn look(client: &Client) -> Result<News> {
    let state: Snapshot = client.get("/api/status")?;
    let jobs: Vec<JobView> = client.get("/api/jobs?limit=50")?;
    Ok(News::State(Box::new(state), jobs))
}

/// Reads the whole state again and again.
fn looks(client: &Client, interval: Duration, news: &SyncSender<News>) {
    loop {
        let next = look(client).unwrap_or_else(|error| News::Lost(error.to_string()));
        if news.send(next).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

/// Reads news as they come.
fn follow(client: &Client, news: &SyncSender<News>) {
    loop {
        if let Ok(events) = client.events("/api/events") {
            for happened in events.filter_map(event) {
                if news.send(News::Happened(happened)).is_err() {
                    return;
                }
            }
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Runs `top`.
pub fn run(args: TopArgs) -> Result<()> {
    ensure!((0.2..=3600.0).contains(&args.interval), "--interval is between 0.2 and 3600 seconds");
    let interval = Duration::from_secs_f64(args.interval);
    let client = Client::new(&args.api)?;
    if args.json {
        loop {
            let state: Snapshot = client.get("/api/status")?;
            println!("{}", serde_json::to_string(&state)?);
            thread::sleep(interval);
        }
    }
    ensure!(
        std::io::stdout().is_terminal(),
        "this is no terminal: take --json, or `compotastic status` for a single look"
    );
    // What is wrong with the address or the token is said before the screen is taken.
    let News::State(state, jobs) = look(&client)? else { return Ok(()) };
    let (sender, news) = mpsc::sync_channel(256);
    let threads = (client.clone(), sender.clone());
    thread::spawn(move || looks(&threads.0, interval, &threads.1));
    thread::spawn(move || follow(&client, &sender));
    let mut view = View::new(std::env::var_os("NO_COLOR").is_none());
    view.set_state(*state, jobs);
    let mut terminal = ratatui::try_init().context("the terminal cannot be taken")?;
    let result = show(&mut terminal, &mut view, &news);
    ratatui::restore();
    result
}

fn show(terminal: &mut ratatui::DefaultTerminal, view: &mut View, news: &mpsc::Receiver<News>) -> Result<()> {
    // Short, so that keys are felt at once; the screen is drawn when something changed, and each second for the ages.
    const TICK: Duration = Duration::from_millis(50);
    let mut drawn = Instant::now();
    terminal.draw(|frame| view.draw(frame))?;
    loop {
        let mut changed = drawn.elapsed() >= Duration::from_secs(1);
        if input::poll(Duration::ZERO)? {
            match input::read()? {
                Input::Key(key) if key.kind != KeyEventKind::Release => {
                    if view.handle_key(key) == Action::Quit {
                        return Ok(());
                    }
                    changed = true;
                }
                Input::Resize(..) => changed = true,
                _ => {}
            }
        }
        match news.recv_timeout(if changed { Duration::ZERO } else { TICK }) {
            Ok(News::State(state, jobs)) => view.set_state(*state, jobs),
            Ok(News::Happened(event)) => view.happened(&event),
            Ok(News::Lost(why)) => view.lost(why),
            Err(RecvTimeoutError::Timeout) if !changed => continue,
            Err(_) => {}
        }
        terminal.draw(|frame| view.draw(frame))?;
        drawn = Instant::now();
    }
}
