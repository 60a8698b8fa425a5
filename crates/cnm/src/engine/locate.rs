//! Where Docker Engine listens.

use std::path::PathBuf;

use super::error::{EngineCause, EngineError, Operation};
use crate::http::{Address, HttpError, Identity, TlsConfig, Trust};

/// Where it listens unless somebody says otherwise.
const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Where Docker Engine listens: where a configuration says, as a path or a URL; else where
/// `DOCKER_HOST` says; else at `/var/run/docker.sock`.
///
/// As for Docker's own client, `DOCKER_TLS_VERIFY` makes `tcp://` TLS, with `ca.pem`, `cert.pem` and
/// `key.pem` in `DOCKER_CERT_PATH` or else `~/.docker`.
///
/// # Errors
/// The address makes no sense.
pub fn locate(
    configured: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Address, EngineError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let text = configured
        .map(str::to_owned)
        .or_else(|| set("DOCKER_HOST"))
        .unwrap_or_else(|| DEFAULT.to_owned());
    let certificates = || {
        set("DOCKER_CERT_PATH").map_or_else(
            || PathBuf::from(set("HOME").unwrap_or_default()).join(".docker"),
            PathBuf::from,
        )
    };
    let tls = set("DOCKER_TLS_VERIFY").map(|_on| certificates());
    parse(&text, tls).map_err(|error| EngineCause::Http(error).during(Operation::Locate, text))
}

fn parse(text: &str, certificates: Option<PathBuf>) -> Result<Address, HttpError> {
    if text.starts_with('/') {
        return Address::unix(text.as_ref());
    }
    let Some(directory) = certificates else {
        return Address::parse(text, &TlsConfig::system());
    };
    let tls = TlsConfig {
        trust: Trust::File(directory.join("ca.pem")),
        identity: Some(Identity {
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }),
    };
    Ok(match Address::parse(text, &tls)? {
        Address::Tcp(server) => Address::Tls(server, tls),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(configured: Option<&str>, variables: &[(&str, &str)]) -> Result<Address, String> {
        let variable = |name: &str| {
            let mut found = variables.iter().filter(|(variable, _)| *variable == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        locate(configured, variable).map_err(|error| format!("{error}: {}", error.cause))
    }

    #[test]
    fn a_configuration_comes_before_the_environment_and_that_before_the_default() {
        let host = ("DOCKER_HOST", "tcp://127.0.0.1:2375");
        let rows: [(_, &[_], _); 6] = [
            (None, &[], "unix:///var/run/docker.sock"),
            (None, &[("DOCKER_HOST", "")], "unix:///var/run/docker.sock"),
            (None, &[host], "http://127.0.0.1:2375"),
            (
                Some("/run/podman/podman.sock"),
                &[host],
                "unix:///run/podman/podman.sock",
            ),
            (Some("unix:///run/d.sock"), &[host], "unix:///run/d.sock"),
            (Some("https://h:2376"), &[], "https://h:2376"),
        ];
        for (configured, variables, expected) in rows {
            let address = found(configured, variables).unwrap();
            assert_eq!(address.to_string(), expected);
        }
    }

    #[test]
    fn tls_is_as_for_dockers_client() {
        let host = ("DOCKER_HOST", "tcp://127.0.0.1:2376");
        let verify = ("DOCKER_TLS_VERIFY", "1");
        let ca = |variables: &[(&str, &str)]| match found(None, variables).unwrap() {
            Address::Tls(
                _,
                TlsConfig {
                    trust: Trust::File(path),
                    identity,
                },
            ) => {
                assert_eq!(identity.unwrap().key, path.with_file_name("key.pem"));
                path.display().to_string()
            }
            other => panic!("{other}"),
        };
        assert_eq!(
            ca(&[host, verify, ("HOME", "/home/me")]),
            "/home/me/.docker/ca.pem"
        );
        assert_eq!(ca(&[host, verify, ("DOCKER_CERT_PATH", "/c")]), "/c/ca.pem");
        let unix = [("DOCKER_HOST", "unix:///run/d.sock"), verify];
        assert_eq!(
            found(None, &unix).unwrap().to_string(),
            "unix:///run/d.sock"
        );
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "docker.sock",
            "ssh://me@host",
            "unix://docker.sock",
            "fd://",
        ] {
            let error = found(Some(text), &[]).unwrap_err();
            assert!(
                error.starts_with(&format!("could not find Docker at {text}: ")),
                "{error}"
            );
        }
    }
}
