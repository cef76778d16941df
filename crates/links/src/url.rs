//! One URL-like word names a link.

use std::{fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

/// TCP port of a radio's client API, and UDP port of the LAN multicast.
pub const PORT: u16 = 4403;
/// Multicast group on which firmware and programs exchange whole packets.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 69);
/// Baud rate of stock firmware.
pub const BAUD: u32 = 115_200;
/// Ports of MQTT without and with TLS.
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;
/// Topic root of stock firmware, before the region.
const MQTT_ROOT: &str = "msh";

/// A password. Neither `Debug` nor `Display` of anything shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a word.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word, for the one who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a link goes. `Display` gives the word back, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkUrl {
    /// `serial:/dev/ttyUSB0[?baud=115200]`: a stock radio on a serial port.
    Serial {
        /// Device file.
        path: PathBuf,
        /// Bits per second.
        baud: u32,
    },
    /// `tcp:HOST[:4403]`: a stock radio, or a program that behaves like one.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `ble:NAME`: a stock radio over Bluetooth.
    Ble {
        /// Name or address, as the radio advertises it.
        name: String,
    },
    /// `udp:[GROUP:PORT][?interface=NAME]`: the multicast of the local network.
    Udp {
        /// Multicast group.
        group: Ipv4Addr,
        /// Port.
        port: u16,
        /// Name or IPv4 address of the network interface; the one of the default route where missing.
        interface: Option<String>,
    },
    /// `mqtt://[USER[:PASSWORD]@]HOST[:1883][/ROOT]`: a broker; `mqtts://`, port 8883: over TLS.
    Mqtt {
        /// Over TLS.
        tls: bool,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// User.
        user: Option<String>,
        /// Password.
        password: Option<Secret>,
        /// Topics begin with it; `msh` where missing.
        root: String,
    },
    /// `sim:SCENARIO.toml[#NODE]`: a simulated radio in this process.
    Sim {
        /// Scenario file; empty for the host's default.
        scenario: PathBuf,
        /// Index of the node; the first where missing.
        node: Option<u32>,
    },
}

/// Why a word is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is no link: {reason}")]
pub struct BadUrl {
    shown: String,
    reason: String,
}

/// The forms, for messages and help.
pub const FORMS: &str = "serial:/dev/ttyUSB0[?baud=115200], tcp:HOST[:4403], ble:NAME, udp:[GROUP:PORT][?interface=NAME], \
                         mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/ROOT] or sim:SCENARIO.toml[#NODE]";

impl LinkUrl {
    /// True for links to a radio that we speak to by its client API; the others carry whole packets.
    pub fn is_radio(&self) -> bool {
        matches!(self, Self::Serial { .. } | Self::Tcp { .. } | Self::Ble { .. } | Self::Sim { .. })
    }
}

/// Hides what stands between a scheme and `@`, for messages about words that do not parse.
fn without_password(word: &str) -> String {
    match (word.find("://"), word.rfind('@')) {
        (Some(start), Some(at)) if start + 3 < at => {
            let user = word[start + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}{}", &word[..start + 3], &word[at..])
        }
        _ => word.to_owned(),
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`. A bare IPv6 address is taken whole.
fn host_and_port(rest: &str, default: u16) -> Result<(String, u16), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is no port; give a number from 1 to 65535")),
    };
    let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
        let (host, after) = inner
            .split_once(']')
            .ok_or("the bracket of the IPv6 address is not closed; write [ADDRESS]:PORT")?;
        match after {
            "" => (host, default),
            _ => (host, port(after.strip_prefix(':').ok_or("after `]` comes `:PORT`")?)?),
        }
    } else {
        match rest.split_once(':') {
            Some((host, after)) if !after.contains(':') => (host, port(after)?),
            _ => (rest, default),
        }
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() {
        return Err("the host is missing; give its name or address".into());
    }
    match host.chars().find(|c| !valid(*c)) {
        Some(bad) => Err(format!("`{bad}` cannot stand in a host; give its name or address")),
        None => Ok((host.to_owned(), port)),
    }
}

/// `key=value` after `?`; only `key` is known.
fn query<'a>(rest: &'a str, key: &str) -> Result<(&'a str, Option<&'a str>), String> {
    let Some((before, query)) = rest.split_once('?') else { return Ok((rest, None)) };
    match query.split_once('=') {
        Some((found, value)) if found == key && !value.is_empty() => Ok((before, Some(value))),
        _ => Err(format!("`?{query}` is not known here; only `?{key}=...` is")),
    }
}

/// Undoes `%XX`.
fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = rest.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = code.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.ok_or("`%` is followed by two hexadecimal digits; write %25 for the sign itself")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "what `%` spells is not UTF-8".into())
}

/// `%XX` for what would end a user's name in a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn serial(rest: &str) -> Result<LinkUrl, String> {
    let (path, baud) = query(rest, "baud")?;
    if !path.starts_with('/') {
        return Err("give the port's file, such as serial:/dev/ttyUSB0".into());
    }
    let baud = match baud {
        None => BAUD,
        Some(text) => match text.parse() {
            Ok(baud @ 300..=4_000_000) => baud,
            _ => return Err(format!("`{text}` is no baud rate; stock firmware has 115200")),
        },
    };
    Ok(LinkUrl::Serial { path: path.into(), baud })
}

fn udp(rest: &str) -> Result<LinkUrl, String> {
    let (address, interface) = query(rest, "interface")?;
    let (group, port) = match address {
        "" => (GROUP, PORT),
        _ => group_of(host_and_port(address, PORT)?)?,
    };
    if let Some(bad) = interface.filter(|name| name.len() > 15 || name.contains(['/', ' '])) {
        return Err(format!("`{bad}` is no interface; `ip link` lists them"));
    }
    Ok(LinkUrl::Udp { group, port, interface: interface.map(str::to_owned) })
}

fn group_of((host, port): (String, u16)) -> Result<(Ipv4Addr, u16), String> {
    match host.parse::<Ipv4Addr>() {
        Ok(group) if group.is_multicast() => Ok((group, port)),
        _ => Err(format!("`{host}` is no IPv4 multicast group; Meshtastic's is {GROUP}")),
    }
}

fn mqtt(rest: &str, tls: bool) -> Result<LinkUrl, String> {
    let (authority, root) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials), address),
        None => (None, authority),
    };
    let (host, port) = host_and_port(address, if tls { MQTTS_PORT } else { MQTT_PORT })?;
    let (user, password) =
        match credentials.map(|text| text.split_once(':').map_or((text, None), |(u, p)| (u, Some(p)))) {
            None => (None, None),
            Some((user, password)) => {
                (Some(percent_decoded(user)?), password.map(percent_decoded).transpose()?.map(Secret::new))
            }
        };
    let root = percent_decoded(root.trim_matches('/'))?;
    if root.contains(['#', '+', '\0']) || root.len() > 60 {
        return Err(
            "the topic root is at most 60 bytes long, without `#` and `+`; stock firmware has msh/REGION"
                .into(),
        );
    }
    let root = if root.is_empty() { MQTT_ROOT.to_owned() } else { root };
    Ok(LinkUrl::Mqtt { tls, host, port, user, password, root })
}

fn sim(rest: &str) -> Result<LinkUrl, String> {
    let (scenario, node) = match rest.rsplit_once('#') {
        None => (rest, None),
        Some((scenario, node)) => match node.parse() {
            Ok(node) => (scenario, Some(node)),
            Err(_) => return Err(format!("`{node}` is no index of a node; the first has 0")),
        },
    };
    Ok(LinkUrl::Sim { scenario: scenario.into(), node })
}

impl FromStr for LinkUrl {
    type Err = BadUrl;

    fn from_str(word: &str) -> Result<Self, BadUrl> {
        let bad = |reason: String| BadUrl { shown: without_password(word), reason };
        if word.len() > 512 || word.chars().any(char::is_control) {
            return Err(bad("it is longer than 512 bytes or has control characters".into()));
        }
        let Some((scheme, rest)) = word.split_once(':') else {
            let hint = match word {
                _ if word.starts_with("/dev/") => format!("did you mean serial:{word}? "),
                _ if word.parse::<std::net::IpAddr>().is_ok() => format!("did you mean tcp:{word}? "),
                _ => String::new(),
            };
            return Err(bad(format!("{hint}The forms are {FORMS}")));
        };
        let bare = rest.strip_prefix("//").unwrap_or(rest);
        match scheme.to_ascii_lowercase().as_str() {
            "serial" => serial(rest),
            "tcp" => {
                host_and_port(bare.trim_end_matches('/'), PORT).map(|(host, port)| Self::Tcp { host, port })
            }
            "ble" if bare.is_empty() => {
                Err("the radio's name is missing; it is shown in its Bluetooth settings".into())
            }
            "ble" => Ok(Self::Ble { name: bare.to_owned() }),
            "udp" => udp(bare),
            "mqtt" => mqtt(bare, false),
            "mqtts" => mqtt(bare, true),
            "sim" => sim(rest),
            _ => Err(format!("`{scheme}:` is not known; the forms are {FORMS}")),
        }
        .map_err(bad)
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Serial { path, baud: BAUD } => write!(f, "serial:{}", path.display()),
            Self::Serial { path, baud } => write!(f, "serial:{}?baud={baud}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", bracketed(host)),
            Self::Ble { name } => write!(f, "ble:{name}"),
            Self::Udp { group, port, interface } => {
                write!(f, "udp:{group}:{port}")?;
                interface.as_ref().map_or(Ok(()), |name| write!(f, "?interface={name}"))
            }
            Self::Mqtt { tls, host, port, user, root, .. } => {
                let scheme = if *tls { "mqtts" } else { "mqtt" };
                let user =
                    user.as_ref().map(|user| format!("{}@", percent_encoded(user))).unwrap_or_default();
                write!(f, "{scheme}://{user}{}:{port}/{root}", bracketed(host))
            }
            Self::Sim { scenario, node } => {
                write!(f, "sim:{}", scenario.display())?;
                node.map_or(Ok(()), |node| write!(f, "#{node}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(word: &str) -> LinkUrl {
        word.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(word: &str) -> String {
        word.parse::<LinkUrl>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_parses_and_comes_back() {
        for (word, shown) in [
            ("serial:/dev/ttyUSB0", "serial:/dev/ttyUSB0"),
            ("serial:/dev/ttyACM1?baud=921600", "serial:/dev/ttyACM1?baud=921600"),
            ("tcp:meshtastic.local", "tcp:meshtastic.local:4403"),
            ("tcp://10.0.0.2:4404", "tcp:10.0.0.2:4404"),
            ("tcp:[::1]:4405", "tcp:[::1]:4405"),
            ("tcp:fe80::1", "tcp:[fe80::1]:4403"),
            ("ble:Meshtastic_1a2b", "ble:Meshtastic_1a2b"),
            ("ble:AA:BB:CC:DD:EE:FF", "ble:AA:BB:CC:DD:EE:FF"),
            ("udp:", "udp:224.0.0.69:4403"),
            ("udp:?interface=eth0", "udp:224.0.0.69:4403?interface=eth0"),
            ("udp:239.1.2.3:5000?interface=lo", "udp:239.1.2.3:5000?interface=lo"),
            ("mqtt://broker", "mqtt://broker:1883/msh"),
            ("mqtt://me@broker:2883/msh/EU_868", "mqtt://me@broker:2883/msh/EU_868"),
            ("mqtts://me@broker", "mqtts://me@broker:8883/msh"),
            ("MQTTS://broker:1883/msh", "mqtts://broker:1883/msh"),
            ("sim:scenarios/valley.toml", "sim:scenarios/valley.toml"),
            ("sim:scenarios/valley.toml#3", "sim:scenarios/valley.toml#3"),
        ] {
            let url = parsed(word);
            assert_eq!(url.to_string(), shown, "{word}");
            assert_eq!(parsed(shown), url, "{word} comes back");
        }
    }

    #[test]
    fn passwords_are_read_and_never_shown() {
        let url = parsed("mqtt://me%40home:hush%3Ahush@broker/msh");
        let LinkUrl::Mqtt { user, password, .. } = &url else { panic!("{url:?}") };
        assert_eq!(user.as_deref(), Some("me@home"));
        assert_eq!(password.as_ref().map(Secret::reveal), Some("hush:hush"));
        assert_eq!(url.to_string(), "mqtt://me%40home@broker:1883/msh");
        assert!(!format!("{url:?}").contains("hush"));
        for word in ["mqtts://me:hush@broker:0", "mqtt://me:hush@bro ker", "http://me:hush@host/"] {
            assert!(!refused(word).contains("hush"), "{word}");
        }
    }

    #[test]
    fn bad_words_are_refused_with_the_next_step() {
        for (word, next) in [
            ("/dev/ttyUSB0", "did you mean serial:/dev/ttyUSB0"),
            ("192.168.1.9", "did you mean tcp:192.168.1.9"),
            ("serial:ttyUSB0", "serial:/dev/ttyUSB0"),
            ("serial:/dev/ttyUSB0?baud=fast", "115200"),
            ("serial:/dev/ttyUSB0?speed=1", "?baud="),
            ("tcp:", "host is missing"),
            ("tcp:host:0", "1 to 65535"),
            ("tcp:host:70000", "1 to 65535"),
            ("tcp:[::1", "[ADDRESS]:PORT"),
            ("tcp:a b", "name or address"),
            ("ble:", "Bluetooth settings"),
            ("udp:10.0.0.1", "224.0.0.69"),
            ("mqtt://", "host is missing"),
            ("mqtt://h/a+b", "without"),
            ("mqtt://%zz@h", "hexadecimal"),
            ("mqtts://", "host is missing"),
            ("sim:x#y", "the first has 0"),
            ("gopher:x", "forms are"),
            ("", "forms are"),
        ] {
            let message = refused(word);
            assert!(message.contains(next), "{word}: {message}");
        }
    }
}
