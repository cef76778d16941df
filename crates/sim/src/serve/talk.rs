//! What people say whose messages a scenario plans by length alone.

/// Sentences of a day outside.
const SENTENCES: [&str; 12] = [
    "All well here, on our way down to the lower hut.",
    "Weather is turning, clouds from the west.",
    "Has anybody seen the blue van at the car park?",
    "Water at the spring is running again.",
    "Battery at 80 percent, will listen every hour.",
    "We are three people and a dog, arriving around six.",
    "Trail is closed behind the bridge, take the left one.",
    "Can you hear me? Testing from the ridge.",
    "Soup is ready, come in.",
    "Two hikers need a lift from the upper station.",
    "Snow above 1800 metres, bring gaiters.",
    "Thanks, got it. See you tomorrow.",
];

/// Text of this many bytes for the planned message of this number.
pub(super) fn text(message: u32, length: usize) -> String {
    let mut text = String::new();
    let mut sentences = SENTENCES.iter().cycle().skip(message as usize % SENTENCES.len());
    while text.len() < length {
        if !text.is_empty() {
            text.push(' ');
        }
        text += sentences.next().unwrap_or(&"");
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_planned_length() {
        for message in 0..30 {
            for length in [0, 1, 40, 200] {
                assert_eq!(text(message, length).len(), length);
            }
        }
        assert_ne!(text(1, 40), text(2, 40));
    }
}
