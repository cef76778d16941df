//! What this node says by itself, and how an answer is cut into packets.

use crate::{
    brain::{beginning, cut},
    seam::Snapshot,
};

/// Bytes of a text packet.
pub const PACKET_MAX: usize = 200;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// How to use this.
    Help,
    /// Who is here, and how it goes.
    Status,
    /// A question for the model.
    Question(&'a str),
}

/// What a text without its trigger asks for.
pub fn wish(text: &str) -> Wish<'_> {
    let text = text.trim();
    let bare = text.trim_end_matches(['?', '!', '.']).trim_start_matches('/');
    if bare.is_empty() || bare.eq_ignore_ascii_case("help") {
        Wish::Help
    } else if bare.eq_ignore_ascii_case("status") {
        Wish::Status
    } else {
        Wish::Question(text)
    }
}

/// The text behind the trigger, if it begins with it, whatever its case, and a word ends there.
pub fn after_trigger<'a>(text: &'a str, trigger: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let mut rest = text.chars();
    for expected in trigger.trim().chars() {
        let found = rest.next()?;
        if !found.to_lowercase().eq(expected.to_lowercase()) {
            return None;
        }
    }
    let rest = rest.as_str();
    let ends = rest.chars().next().is_none_or(|next| !next.is_alphanumeric());
    ends.then(|| rest.trim_start_matches([',', ':', ' ', '\t']).trim())
}

/// How to use this.
pub fn help(trigger: &str) -> String {
    let text = format!(
        "Ask me in a direct message, or on a channel with \"{trigger} your question\". Answers are short and may be wrong. \
         \"{trigger} status\": who is here."
    );
    cut(&text, usize::MAX, PACKET_MAX)
}

/// Who is here, and how it goes.
pub fn status(state: &Snapshot) -> String {
    let nodes = state.nodes.len();
    let lately = state.nodes.iter().filter(|node| node.heard_s_ago.is_some_and(|ago| ago < 2 * 3600)).count();
    let members = state.nodes.iter().filter(|node| node.member).count();
    let gate = match state.airtime.gate.as_str() {
        "" | "open" => "open".to_owned(),
        held => format!("holds back ({held})"),
    };
    let air = match state.airtime.known {
        true => format!("{:.0} %", state.airtime.channel_utilization_percent),
        false => "not yet known".to_owned(),
    };
    let text = format!(
        "{lately} of {nodes} nodes heard in 2 h, {members} in the swarm. Jobs open: {}. Air {air}, gate {gate}. Model: {}.",
        state.open_jobs,
        state.model.as_deref().unwrap_or("none here")
    );
    cut(&text, usize::MAX, PACKET_MAX)
}

/// An answer in at most `packets` packets of [`PACKET_MAX`] bytes, each of which ends at a whole word; what does not fit is left out,
/// and an ellipsis says so.
pub fn packets(answer: &str, packets: usize) -> Vec<String> {
    let mut rest = answer.trim();
    let mut out = Vec::new();
    while !rest.is_empty() && out.len() + 1 < packets && rest.len() > PACKET_MAX {
        let end = break_at(rest);
        out.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() && packets > 0 {
        out.push(cut(rest, usize::MAX, PACKET_MAX));
    }
    out
}

/// Where a text that is longer than a packet is broken: behind its last whole word that fits, a sentence's end if one is late enough.
fn break_at(text: &str) -> usize {
    let head = beginning(text, PACKET_MAX);
    let end = head.len();
    let sentence = [". ", "! ", "? "].iter().filter_map(|stop| head.rfind(stop)).max().map(|at| at + 1);
    let word = if text[end..].starts_with(char::is_whitespace) {
        Some(end)
    } else {
        head.rfind(char::is_whitespace)
    };
    sentence.filter(|at| *at > PACKET_MAX * 2 / 3).or(word).filter(|at| *at > 0).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seam::{AirtimeView, NodeView};

    #[test]
    fn triggers_are_words() {
        for (text, rest) in [
            ("@ai what now?", Some("what now?")),
            ("  @AI, what now?", Some("what now?")),
            ("@ai", Some("")),
            ("@ai: help", Some("help")),
            ("@aid station is where?", None),
            ("ask @ai", None),
            ("@a", None),
            ("", None),
        ] {
            assert_eq!(after_trigger(text, "@ai"), rest, "{text}");
        }
        assert_eq!(after_trigger("ÄRZTIN wo", "ärztin"), Some("wo"));
    }

    #[test]
    fn wishes() {
        assert_eq!(wish(" Help? "), Wish::Help);
        assert_eq!(wish("/status"), Wish::Status);
        assert_eq!(wish(""), Wish::Help);
        assert_eq!(wish("help me with a knee"), Wish::Question("help me with a knee"));
    }

    #[test]
    fn what_it_says_by_itself_is_one_packet() {
        assert!(help("@ai").len() <= PACKET_MAX && help("@ai").ends_with('.'));
        assert!(help(&"ü".repeat(300)).len() <= PACKET_MAX);
        let node = |ago, member| NodeView { heard_s_ago: Some(ago), member, ..NodeView::default() };
        let state = Snapshot {
            nodes: vec![node(60, true), node(7199, false), node(7200, false)],
            open_jobs: 2,
            model: Some("llama3.2:3b".into()),
            airtime: AirtimeView {
                gate: "hard".into(),
                channel_utilization_percent: 41.7,
                known: true,
                ..AirtimeView::default()
            },
            ..Snapshot::default()
        };
        assert_eq!(
            status(&state),
            "2 of 3 nodes heard in 2 h, 1 in the swarm. Jobs open: 2. Air 42 %, gate holds back (hard). Model: llama3.2:3b."
        );
        assert!(status(&Snapshot::default()).contains("Air not yet known, gate open"));
    }

    proptest! {
        #[test]
        fn packets_hold_whole_words_and_nothing_but_the_end_is_lost(answer in "[a-zäß🙂 .?,\n]{0,600}", most in 1usize..3) {
            let out = packets(&answer, most);
            prop_assert!(out.len() <= most && out.iter().all(|packet| packet.len() <= PACKET_MAX && !packet.is_empty()));
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (told, whole) = (squeeze(&out.join(" ")), squeeze(&answer));
            let told = told.trim_end_matches('…');
            let longest = answer.split_whitespace().map(str::len).max().unwrap_or(0);
            if longest < 100 {
                prop_assert!(whole.starts_with(told), "{:?} of {:?}", told, whole);
                let rest = &whole[told.len()..];
                prop_assert!(rest.is_empty() || rest.starts_with([' ', ',', '…']) || told.is_empty(), "{:?}", rest);
            }
        }
    }
}
