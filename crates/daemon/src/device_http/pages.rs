//! Which web pages may use a radio.
//!
//! A browser sends requests to this machine for any page that its reader opens, unless it is told not to. A simulated radio is
//! open to all of them. A real one that is shared is not: the page of another site could read what people
//! write to each other, the keys, and send in their name. Programs that are no browsers say no `Origin` and are not asked.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::guard::{host_name, is_loopback_name};

/// Where a page comes from: scheme, host and port, such as `https://client.meshtastic.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    fn host(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, host)| host)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |host: &&str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        match host.filter(plain) {
            Some(_) => Ok(Self(text.to_ascii_lowercase())),
            None => Err("where a page comes from is written as https://client.meshtastic.org: scheme, host, and port if it is \
                 not the usual one, without a slash at the end"
                .to_owned()),
        }
    }
}

/// The rules of one server.
#[derive(Clone, Debug)]
pub enum Pages {
    /// Pages from anywhere.
    All,
    /// Pages of this machine, and of these sites. `loopback`: nobody else can reach the server.
    Some {
        /// Sites.
        sites: Vec<Origin>,
        /// It listens on loopback.
        loopback: bool,
    },
}

impl Pages {
    /// Lets a request pass, or says why not, in a line.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let Self::Some { loopback, .. } = self else { return Ok(()) };
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A page can have the name of its site point at this machine; then it is no other site's to the browser.
        if !is_loopback_name(host) && (*loopback || !self.is_name_of_ours(host)) {
            return Err("take localhost or an IP address as the radio's name\n");
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if self.admits(origin) => Ok(()),
            Some(_) => {
                Err("requests of pages from this site are not taken; --share-http-page SITE allows them\n")
            }
            None => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
                Some(b"none" | b"same-origin") => Ok(()),
                // Browsers say it to loopback alone: elsewhere an image of any page would drain the queue of this browser's app.
                None if !is_browser(headers) => Ok(()),
                _ => Err("requests of pages that hide where they come from are not taken\n"),
            },
        }
    }

    /// What the answer says of who may read it.
    pub fn allow(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::All => Some(HeaderValue::from_static("*")),
            Self::Some { .. } => headers.get(header::ORIGIN).filter(|origin| self.admits(origin)).cloned(),
        }
    }

    fn admits(&self, origin: &HeaderValue) -> bool {
        let Self::Some { sites, .. } = self else { return true };
        let Ok(Ok(origin)) = origin.to_str().map(Origin::from_str) else { return false };
        is_loopback_name(origin.host()) || sites.contains(&origin)
    }

    /// Names that no other site can have: addresses, and those that are looked up in the local network alone.
    fn is_name_of_ours(&self, host: &str) -> bool {
        let name = host_name(host);
        let local = name.ends_with(".local") || !name.is_empty() && !name.contains('.');
        local || name.parse::<std::net::IpAddr>().is_ok()
    }
}

/// All browsers call themselves so.
fn is_browser(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|name| name.as_bytes().starts_with(b"Mozilla/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pages: &Pages, headers: &[(&'static str, &str)]) -> (bool, Option<String>) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let allowed = pages.allow(&headers).map(|value| value.to_str().unwrap().to_owned());
        (pages.check(&headers).is_ok(), allowed)
    }

    #[test]
    fn a_shared_radio_is_for_pages_of_this_machine_and_of_named_sites() {
        let sites = vec!["https://client.meshtastic.org".parse().unwrap()];
        let pages = Pages::Some { sites, loopback: true };
        let from = |origin| check(&pages, &[("host", "localhost:4481"), ("origin", origin)]);
        for good in [
            "https://client.meshtastic.org",
            "http://localhost:3000",
            "http://127.0.0.1:8000",
            "http://[::1]",
        ] {
            assert_eq!(from(good), (true, Some(good.to_owned())), "{good}");
        }
        for bad in [
            "https://evil.example",
            "http://client.meshtastic.org",
            "https://client.meshtastic.org.evil.example",
            "http://localhost.evil.example",
            "null",
            "",
        ] {
            assert_eq!(from(bad), (false, None), "{bad}");
        }
        // No browser, or one that asks for the page that the reader typed.
        assert_eq!(check(&pages, &[("host", "127.0.0.1:4481")]), (true, None));
        let typed = [("host", "127.0.0.1:4481"), ("sec-fetch-site", "none")];
        assert_eq!(check(&pages, &typed), (true, None));
        // An image of another site's page: it says no Origin.
        let image = [("host", "127.0.0.1:4481"), ("sec-fetch-site", "cross-site")];
        assert_eq!(check(&pages, &image), (false, None));
        // A site whose name points at this machine.
        assert_eq!(check(&pages, &[("host", "evil.example:4481")]), (false, None));
    }

    #[test]
    fn in_a_network_it_has_addresses_and_local_names() {
        let pages = Pages::Some { sites: Vec::new(), loopback: false };
        for host in ["192.168.1.20:4481", "[fe80::1]:4481", "hut:4481", "hut.local", "localhost"] {
            assert_eq!(check(&pages, &[("host", host)]), (true, None), "{host}");
        }
        // An image of a page somewhere else, of which browsers say nothing here; and a program.
        let asked_by = |name| check(&pages, &[("host", "192.168.1.20:4481"), ("user-agent", name)]).0;
        assert!(!asked_by("Mozilla/5.0 (X11; Linux x86_64)") && asked_by("curl/8.5.0"));
        for host in ["evil.example:4481", "192.168.1.20.evil.example", ""] {
            assert_eq!(check(&pages, &[("host", host)]), (false, None), "{host}");
        }
    }

    #[test]
    fn pages_from_anywhere_may_use_a_simulated_one() {
        let headers = [("host", "anything.example"), ("origin", "https://any.example")];
        assert_eq!(check(&Pages::All, &headers), (true, Some("*".to_owned())));
    }

    #[test]
    fn sites_are_named_as_browsers_name_them() {
        for wrong in ["client.meshtastic.org", "ftp://x", "https://", "https://a/b", "https://a b", "*"] {
            assert!(
                wrong.parse::<Origin>().unwrap_err().contains("https://client.meshtastic.org"),
                "{wrong}"
            );
        }
    }
}
