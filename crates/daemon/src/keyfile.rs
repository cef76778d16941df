//! Key files: one line of text each, so that they can be read aloud and copied by hand.
//!
//! A secret key is `compotastic-secret ROLE SEED`, a public key `compotastic-public ROLE KEY`, with 64 hexadecimal digits.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use compotastic_bundle::KeyId;
use compotastic_sim::files;
use ed25519_dalek::SigningKey;

use crate::cli::output::{self, with_ending};

/// What a key is for. A device decides by itself; the role is there so that people do not mix up their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The operator's: devices are enrolled with its public key
    Root,
    /// An edge node's: signs models and policies once a root key has delegated to it
    Edge,
}

impl Role {
    /// Its word in files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Edge => "edge",
        }
    }
}

/// A public key and its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is for.
    pub role: Role,
    /// The Ed25519 key.
    pub bytes: [u8; 32],
}

impl PublicKey {
    /// First 8 bytes of its SHA-256.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.bytes)
    }
}

/// A secret key and its role.
pub struct SecretKey {
    /// What it is for.
    pub role: Role,
    /// The key.
    pub key: SigningKey,
}

impl SecretKey {
    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { role: self.role, bytes: self.key.verifying_key().to_bytes() }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal digits as bytes; none if they are something else.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

/// First word of a secret key's file.
pub(crate) const SECRET: &str = "compotastic-secret";
const PUBLIC: &str = "compotastic-public";
/// No key file is longer; what is longer is something else.
const LONGEST: u64 = 1024;

/// The public key's file that lies beside a secret key's.
pub fn public_path(secret: &Path) -> PathBuf {
    with_ending(secret, ".pub")
}

/// Makes a key from the system's random numbers, and writes both halves.
pub fn create(path: &Path, role: Role) -> Result<SecretKey> {
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut seed))
        .context("this system gives no random numbers (/dev/urandom)")?;
    let secret = SecretKey { role, key: SigningKey::from_bytes(&seed) };
    write(path, &secret)?;
    Ok(secret)
}

/// Writes both halves of a key: the secret one for the owner's eyes only. No file is overwritten.
pub fn write(path: &Path, secret: &SecretKey) -> Result<()> {
    let role = secret.role;
    let beside = public_path(path);
    ensure!(
        !beside.exists(),
        "cannot make {}: a key is never overwritten, choose another name",
        beside.display()
    );
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| {
        let there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let hint = if there { ": a key is never overwritten, choose another name" } else { "" };
        anyhow::Error::new(error).context(format!("cannot make {}{hint}", path.display()))
    })?;
    let line = format!("{PUBLIC} {} {}\n", role.word(), hex(&secret.public().bytes));
    let written = writeln!(file, "{SECRET} {} {}", role.word(), hex(&secret.key.to_bytes()))
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
        .and_then(|()| output::write(&beside, line.as_bytes(), []));
    if written.is_err() {
        // It was made here, and half a key would stand in the way of the next try.
        let _ = fs::remove_file(path);
    }
    written
}

/// The words of a key file: what it is, role, digits.
fn words(path: &Path) -> Result<(String, Role, [u8; 32])> {
    let what = || format!("{} is no key file: `compotastic key new FILE` makes one", path.display());
    let text = match files::read_text(path, LONGEST) {
        Err(error) if matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidData) => {
            bail!(what())
        }
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut words = text.split_whitespace();
    let (kind, role, digits) = (words.next(), words.next(), words.next());
    let role = [Role::Root, Role::Edge].into_iter().find(|known| role == Some(known.word()));
    let bytes = digits.and_then(unhex).and_then(|bytes| bytes.try_into().ok());
    match (kind, role, bytes) {
        (Some(kind @ (SECRET | PUBLIC)), Some(role), Some(bytes)) if words.next().is_none() => {
            Ok((kind.to_string(), role, bytes))
        }
        _ => bail!(what()),
    }
}

/// Reads a secret key that nobody but its owner can read.
pub fn read_secret(path: &Path) -> Result<SecretKey> {
    let (kind, role, seed) = words(path)?;
    ensure!(
        kind == SECRET,
        "{} is a public key; the secret one is needed, which has the same name without .pub",
        path.display()
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "others can read the secret key {0} (mode {mode:03o}): chmod 600 {0}, and if they may have, make a new key",
            path.display()
        );
    }
    Ok(SecretKey { role, key: SigningKey::from_bytes(&seed) })
}

/// Reads a public key, from its own file or from its secret key's.
pub fn read_public(path: &Path) -> Result<PublicKey> {
    let (kind, role, bytes) = words(path)?;
    if kind == PUBLIC { Ok(PublicKey { role, bytes }) } else { Ok(read_secret(path)?.public()) }
}

/// Whether a file is a secret key.
pub fn is_secret(path: &Path) -> bool {
    words(path).is_ok_and(|(kind, ..)| kind == SECRET)
}

/// Whether a file is a key of either half.
pub fn is_key(path: &Path) -> bool {
    words(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes() {
        assert_eq!(unhex("00ffA5"), Some(vec![0, 255, 0xA5]));
        assert_eq!(hex(&[0, 255, 0xA5]), "00ffa5");
        for bad in ["0", "0g", "+1", "ä"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
