//! Files as commands read them: regular ones, up to a limit. A device never ends and a pipe may never begin, so neither is opened; and the limit
//! holds for what is read, since a length that a file system tells may be another by then, or none (`/proc`).

use std::{
    fs,
    io::{Error, ErrorKind, Read as _, Result},
    path::Path,
};

/// All bytes of a regular file.
///
/// # Errors
/// If it cannot be read, is a folder, a device or a pipe, or has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // Before it is opened, which waits for a writer where it is a pipe.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a folder; a file is needed"));
    }
    if !kind.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a device or a pipe; a file is needed"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it is longer than {limit} bytes, the most that is read of such a file"),
        ));
    }
    Ok(bytes)
}

/// All of a regular file as text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text: is it a binary file?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_and_what_is_too_long_is_refused() {
        let path = std::env::temp_dir().join(format!("compotastic-files-{}", std::process::id()));
        fs::write(&path, "four").expect("a temporary file");
        assert_eq!(read(&path, 4).expect("it fits"), b"four");
        assert_eq!(read_text(&path, 9).expect("it is text"), "four");
        assert_eq!(read(&path, 3).expect_err("a byte too long").kind(), ErrorKind::FileTooLarge);
        fs::write(&path, [0xFF]).expect("a temporary file");
        assert_eq!(read_text(&path, 9).expect_err("no text").kind(), ErrorKind::InvalidData);
        fs::remove_file(&path).expect("it is there");
        assert_eq!(read(&path, 9).expect_err("gone").kind(), ErrorKind::NotFound);
        assert_eq!(read(&std::env::temp_dir(), 9).expect_err("a folder").kind(), ErrorKind::IsADirectory);
        #[cfg(unix)]
        assert_eq!(read(Path::new("/dev/zero"), 9).expect_err("no end").kind(), ErrorKind::InvalidInput);
    }
}
