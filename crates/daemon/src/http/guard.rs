//! Who may use the API.
//!
//! On loopback everybody on this machine may, but no web page: a page of another site could otherwise post jobs through its
//! reader's browser, or read answers by having its name point at 127.0.0.1 (DNS rebinding). So the `Host` has to be a loopback
//! name there, and an `Origin` has to be the API itself. Any other address takes a token. What concerns the swarm's keys takes the
//! control token on each address ([`super::control`]).

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use sha2::{Digest as _, Sha256};

use super::{control::is_here, problem::Problem};

/// Shortest token, characters.
const TOKEN_MIN: usize = 16;

/// The secret of the API. Only its digest is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Of a text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Reads the file; where there is none, makes one with a token of 256 random bits, for its owner alone.
    ///
    /// Errors: others can read the file, or what is in it is too short.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let mode = fs::metadata(path)?.permissions().mode();
                ensure!(
                    mode & 0o077 == 0,
                    "{} can be read by others (mode {:o}): chmod 600 {0}, and better have a new token made",
                    path.display(),
                    mode & 0o777
                );
                let token = text.trim();
                ensure!(
                    token.len() >= TOKEN_MIN,
                    "the token in {} has {} characters, {TOKEN_MIN} are needed: remove the file, and a good one is made",
                    path.display(),
                    token.len()
                );
                Ok(Self::new(token))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut random = [0; 32];
                getrandom::fill(&mut random).context("this machine has no random numbers")?;
                let token = data_encoding::BASE64URL_NOPAD.encode(&random);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .with_context(|| format!("cannot make the token file {}", path.display()))?;
                writeln!(file, "{token}")?;
                file.sync_all()?;
                tracing::info!("a token for the API was made: {}", path.display());
                Ok(Self::new(&token))
            }
            Err(error) => bail!("cannot read the token file {}: {error}", path.display()),
        }
    }

    /// Compares digests in constant time: how long it takes tells nothing of the secret.
    fn is(&self, text: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let difference = self.0.iter().zip(&other).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// The rules of one server.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Bound to loopback.
    pub loopback: bool,
    /// The token, where one is needed.
    pub token: Option<Token>,
    /// The control token, where the daemon has one; it is good for all that the other is good for.
    pub control: Option<Token>,
    /// Where it listens.
    listen: IpAddr,
}

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl Guard {
    /// For an address. Any but loopback needs a token.
    pub fn new(listen: SocketAddr, token: Option<Token>) -> Result<Self> {
        let loopback = listen.ip().is_loopback();
        ensure!(
            loopback || token.is_some(),
            "the API on {listen} could be used by everybody who reaches this machine: --token-file FILE makes it ask for a \
token (the file is made), or take 127.0.0.1"
        );
        Ok(Self { loopback, token, control: None, listen: listen.ip() })
    }

    /// Lets a request pass that concerns the swarm's keys, or says why not.
    pub fn check_control(&self, headers: &HeaderMap, client: IpAddr) -> Result<(), Problem> {
        let shown = bearer(headers);
        if !self.control.as_ref().is_some_and(|control| shown.is_some_and(|shown| control.is(shown))) {
            let detail = "this concerns the swarm's keys, and takes the control token, which is in the daemon's state folder: \
`compotastic swarm --state DIR`, on the daemon's machine and as its user, finds it";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        if !is_here(client, self.listen) {
            let detail = "the swarm's keys do not leave this machine over HTTP, which anybody on the way can read: use `compotastic swarm` on it";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(())
    }

    /// Lets a request pass, or says why not.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let Some(host) = text(header::HOST).or_else(|| uri.authority().map(|authority| authority.as_str()))
        else {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "there is no Host header"));
        };
        if self.loopback && !is_loopback_name(host) {
            return forbidden(
                "this API is for this machine alone: take localhost or 127.0.0.1 as the host's name",
            );
        }
        // A browser tells where a request comes from; no other client does.
        if let Some(origin) = text(header::ORIGIN)
            && origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) != Some(host)
        {
            return forbidden("requests from pages of other sites are not taken");
        }
        if let Some(site) = headers.get("sec-fetch-site")
            && ![&b"same-origin"[..], b"none"].contains(&site.as_bytes())
        {
            return forbidden("requests from pages of other sites are not taken");
        }
        // The description of the API is no secret, and a browser cannot send the token for a page.
        if ["/", "/api/docs", "/api/openapi.json"].contains(&uri.path()) {
            return Ok(());
        }
        if let Some(token) = &self.token {
            let good =
                |given| token.is(given) || self.control.as_ref().is_some_and(|control| control.is(given));
            if !bearer(headers).is_some_and(good) {
                let detail = "the token is missing or wrong: send 'Authorization: Bearer TOKEN' with what is in the daemon's --token-file";
                return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
            }
        }
        Ok(())
    }
}

/// A host without its port, an IPv6 address without its brackets.
pub fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// True for names that no other machine can have, with or without a port.
pub fn is_loopback_name(host: &str) -> bool {
    let name = host_name(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        guard.check(&path.parse().unwrap(), &headers).map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn no_page_of_another_site_reaches_a_loopback_api() {
        let guard = Guard::new("127.0.0.1:4480".parse().unwrap(), None).unwrap();
        for host in ["localhost:4480", "127.0.0.1:4480", "[::1]:4480", "LOCALHOST", "127.1.2.3"] {
            assert_eq!(check(&guard, "/api/status", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example:4480", "localhost.evil.example", "127.0.0.1.evil.example", "", "192.168.0.7"]
        {
            assert_eq!(check(&guard, "/api/status", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(check(&guard, "/api/status", &[]), 400);
        let origin = |origin| check(&guard, "/api/jobs", &[("host", "localhost:4480"), ("origin", origin)]);
        assert_eq!(origin("http://localhost:4480"), 200);
        assert_eq!(
            ["http://evil.example", "null", "http://localhost:8000", "localhost:4480"].map(origin),
            [403; 4]
        );
        let site = |site| check(&guard, "/api/jobs", &[("host", "localhost"), ("sec-fetch-site", site)]);
        assert_eq!(["same-origin", "none", "cross-site", "same-site"].map(site), [200, 200, 403, 403]);
    }

    #[test]
    fn other_addresses_take_a_token() {
        let address = "0.0.0.0:4480".parse().unwrap();
        assert!(Guard::new(address, None).unwrap_err().to_string().contains("--token-file"));
        let guard = Guard::new(address, Some(Token::new("correct horse battery"))).unwrap();
        let bearer = |value| check(&guard, "/v1/models", &[("host", "hill.lan"), ("authorization", value)]);
        assert_eq!(bearer("Bearer correct horse battery"), 200);
        assert_eq!(bearer("bearer correct horse battery"), 200);
        for wrong in
            ["Bearer correct horse batter", "Basic correct horse battery", "correct horse battery", "Bearer "]
        {
            assert_eq!(bearer(wrong), 401, "{wrong}");
        }
        assert_eq!(check(&guard, "/api/status", &[("host", "hill.lan")]), 401);
        assert_eq!(check(&guard, "/api/docs", &[("host", "hill.lan")]), 200);
        assert_eq!(check(&guard, "/api/docs/../status", &[("host", "hill.lan")]), 401);
    }

    #[test]
    fn the_swarms_keys_take_the_control_token_and_this_machine() {
        let mut guard =
            Guard::new("0.0.0.0:4480".parse().unwrap(), Some(Token::new("for the others"))).unwrap();
        let check_control = |guard: &Guard, token: &str, client: &str| {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
            guard.check_control(&headers, client.parse().unwrap()).is_ok()
        };
        assert!(!check_control(&guard, "for the others", "127.0.0.1"), "there is none");
        guard.control = Some(Token::new("for the owner"));
        assert!(check_control(&guard, "for the owner", "127.0.0.1"));
        assert!(!check_control(&guard, "for the owner", "192.168.0.9"));
        assert!(!check_control(&guard, "for the others", "127.0.0.1"));
        assert!(guard.check_control(&HeaderMap::new(), "127.0.0.1".parse().unwrap()).is_err());
        // It opens what the other opens, and no page of another site gets by.
        let owner = ("authorization", "Bearer for the owner");
        assert_eq!(check(&guard, "/api/swarm", &[("host", "hill.lan"), owner]), 200);
        let page = ("origin", "http://evil.example");
        assert_eq!(check(&guard, "/api/swarm", &[("host", "hill.lan"), owner, page]), 403);
    }

    #[test]
    fn a_token_file_is_made_once_for_its_owner_alone() {
        let path = std::env::temp_dir().join(format!("compotastic-token-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let made = Token::load_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(made.is(text.trim()) && text.trim().len() == 43);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Token::load_or_create(&path).unwrap().is(text.trim()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Token::load_or_create(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short\n").unwrap();
        assert!(Token::load_or_create(&path).unwrap_err().to_string().contains("16 are needed"));
        fs::remove_file(&path).unwrap();
    }
}
