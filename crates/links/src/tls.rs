//! TLS to a broker: whose certificates are believed, and what a handshake that failed means for a person.
//!
//! TLS is rustls with ring's ciphers: the same build that the daemon's HTTP client brings anyhow, in Rust, and what the MQTT client has a
//! door for. The roots are the system's, since a broker's operator puts a private authority there for all programs at once.

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use rumqttc::{ConnectionError, StateError, TlsError};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{Fault, FaultKind};

/// Authorities out of a PEM file.
fn of_file(path: &Path) -> Result<RootCertStore, Fault> {
    let shown = path.display();
    let bad = |what: String| {
        let mend = "name a PEM file with the certificate (BEGIN CERTIFICATE) of the authority that signed the broker's";
        Fault::new(FaultKind::Missing, what, mend)
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(format!("{shown} cannot be read as certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(bad(format!("there is no certificate in {shown}")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| bad(format!("a certificate in {shown} is damaged: {error}")))?;
    }
    Ok(roots)
}

/// The system's authorities. Single ones that cannot be read are left out, as other programs do.
fn of_system() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "some of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err(Fault::new(
            FaultKind::Unavailable,
            "this machine has no certificates of authorities, by which a broker could prove who it is",
            "install them (apt-get install ca-certificates), or name the broker's with --mqtt-ca FILE",
        ));
    }
    Ok(roots)
}

/// What our side of TLS is: trusts the authorities in `ca`, or the system's.
pub fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Fault> {
    let roots = ca.map_or_else(of_system, of_file)?;
    // Named here, since a program with two providers has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| {
        Fault::new(FaultKind::Other, format!("TLS cannot be used here: {error}"), "report this as a bug")
    })?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

/// What rustls says in an error of the MQTT client.
fn cause(error: &ConnectionError) -> Option<&rustls::Error> {
    fn inside(error: &io::Error) -> Option<&rustls::Error> {
        error.get_ref()?.downcast_ref()
    }
    match error {
        ConnectionError::Tls(TlsError::TLS(error)) => Some(error),
        ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::Io(error)
        | ConnectionError::MqttState(StateError::Io(error))
        // After the handshake, while the answer is read.
        | ConnectionError::MqttState(StateError::Deserialization(rumqttc::Error::Io(error))) => inside(error),
        _ => None,
    }
}

fn untrusted(what: String, mend: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Untrusted, what, mend)
}

fn certificate_fault(place: &str, error: &CertificateError) -> Fault {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => untrusted(
            format!("the certificate of {place} is signed by nobody who is trusted here"),
            "name the authority that signed it with --mqtt-ca FILE (PEM), or see whether somebody stands in between",
        ),
        CertificateError::NotValidForName => untrusted(
            format!("the certificate of {place} is for another name"),
            "give the broker's name as the certificate has it, in the mqtts:// URL",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => untrusted(
            format!("the certificate of {place} is for {}", presented.join(", ")),
            "give the broker's name as the certificate has it, in the mqtts:// URL",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => untrusted(
            format!("the certificate of {place} has expired"),
            "have it renewed, or set this machine's clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => untrusted(
            format!("the certificate of {place} is not valid yet"),
            "set this machine's clock: it may be behind",
        ),
        other if other.to_string().contains("CaUsedAsEndEntity") => untrusted(
            format!("the certificate of {place} is an authority's, not a broker's"),
            "let that authority sign one for the broker (basicConstraints CA:FALSE), and keep --mqtt-ca",
        ),
        other => untrusted(format!("the certificate of {place} is not good: {other}"), "see how it was made"),
    }
}

/// The fault in an error, where TLS has to do with it. `place` is host and port.
pub fn fault(place: &str, error: &ConnectionError) -> Option<Fault> {
    const PLAIN: &str = "8883 is usual for TLS; a port without it (1883) is mqtt://";
    match (cause(error), error) {
        (Some(rustls::Error::InvalidCertificate(error)), _) => Some(certificate_fault(place, error)),
        (Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)), _) => Some(untrusted(
            format!("{place} wants a certificate of its clients, and there is no support for that here"),
            "take a port of the broker where a user and a password do",
        )),
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            Some(Fault::new(FaultKind::NotMeshtastic, format!("{place} does not speak TLS"), PLAIN))
        }
        (Some(error), _) => Some(Fault::new(
            FaultKind::Other,
            format!("{place} and we find no way to speak TLS: {error}"),
            "see the broker's log; it has to offer TLS 1.2 or 1.3",
        )),
        (None, ConnectionError::Tls(TlsError::Io(error)))
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            let what = format!("{place} closed the connection at the begin of TLS: it may not speak it");
            Some(Fault::new(FaultKind::NotMeshtastic, what, PLAIN))
        }
        (None, ConnectionError::Tls(error)) => Some(untrusted(
            format!("{place} cannot be asked for a certificate: {error}"),
            "give the broker's name as its certificate has it, in the mqtts:// URL",
        )),
        (None, _) => None,
    }
}
