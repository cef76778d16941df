//! Answers of models made fit for a small radio: plain text, whole words.

/// Marks an answer that ends before its end.
const ELLIPSIS: char = '…';

/// What a model says without what only a screen can show: its thoughts (`<think>`), emphasis, headings, line breaks.
pub fn tidy(said: &str) -> String {
    let mut rest = said;
    let mut kept = String::with_capacity(said.len());
    while let Some(start) = rest.find("<think>") {
        kept.push_str(&rest[..start]);
        rest = rest[start..].split_once("</think>").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    // A server that has cut the beginning of the thoughts off leaves their end.
    let whole = kept.split_once("</think>").map_or(kept.as_str(), |(_, after)| after);
    let plain = whole.replace("**", "").replace('`', "");
    let words = plain.lines().flat_map(|line| line.trim_start_matches(['#', '>']).split_whitespace());
    words.collect::<Vec<&str>>().join(" ")
}

/// The longest beginning of a text of at most so many bytes.
pub fn beginning(text: &str, max_bytes: usize) -> &str {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Ends a text within `max_chars` characters and `max_bytes` bytes: at the end of a sentence if more than half of it stays, else at
/// the end of a word, with an ellipsis. A single word that is longer is cut between characters: there is nothing else to do.
pub fn cut(text: &str, max_chars: usize, max_bytes: usize) -> String {
    let text = text.trim();
    let fits = |part: &str| part.len() <= max_bytes && part.chars().count() <= max_chars;
    if fits(text) {
        return text.to_owned();
    }
    // The longest beginning that fits, with room for the ellipsis.
    let mut end = 0;
    for (count, (at, char)) in text.char_indices().enumerate() {
        let after = at + char.len_utf8();
        if count + 2 > max_chars || after + ELLIPSIS.len_utf8() > max_bytes {
            break;
        }
        end = after;
    }
    let head = &text[..end];
    let is_break = |at: usize| text[at..].chars().next().is_none_or(char::is_whitespace);
    let sentence = head
        .char_indices()
        .filter(|(_, char)| matches!(char, '.' | '!' | '?' | '。' | '！' | '？'))
        .map(|(at, char)| at + char.len_utf8())
        .rfind(|at| is_break(*at) || head[..*at].ends_with(['。', '！', '？']));
    if let Some(at) = sentence.filter(|at| *at * 2 > end) {
        return head[..at].to_owned();
    }
    let word = if is_break(end) { Some(end) } else { head.rfind(char::is_whitespace) };
    let at = word.filter(|at| *at > 0).unwrap_or(end);
    let mut cut =
        head[..at].trim_end_matches(|char: char| char.is_whitespace() || ",;:-".contains(char)).to_owned();
    if cut.len() + ELLIPSIS.len_utf8() <= max_bytes && max_chars > 0 {
        cut.push(ELLIPSIS);
    }
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_and_decoration_go() {
        let said = "<think>Hmm, a knee.\nWell.</think>\n# Answer\n\n**Rest** it, `cool` it.\n- twice\n";
        assert_eq!(tidy(said), "Answer Rest it, cool it. - twice");
        assert_eq!(tidy("so it is.</think> Rest."), "Rest.");
        assert_eq!(tidy("<think>never ends"), "");
    }

    #[test]
    fn it_ends_at_a_sentence_or_a_word() {
        let text = "Keep the leg still. Cool it for a while. Then wait, somebody will come for you.";
        assert_eq!(cut(text, 60, 999), "Keep the leg still. Cool it for a while.");
        assert_eq!(cut(text, 17, 999), "Keep the leg…");
        assert_eq!(cut(text, 35, 999), "Keep the leg still.");
        assert_eq!(cut("Cool it, 3.5 degrees are best, they say", 24, 999), "Cool it, 3.5 degrees…");
        assert_eq!(cut(text, 999, 999), text);
        assert_eq!(cut("Donaudampfschifffahrt", 8, 999), "Donauda…");
        assert_eq!(cut("静かに。足を冷やす。人が来ます", 12, 999), "静かに。足を冷やす。");
    }

    proptest! {
        #[test]
        fn never_too_long_and_never_within_a_word(text in "[a-zäß。🙂 .,]{0,300}", chars in 0usize..120, bytes in 0usize..200) {
            let done = cut(&text, chars, bytes);
            prop_assert!(done.chars().count() <= chars && done.len() <= bytes);
            let kept = done.trim_end_matches(ELLIPSIS);
            prop_assert!(text.trim().starts_with(kept));
            let rest = &text.trim()[kept.len()..];
            let whole_word = rest.is_empty() || kept.is_empty()
                || rest.starts_with(|c: char| c.is_whitespace() || ",;:-".contains(c))
                || kept.ends_with(['。', '！', '？']);
            let lone = !kept.contains(char::is_whitespace);
            prop_assert!(whole_word || lone, "{:?} of {:?}", done, text);
        }
    }
}
