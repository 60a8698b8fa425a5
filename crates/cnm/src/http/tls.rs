//! TLS, with rustls and ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::HostPort;
use super::error::HttpError;
use super::verify::{Gullible, Listed};

/// Where distributions keep the certificates of public authorities, as Go looks for them.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to believe, and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whose word counts for the server's certificate.
    pub trust: Trust,
    /// What we show when the server asks who we are.
    pub identity: Option<Identity>,
}

/// Whose word counts for a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Any certificate will do.
    Anybody,
    /// The authorities in this PEM file.
    File(PathBuf),
    /// The authorities that the system knows.
    System,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Any certificate will do, and we show none.
    #[must_use]
    pub const fn unverified() -> Self {
        Self {
            trust: Trust::Anybody,
            identity: None,
        }
    }

    /// The system's authorities count, and we show no certificate.
    #[must_use]
    pub const fn system() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
        }
    }
}

/// Reads the files that a configuration names.
pub(super) fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, HttpError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &config.trust {
        Trust::Anybody => Arc::new(Gullible(Arc::clone(&provider))),
        Trust::File(path) => Arc::new(listed(certificates(path)?, &provider, path)?),
        Trust::System => {
            let path = system_bundle()?;
            Arc::new(listed(certificates(path)?, &provider, path)?)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Address(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &config.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(
                certificates(&identity.certificate)?,
                PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|error| unusable("key", &identity.key, &error))?,
            )
            .map_err(|error| unusable("certificate", &identity.certificate, &error))?,
    };
    Ok(Arc::new(config))
}

/// The name that the server's certificate has to bear.
pub(super) fn server_name(server: &HostPort) -> Result<ServerName<'static>, HttpError> {
    ServerName::try_from(server.host.clone())
        .map_err(|error| HttpError::Address(format!("host {:?}: {error}", server.host)))
}

fn listed(
    certificates: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
    path: &Path,
) -> Result<Listed, HttpError> {
    let mut store = RootCertStore::empty();
    // A bundle of hundreds may hold some that rustls does not take; the others count.
    let (taken, _others) = store.add_parsable_certificates(certificates.iter().cloned());
    if taken == 0 {
        return Err(unusable("CA certificate", path, &"none in it can be read"));
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
            .build()
            .map_err(|error| unusable("CA certificate", path, &error))?;
    Ok(Listed::new(verifier, certificates))
}

fn system_bundle() -> Result<&'static Path, HttpError> {
    let mut paths = SYSTEM_BUNDLES.iter().map(Path::new);
    paths.find(|path| path.exists()).ok_or_else(|| {
        HttpError::Address(
            "this system has no certificates of authorities: name a CAFile".to_owned(),
        )
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable("certificate", path, &error))?;
    if certificates.is_empty() {
        return Err(unusable("certificate", path, &"there is none in it"));
    }
    Ok(certificates)
}

fn unusable(what: &str, path: &Path, error: &dyn std::fmt::Display) -> HttpError {
    HttpError::Address(format!("cannot use {what} {}: {error}", path.display()))
}
