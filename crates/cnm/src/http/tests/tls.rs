//! TLS against a server with certificates made for the occasion.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::server::{Server, Talk, reply};
use super::*;

/// An authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A certificate and its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn trust(&self) -> Trust {
        Trust::File(self.dir.path().join("ca.pem"))
    }

    fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A certificate for us, in files.
    fn identity(&self) -> Identity {
        let issued = self.issue("tenon");
        let path = |name: &str| self.dir.path().join(name);
        std::fs::write(path("cert.pem"), issued.certificate).unwrap();
        std::fs::write(path("key.pem"), issued.key).unwrap();
        Identity {
            certificate: path("cert.pem"),
            key: path("key.pem"),
        }
    }
}

fn answer(talk: &mut Talk) {
    if talk.hear().is_some() {
        talk.say(reply("200 OK", "{}"));
    }
}

/// A server with a certificate for `name`, that lets in whom `clients` vouches for.
fn server(authority: &Authority, name: &str, clients: Option<&Authority>) -> Server {
    serve(&authority.issue(name), clients)
}

fn serve(issued: &Issued, clients: Option<&Authority>) -> Server {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    Server::tls(config, answer)
}

/// What comes of talking to it with that configuration.
fn talk(server: &Server, trust: Trust, identity: Option<Identity>) -> Result<Reply, HttpError> {
    let Address::Tls(host, _) = &server.address else {
        panic!("a TLS server has a TLS address");
    };
    let address = Address::Tls(host.clone(), TlsConfig { trust, identity });
    Client::new(address)?.send(&request(b"{}"), &Patience::none(), within(LONG))
}

fn refusal(outcome: Result<Reply, HttpError>) -> String {
    match outcome.unwrap_err() {
        HttpError::NoConnection(text) | HttpError::Unreachable(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_the_authority_vouches_for_is_believed() {
    let authority = Authority::new("ours");
    let server = server(&authority, "127.0.0.1", None);
    let outcome = talk(&server, authority.trust(), None);
    assert_eq!(body(outcome), (200, "{}".to_owned()));
}

#[test]
fn a_server_of_another_authority_or_name_is_not() {
    let (authority, other) = (Authority::new("ours"), Authority::new("other"));
    let of_other = server(&other, "127.0.0.1", None);
    let text = refusal(talk(&of_other, authority.trust(), None));
    assert!(
        text.contains("certificate") && text.contains("UnknownIssuer"),
        "{text}"
    );
    let elsewhere = server(&authority, "192.0.2.1", None);
    let text = refusal(talk(&elsewhere, authority.trust(), None));
    assert!(text.contains("not valid for name"), "{text}");
    for server in [of_other, elsewhere] {
        assert!(server.requests().is_empty());
        assert_eq!(
            body(talk(&server, Trust::Anybody, None)),
            (200, "{}".to_owned())
        );
    }
}

#[test]
fn the_systems_authorities_do_not_vouch_for_ours() {
    let authority = Authority::new("ours");
    let server = server(&authority, "127.0.0.1", None);
    let text = talk(&server, Trust::System, None).unwrap_err().to_string();
    let expected = ["UnknownIssuer", "this system has no certificates"];
    assert!(expected.iter().any(|words| text.contains(words)), "{text}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_client_shows_its_certificate() {
    let (authority, other) = (Authority::new("ours"), Authority::new("other"));
    let server = server(&authority, "127.0.0.1", Some(&authority));
    let shown = talk(&server, authority.trust(), Some(authority.identity()));
    assert_eq!(body(shown), (200, "{}".to_owned()));
    let text = refusal(talk(&server, authority.trust(), None));
    assert!(text.contains("CertificateRequired"), "{text}");
    refusal(talk(&server, authority.trust(), Some(other.identity())));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn plain_http_is_no_tls() {
    let authority = Authority::new("ours");
    let plain = Server::tcp(|talk| {
        talk.say("HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let Address::Tcp(host) = &plain.address else {
        panic!("a TCP server has a TCP address");
    };
    let config = TlsConfig {
        trust: authority.trust(),
        identity: None,
    };
    let client = Client::new(Address::Tls(host.clone(), config)).unwrap();
    refusal(client.send(&request(b"{}"), &Patience::none(), within(LONG)));
}

#[test]
fn a_tls_server_that_hangs_costs_the_deadline() {
    let silent = Server::tcp(Talk::hang);
    let Address::Tcp(host) = &silent.address else {
        panic!("a TCP server has a TCP address");
    };
    let client = Client::new(Address::Tls(host.clone(), TlsConfig::unverified())).unwrap();
    let outcome = client.send(&request(b"{}"), &Patience::none(), within(SHORT));
    assert_eq!(outcome.unwrap_err(), HttpError::Timeout);
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new("ours");
    let identity = authority.identity();
    let write = |name: &str, text: &str| {
        let path = authority.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let empty = write("empty.pem", "");
    let broken = write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let client = |trust: Trust, identity: Option<Identity>| {
        let host = HostPort {
            host: "127.0.0.1".to_owned(),
            port: 1,
        };
        let made = Client::new(Address::Tls(host, TlsConfig { trust, identity }));
        made.map(drop).unwrap_err().to_string()
    };
    let missing = Path::new("/nonexistent/ca.pem").to_owned();
    for path in [&missing, &empty, &broken] {
        let text = client(Trust::File(path.clone()), None);
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
    let keyless = Identity {
        key: empty.clone(),
        ..identity
    };
    let text = client(authority.trust(), Some(keyless));
    assert!(
        text.contains("cannot use key") && text.contains("empty.pem"),
        "{text}"
    );
}

/// A server whose certificate is its own authority's, as `openssl req -x509` makes them.
fn self_signed(name: &str, expired: bool) -> (Server, tempfile::TempDir, Trust) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if expired {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let issued = Issued {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.pem");
    std::fs::write(&path, &issued.certificate).unwrap();
    (serve(&issued, None), dir, Trust::File(path))
}

#[test]
fn a_certificate_that_vouches_for_itself_is_believed_if_it_is_listed() {
    let (server, _dir, trust) = self_signed("127.0.0.1", false);
    assert_eq!(body(talk(&server, trust, None)), (200, "{}".to_owned()));
    // Another one of the same kind is not.
    let (_other, _dir, trust) = self_signed("127.0.0.1", false);
    let text = refusal(talk(&server, trust, None));
    assert!(text.contains("CaUsedAsEndEntity"), "{text}");
    let (server, _dir, trust) = self_signed("192.0.2.1", false);
    let text = refusal(talk(&server, trust, None));
    assert!(text.contains("not valid for name"), "{text}");
    let (server, _dir, trust) = self_signed("127.0.0.1", true);
    let text = refusal(talk(&server, trust, None));
    assert!(text.contains("expired"), "{text}");
}
