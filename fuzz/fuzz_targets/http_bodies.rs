//! JSON bodies of the HTTP API: refused with a reason, or taken and within their bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The decoders alone, without the daemon around them.
#[path = "../../crates/daemon/src/http/bodies.rs"]
#[allow(dead_code)]
mod bodies;
#[path = "../../crates/daemon/src/seam.rs"]
#[allow(dead_code)]
mod seam;

fn named(bad: &bodies::BadBody) {
    assert!(!bad.message.is_empty());
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    match choice % 4 {
        0 => match bodies::job(body) {
            Ok(spec) => {
                assert!(!spec.text.trim().is_empty() && spec.text.len() <= bodies::TEXT_BYTES);
                assert!(spec.deadline_s.is_none_or(|s| (1..=bodies::DEADLINE_S).contains(&s)));
                // What is taken can be told again, and is the same.
                let again = serde_json::to_vec(&spec).expect("a job is JSON");
                assert_eq!(bodies::job(&again).as_ref(), Ok(&spec));
            }
            Err(bad) => named(&bad),
        },
        1 => match bodies::chat(body) {
            Ok(chat) => {
                let budget = usize::from(choice) * 8;
                if let Ok(fitted) = bodies::fit(&chat.messages, budget) {
                    assert!(fitted.text.len() <= budget && !fitted.text.trim().is_empty());
                    assert!(fitted.left_out < chat.messages.len());
                }
                for message in &chat.messages {
                    let (before, _) = bodies::stopped(&message.content, &chat.stop);
                    assert!(chat.stop.iter().all(|stop| !before.contains(stop.as_str())));
                    let most = usize::from(chat.max_chars.unwrap_or(7));
                    let (short, cut) = bodies::shortened(&message.content, most);
                    assert!(short.chars().count() <= most && message.content.starts_with(short));
                    assert!(cut || short == message.content.trim_end());
                }
            }
            Err(bad) => named(&bad),
        },
        2 => match bodies::embeddings(body) {
            Ok(asked) => assert!((1..=bodies::INPUTS).contains(&asked.input.len())),
            Err(bad) => named(&bad),
        },
        _ => match bodies::text(body) {
            Ok(text) => assert!(text.text.len() <= bodies::MESSAGE_BYTES && text.channel < 8),
            Err(bad) => named(&bad),
        },
    }
});
