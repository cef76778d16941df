//! What `top` draws, on a terminal in memory.

mod fake_node;

use compotastic_daemon::{
    cli::top::{Action, View},
    seam::{Event, JobAnswer, JobKind, JobPriority, JobSpec, JobState, JobView, TextMessage},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

fn picture(view: &mut View, wide: u16, high: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(wide, high)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..wide).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..high).map(row).collect::<Vec<_>>().join("\n")
}

fn job(id: u64, state: JobState) -> JobView {
    let spec = JobSpec {
        kind: JobKind::Chat,
        text: "where is water?".to_string(),
        priority: JobPriority::Normal,
        deadline_s: None,
        max_chars: None,
    };
    JobView { id, spec, submitted_ms: 0, state }
}

fn view() -> View {
    let mut view = View::new(true);
    let done =
        JobState::Done(JobAnswer { text: Some("Behind\x1b[2J the hut".to_string()), ..JobAnswer::default() });
    view.set_state(fake_node::snapshot(), vec![job(8, JobState::Queued), job(7, done)]);
    view
}

fn press(view: &mut View, code: KeyCode) -> Action {
    view.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn all_is_there_at_80_by_24() {
    let mut view = view();
    let text = TextMessage {
        from: 7,
        to: u32::MAX,
        id: 1,
        channel: 0,
        text: "hello all".to_string(),
        proven: false,
        reply_to: None,
    };
    view.happened(&Event::Text(text));
    let shown = picture(&mut view, 80, 24);
    for part in [
        "compotastic !0f000001  hill  hosted  EU_868 LONG_FAST  up 1 d 02 h",
        "12.5 % of 15/20 %",
        "ours 0.75 % of 10 %",
        "node       name      heard hops SNR",
        "!0f000007* Edge on … 12s   1    -7 dB",
        "8    chat     queued    where",
        "7    chat     done      Behind",
        "serial:/dev/ttyUSB0",
        "00c0ffee firmware v7    100 %",
        "text !00000007 on 0: hello all",
        "q quit  Tab/1-5 pane",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "a stranger's text steers nothing");
    // A quarter of the gauge is full: 12.5 of 50 %, both gates are marked.
    let bar = shown.lines().nth(1).unwrap();
    assert_eq!((bar.matches('=').count(), bar.matches('|').count()), (11, 2), "{bar}");
}

#[test]
fn keys_choose_scroll_enlarge_pause_and_quit() {
    let mut view = view();
    let mut state = fake_node::snapshot();
    let node = state.nodes[1].clone();
    for num in 0..40 {
        let mut node = node.clone();
        node.id = format!("!000000{num:02x}");
        state.nodes.push(node);
    }
    view.set_state(state, Vec::new());
    assert!(picture(&mut view, 80, 24).contains("of 42"));
    press(&mut view, KeyCode::PageDown);
    let shown = picture(&mut view, 80, 24);
    assert!(shown.contains(" 11-") && !shown.contains("!0f000007"), "{shown}");
    for _ in 0..10 {
        press(&mut view, KeyCode::PageDown);
    }
    assert!(picture(&mut view, 80, 24).contains("-42 of 42"), "it ends where the list ends");
    press(&mut view, KeyCode::Enter);
    assert!(!picture(&mut view, 80, 24).contains("3 links"));
    press(&mut view, KeyCode::Char('3'));
    assert!(picture(&mut view, 80, 24).contains(" 3 links < "));
    press(&mut view, KeyCode::Esc);
    press(&mut view, KeyCode::Char('p'));
    view.set_state(Default::default(), Vec::new());
    let shown = picture(&mut view, 80, 24);
    assert!(shown.contains("PAUSED") && shown.contains("serial:"), "{shown}");
    view.lost("no daemon answers".to_string());
    assert!(picture(&mut view, 80, 24).contains("NO ANSWER"));
    assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Quit);
    assert_eq!(press(&mut view, KeyCode::Esc), Action::Quit);
}

#[test]
fn any_size_is_drawn() {
    let mut view = view();
    for (wide, high) in [(1, 1), (39, 24), (40, 12), (80, 11), (41, 13), (250, 90), (80, 3)] {
        let shown = picture(&mut view, wide, high);
        assert_eq!(shown.lines().count(), usize::from(high));
    }
    assert!(picture(&mut view, 60, 10).contains("too small"));
}
