//! Where a server listens.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::HttpError;
use super::tls::TlsConfig;

/// What fits into a unix socket's address, `sun_path` of unix(7), beside its zero byte.
const MAX_UNIX_PATH: usize = 107;

/// Where a server listens. Displays as its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket file.
    Unix(PathBuf),
    /// Plain HTTP.
    Tcp(HostPort),
    /// HTTP over TLS.
    Tls(HostPort, TlsConfig),
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// An IP address, without brackets, or a name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(server) => write!(f, "http://{server}"),
            Self::Tls(server, _) => write!(f, "https://{server}"),
        }
    }
}

impl Address {
    /// The server at a socket file.
    ///
    /// # Errors
    /// [`HttpError::Address`]: the path is not absolute, or longer than the kernel takes.
    pub fn unix(path: &Path) -> Result<Self, HttpError> {
        let wrong = |why: &str| HttpError::Address(format!("socket {}: {why}", path.display()));
        if !path.is_absolute() {
            return Err(wrong("the path must be absolute"));
        }
        if path.as_os_str().len() > MAX_UNIX_PATH {
            return Err(wrong("the path is longer than 107 bytes"));
        }
        Ok(Self::Unix(path.to_owned()))
    }

    /// Reads a URL: `unix:///path`, `tcp://host:port`, `http://host:port` or `https://host:port`.
    /// `tls` counts for the last one only; what follows the port counts for nothing, as in Docker.
    ///
    /// # Errors
    /// [`HttpError::Address`]: it is none of these.
    pub fn parse(url: &str, tls: &TlsConfig) -> Result<Self, HttpError> {
        let wrong = |why: &str| HttpError::Address(format!("address {url:?}: {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            wrong("Unknown protocol: it must begin with unix://, tcp://, http:// or https://")
        })?;
        match scheme.to_ascii_lowercase().as_str() {
            "unix" => Self::unix(Path::new(rest)),
            "tcp" | "http" => Ok(Self::Tcp(host_port(rest, 80).map_err(|why| wrong(&why))?)),
            "https" => {
                let server = host_port(rest, 443).map_err(|why| wrong(&why))?;
                Ok(Self::Tls(server, tls.clone()))
            }
            other => Err(wrong(&format!("Unknown protocol {other:?}"))),
        }
    }
}

fn host_port(rest: &str, default_port: u16) -> Result<HostPort, String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed
            .split_once(']')
            .ok_or("there is a [ without a ]")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() {
        return Err("there is no host".to_owned());
    }
    if host.contains('@') {
        return Err("it has a user name, which is not supported".to_owned());
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if !digits.starts_with('+') => digits
            .parse()
            .map_err(|_invalid| format!("{digits:?} is not a port"))?,
        _ => return Err(format!("{port:?} follows the host")),
    };
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(url, &TlsConfig::unverified()).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_name_servers() {
        let rows = [
            (
                "unix:///run/docker/plugins/weave.sock",
                "unix:///run/docker/plugins/weave.sock",
            ),
            ("tcp://0.0.0.0:5000", "http://0.0.0.0:5000"),
            (
                "TCP://localhost:5000/ignored?as=docker#does",
                "http://localhost:5000",
            ),
            ("http://plugins.example", "http://plugins.example:80"),
            ("https://plugins.example", "https://plugins.example:443"),
            ("https://[fe80::1]:8443", "https://[fe80::1]:8443"),
            ("http://[::1]", "http://[::1]:80"),
        ];
        for (url, expected) in rows {
            assert_eq!(parse(url).unwrap().to_string(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_a_reason() {
        let long = format!("unix:///{}", "x".repeat(107));
        let rows = [
            ("", "Unknown protocol"),
            ("127.0.0.1:5000", "Unknown protocol"),
            ("npipe:////./pipe/docker", "Unknown protocol \"npipe\""),
            ("unix://relative.sock", "must be absolute"),
            (&long, "longer than 107 bytes"),
            ("tcp://", "there is no host"),
            ("tcp://:5000", "there is no host"),
            ("tcp://me@host:5000", "user name"),
            ("tcp://host:port", "\"port\" is not a port"),
            ("tcp://host:70000", "\"70000\" is not a port"),
            ("tcp://host:+80", "follows the host"),
            ("tcp://[::1", "without a ]"),
            ("tcp://[::1]5000", "follows the host"),
        ];
        for (url, expected) in rows {
            let error = parse(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn the_longest_path_that_the_kernel_takes_is_taken() {
        assert!(parse(&format!("unix:///{}", "x".repeat(106))).is_ok());
    }
}
