//! Sentences from a list of phrases: the wide, plain vocabulary of field reports and of everyday requests.
//!
//! The format is line by line: `# comment`; `@name` and then one line of fillers between bars; `= topic` and then one
//! sentence per line. In sentences and fillers `{name}` is replaced by a filler and `[a|b|]` by one of its parts.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use super::draws::Draws;

/// Fillers may hold fillers so many levels down.
const DEPTH_MAX: usize = 6;

/// A parsed list of phrases.
#[derive(Debug)]
pub struct Phrases {
    fillers: BTreeMap<String, Vec<String>>,
    topics: Vec<Vec<String>>,
}

impl Phrases {
    /// Reads a list and checks that every filler is there.
    pub fn parse(text: &str) -> Result<Self> {
        let mut phrases = Self { fillers: BTreeMap::new(), topics: Vec::new() };
        let mut name = None;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if line.starts_with('#') {
            } else if let Some(list) = line.strip_prefix('@') {
                name = Some(list.trim().to_string());
            } else if line.starts_with('=') {
                phrases.topics.push(Vec::new());
            } else if let Some(name) = name.take() {
                let parts: Vec<String> = line.split('|').map(str::to_string).collect();
                ensure!(!parts.is_empty(), "line {}: no fillers", index + 1);
                phrases.fillers.insert(name, parts);
            } else if let Some(topic) = phrases.topics.last_mut() {
                topic.push(line.to_string());
            } else {
                bail!("line {}: a sentence before the first topic", index + 1);
            }
        }
        phrases.topics.retain(|topic| !topic.is_empty());
        ensure!(!phrases.topics.is_empty(), "no sentences");
        let all = phrases.topics.iter().flatten().chain(phrases.fillers.values().flatten());
        for text in all {
            for name in text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default()) {
                ensure!(phrases.fillers.contains_key(name), "no list called {name}, used in: {text}");
            }
        }
        Ok(phrases)
    }

    /// One sentence of a topic drawn by lot.
    pub fn sentence(&self, draws: &mut Draws) -> Result<String> {
        let topic = &self.topics[draws.below(self.topics.len())];
        let pattern = &topic[draws.below(topic.len())];
        let text = self.fill(pattern, draws, 0).with_context(|| format!("in: {pattern}"))?;
        // An empty choice leaves its spaces behind.
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ","))
    }

    fn fill(&self, pattern: &str, draws: &mut Draws, depth: usize) -> Result<String> {
        ensure!(depth <= DEPTH_MAX, "fillers nested too deeply");
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find(['{', '[']) {
            out.push_str(&rest[..at]);
            let close = if rest[at..].starts_with('{') { '}' } else { ']' };
            let end = rest[at..].find(close).with_context(|| format!("no {close}"))? + at;
            let inner = &rest[at + 1..end];
            let part = if close == '}' {
                let list = self.fillers.get(inner).with_context(|| format!("no list called {inner}"))?;
                list[draws.below(list.len())].clone()
            } else {
                let parts: Vec<&str> = inner.split('|').collect();
                parts[draws.below(parts.len())].to_string()
            };
            out.push_str(&self.fill(&part, draws, depth + 1)?);
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_filled_and_repeatable() {
        let phrases = Phrases::parse("# x\n@who\nman|woman\n= one\n{who} [is|was] here\n").unwrap();
        let made = |seed| phrases.sentence(&mut Draws::new(seed)).unwrap();
        assert_eq!(made(3), made(3));
        let all: std::collections::BTreeSet<String> = (0..40).map(made).collect();
        assert_eq!(all.len(), 4, "{all:?}");
    }

    #[test]
    fn mistakes_in_the_list_are_named() {
        assert!(format!("{:#}", Phrases::parse("= t\n{what} now\n").unwrap_err()).contains("what"));
        assert!(Phrases::parse("").is_err());
        assert!(Phrases::parse("alone\n").is_err());
        let endless = Phrases::parse("@a\n{a}\n= t\n{a}\n").unwrap();
        assert!(endless.sentence(&mut Draws::new(1)).is_err());
    }

    #[test]
    fn the_list_in_the_tree_is_sound() {
        let phrases = Phrases::parse(super::super::corpus::PHRASES).unwrap();
        let mut draws = Draws::new(1);
        for _ in 0..20_000 {
            let text = phrases.sentence(&mut draws).unwrap();
            assert!(!text.contains(['{', '}', '[', ']', '|']), "{text}");
        }
    }
}
