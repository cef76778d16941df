//! Ranges of seeds on the command line.

/// First and last seed.
pub type Seeds = (u64, u64);

/// Reads `1..10`; both ends are meant.
pub fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let wrong = || format!("\"{text}\" is not of the form 1..10");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let last: u64 = last.parse().map_err(|_| wrong())?;
    if first > last || last - first >= 1_000_000 {
        return Err(format!("\"{text}\": the first seed comes first, and there are 1,000,000 at most"));
    }
    Ok((first, last))
}
