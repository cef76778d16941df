//! What `top` shows, out of the last state and the news since: no I/O, so that a test can look at it.

use std::{collections::VecDeque, time::Instant};

use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use crate::{
    cli::{
        job::{kind_name, outcome, state_name},
        status::gate_text,
        table::{age, clean, cut, or_dash, width},
    },
    seam::{Event, JobState, JobView, Snapshot},
};

/// Lines of news that are kept.
const LOG: usize = 500;
/// Where the gauge of the air ends, percent.
const GAUGE: f32 = 50.0;

/// What a key asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but a new picture.
    Draw,
    /// The end.
    Quit,
}

/// Parts of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// Who is there.
    Nodes,
    /// What is asked.
    Jobs,
    /// Links to radios.
    Links,
    /// What is held and collected.
    Objects,
    /// News.
    Log,
}

const PANES: [Pane; 5] = [Pane::Nodes, Pane::Jobs, Pane::Links, Pane::Objects, Pane::Log];

impl Pane {
    fn title(self) -> &'static str {
        match self {
            Self::Nodes => "1 nodes",
            Self::Jobs => "2 jobs",
            Self::Links => "3 links",
            Self::Objects => "4 objects",
            Self::Log => "5 news",
        }
    }
}

/// The picture and what is in it.
#[derive(Debug)]
pub struct View {
    state: Snapshot,
    jobs: Vec<JobView>,
    log: VecDeque<String>,
    lost: Option<String>,
    looked: Instant,
    pane: Pane,
    scroll: [usize; PANES.len()],
    large: bool,
    paused: bool,
    colours: bool,
}

/// A time span in at most five places.
fn short_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn cells(columns: &[(String, usize)]) -> String {
    let mut line = String::new();
    for (text, wide) in columns {
        let text = cut(text, *wide);
        line.push_str(&text);
        line.push_str(&" ".repeat(wide - width(&text).min(*wide) + 1));
    }
    line.trim_end().to_string()
}

impl View {
    /// Before the first state is known.
    pub fn new(colours: bool) -> Self {
        Self {
            state: Snapshot::default(),
            jobs: Vec::new(),
            log: VecDeque::new(),
            lost: None,
            looked: Instant::now(),
            pane: Pane::Nodes,
            scroll: [0; PANES.len()],
            large: false,
            paused: false,
            colours,
        }
    }

    /// The state as it is now; jobs newest first.
    pub fn set_state(&mut self, state: Snapshot, jobs: Vec<JobView>) {
        if self.lost.take().is_some() {
            self.note("the daemon answers again".to_string());
        }
        if !self.paused {
            self.state = state;
            self.jobs = jobs;
            self.looked = Instant::now();
        }
    }

    /// The daemon does not answer.
    pub fn lost(&mut self, why: String) {
        if self.lost.is_none() {
            self.note(why.clone());
        }
        self.lost = Some(why);
    }

    fn note(&mut self, text: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(clean(&text));
    }

    /// Something happened.
    pub fn happened(&mut self, event: &Event) {
        let text = match event {
            Event::Job(job) => {
                if let Some(shown) = self.jobs.iter_mut().find(|shown| shown.id == job.id) {
                    *shown = job.clone();
                } else {
                    self.jobs.insert(0, job.clone());
                    self.jobs.truncate(50);
                }
                format!("job {} {} {}", job.id, state_name(&job.state), outcome(&job.state))
            }
            Event::Node(node) => format!("node {} {}", node.id, node.long_name),
            Event::Text(text) => format!("text !{:08x} on {}: {}", text.from, text.channel, text.text),
            Event::Link(link) => format!("link {} {} {}", link.url, link.state, link.detail),
            Event::Object(object) => format!(
                "object {} {} {} %, {} nodes have it{}",
                object.tag,
                object.kind,
                object.progress_percent,
                object.complete_at.len(),
                object.runs_at.as_ref().map_or_else(String::new, |runs| format!(", {} run it", runs.len()))
            ),
        };
        self.note(text);
    }

    /// A key.
    pub fn handle_key(&mut self, key: KeyEvent) -> Action {
        let at = PANES.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Action::Quit,
            KeyCode::Esc if self.large => self.large = false,
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Tab | KeyCode::Right => self.pane = PANES[(at + 1) % PANES.len()],
            KeyCode::BackTab | KeyCode::Left => self.pane = PANES[(at + PANES.len() - 1) % PANES.len()],
            KeyCode::Char(digit @ '1'..='5') => self.pane = PANES[digit as usize - '1' as usize],
            KeyCode::Down | KeyCode::Char('j') => self.scroll[at] += 1,
            KeyCode::Up | KeyCode::Char('k') => self.scroll[at] = self.scroll[at].saturating_sub(1),
            KeyCode::PageDown => self.scroll[at] += 10,
            KeyCode::PageUp => self.scroll[at] = self.scroll[at].saturating_sub(10),
            KeyCode::Home => self.scroll[at] = 0,
            KeyCode::Enter => self.large = !self.large,
            KeyCode::Char('p') => self.paused = !self.paused,
            _ => {}
        }
        Action::Draw
    }

    fn style(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        if area.width < 40 || area.height < 12 {
            frame.render_widget(
                Paragraph::new("The terminal is too small: 40 by 12 at least. q quits."),
                area,
            );
            return;
        }
        let [head, air, middle, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Min(8),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_head(frame, head);
        self.draw_air(frame, air);
        if self.large {
            self.draw_pane(frame, middle, self.pane);
        } else {
            // The news has what is left under the tables, a third at most.
            let [top, low, news] =
                Layout::vertical([Constraint::Fill(3), Constraint::Fill(2), Constraint::Fill(2)])
                    .areas(middle);
            let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
            let [nodes, jobs] = halves.areas(top);
            let [links, objects] = halves.areas(low);
            let areas = [nodes, jobs, links, objects, news];
            for (pane, area) in PANES.into_iter().zip(areas) {
                self.draw_pane(frame, area, pane);
            }
        }
        let keys = "q quit  Tab/1-5 pane  Enter large  ↑↓ scroll  p pause";
        let keys = Line::styled(cut(keys, foot.width.into()), Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(keys, foot);
    }

    fn draw_head(&self, frame: &mut Frame, area: Rect) {
        let state = &self.state;
        let swarm = state.swarm.as_deref().map_or_else(|| "no swarm".to_string(), clean);
        let text = match (&self.lost, self.paused) {
            (Some(_), _) => {
                format!("compotastic {}  NO ANSWER for {}", state.id, age(self.looked.elapsed().as_secs()))
            }
            (None, true) => {
                format!("compotastic {}  PAUSED for {}", state.id, age(self.looked.elapsed().as_secs()))
            }
            (None, false) => format!(
                "compotastic {}  {swarm}  {}  {} {}  up {}  {} jobs open",
                state.id,
                state.mode,
                state.region,
                state.preset,
                age(state.uptime_s),
                state.open_jobs
            ),
        };
        let style = if self.lost.is_some() { self.style(Color::Red) } else { Style::new() };
        let text = cut(&text, area.width.into());
        frame.render_widget(Line::styled(text, style.add_modifier(Modifier::BOLD)), area);
    }

    /// The air of the last minute with both gates marked, and our own of the last hour.
    fn draw_air(&self, frame: &mut Frame, area: Rect) {
        let air = &self.state.airtime;
        let used = air.channel_utilization_percent;
        let colour = match used {
            used if air.hard_percent > 0.0 && used >= air.hard_percent => Color::Red,
            used if air.polite_percent > 0.0 && used >= air.polite_percent => Color::Yellow,
            _ => Color::Green,
        };
        let wide = usize::from(area.width.saturating_sub(36)).clamp(10, 50);
        let mut bar = vec![Span::raw("air  "), Span::raw("[")];
        for at in 0..wide {
            let (from, to) = (at as f32 * GAUGE / wide as f32, (at + 1) as f32 * GAUGE / wide as f32);
            let mark = [air.polite_percent, air.hard_percent]
                .iter()
                .any(|gate| *gate > 0.0 && (from..to).contains(gate));
            let text = match (mark, used > from) {
                (true, _) => "|",
                (false, true) => "=",
                (false, false) => " ",
            };
            bar.push(Span::styled(text, if used > from { self.style(colour) } else { Style::new() }));
        }
        bar.push(Span::raw("] "));
        let shown = if air.known { format!("{used:.1} %") } else { "not yet known".to_owned() };
        bar.push(Span::styled(shown, self.style(colour)));
        if air.hard_percent > 0.0 {
            bar.push(Span::raw(format!(" of {:.0}/{:.0} %", air.polite_percent, air.hard_percent)));
        }
        let own = format!(
            "ours {:.2} % of {:.0} % in the hour; gate {}; bulk {:.1} %",
            air.air_util_tx_percent,
            air.duty_cycle_percent,
            gate_text(air),
            air.bulk_share_percent
        );
        frame.render_widget(
            Paragraph::new(vec![Line::from(bar), Line::raw(cut(&own, area.width.into()))]),
            area,
        );
    }

    /// Rows of a pane; the first of the nodes is their head, and `*` is a foundation model, `+` a member.
    fn lines(&self, pane: Pane, wide: usize) -> Vec<String> {
        match pane {
            Pane::Nodes => {
                // 10 + 5 + 4 + 6 places and a space after each are for the other columns.
                let name = wide.saturating_sub(29).max(4);
                let node = |node: &crate::seam::NodeView| {
                    let mark = match (node.foundation_model, node.member) {
                        (true, _) => "*",
                        (false, true) => "+",
                        (false, false) => " ",
                    };
                    let snr = node.snr_db.map_or_else(String::new, |snr| format!("{snr:.0} dB"));
                    cells(&[
                        (format!("{}{mark}", node.id), 10),
                        (clean(&node.long_name), name),
                        (node.heard_s_ago.map_or_else(|| "-".to_string(), short_age), 5),
                        (or_dash(node.hops_away), 4),
                        (snr, 6),
                    ])
                };
                let head = ["node", "name", "heard", "hops", "SNR"].map(str::to_string);
                let head =
                    cells(&std::array::from_fn::<_, 5, _>(|at| (head[at].clone(), [10, name, 5, 4, 6][at])));
                std::iter::once(head).chain(self.state.nodes.iter().map(node)).collect()
            }
            Pane::Jobs => {
                let job = |job: &JobView| {
                    let detail = match &job.state {
                        JobState::Queued => clean(&job.spec.text),
                        state => clean(&outcome(state)),
                    };
                    cells(&[
                        (job.id.to_string(), 4),
                        (kind_name(job.spec.kind).to_string(), 8),
                        (state_name(&job.state).to_string(), 9),
                        (detail, wide.saturating_sub(25).max(4)),
                    ])
                };
                self.jobs.iter().map(job).collect()
            }
            Pane::Links => {
                let link = |link: &crate::seam::LinkView| {
                    cells(&[
                        (link.state.clone(), 10),
                        (clean(&link.url), 24),
                        (clean(&link.detail), wide.saturating_sub(37).max(2)),
                    ])
                };
                self.state.links.iter().map(link).collect()
            }
            Pane::Objects => {
                let object = |object: &crate::seam::ObjectView| {
                    let paused = if object.paused { "paused" } else { "" };
                    let runs = object
                        .runs_at
                        .as_ref()
                        .map_or_else(String::new, |runs| format!("{} run ", runs.len()));
                    cells(&[
                        (object.tag.clone(), 8),
                        (clean(&object.kind), 8),
                        (format!("v{}", object.version), 5),
                        (format!("{} %", object.progress_percent), 5),
                        (
                            format!("{} n {runs}{paused}", object.complete_at.len()),
                            wide.saturating_sub(31).max(4),
                        ),
                    ])
                };
                self.state.objects.iter().map(object).collect()
            }
            Pane::Log => self.log.iter().rev().cloned().collect(),
        }
    }

    fn draw_pane(&mut self, frame: &mut Frame, area: Rect, pane: Pane) {
        let at = PANES.iter().position(|other| *other == pane).unwrap_or(0);
        let chosen = pane == self.pane;
        let (wide, high) =
            (usize::from(area.width.saturating_sub(2)), usize::from(area.height.saturating_sub(2)));
        let mut lines = self.lines(pane, wide);
        let head = (pane == Pane::Nodes).then(|| lines.remove(0));
        let high = high.saturating_sub(usize::from(head.is_some()));
        let last = lines.len().saturating_sub(high);
        self.scroll[at] = self.scroll[at].min(last);
        let from = self.scroll[at];
        let more = if lines.len() > high {
            format!(" {}-{} of {} ", from + 1, from + high.min(lines.len()), lines.len())
        } else {
            String::new()
        };
        let border = if chosen {
            self.style(Color::Cyan).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        };
        let title = if chosen { format!(" {} < ", pane.title()) } else { format!(" {} ", pane.title()) };
        let block = Block::new()
            .borders(Borders::ALL)
            .border_style(border)
            .title(title)
            .title_bottom(Line::raw(more).right_aligned());
        let head = head.map(|head| Line::styled(head, Style::new().add_modifier(Modifier::UNDERLINED)));
        let rows = lines.iter().skip(from).take(high).map(|line| Line::raw(cut(line, wide)));
        let shown: Vec<Line> = head.into_iter().chain(rows).collect();
        frame.render_widget(Paragraph::new(shown).block(block), area);
    }
}
