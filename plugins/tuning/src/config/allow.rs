//! The sysctls that the operator of the host allows: `/etc/cni/tuning/allowlist.conf`.
//!
//! One regular expression on each line, which matches anywhere in the key as it is written in the
//! config: with `IFNAME` in it, and with the separators it is written with. Without the file
//! everything is allowed; with an empty one, nothing.
//!
//! The reference's expressions are Go's. `regex-lite` reads the same syntax but for `\Q...\E` and
//! Unicode classes (`\pL`), and gives `\d`, `\w` and `\b` the same ASCII meaning. What it cannot
//! read is an error, never a line that is left out.

use std::io;
use std::path::{Path, PathBuf};

use cni_types::{ErrorCode, ToCniError};
use regex_lite::Regex;

use super::SysctlConf;

/// Where the reference has it.
const ALLOW_LIST: &str = "/etc/cni/tuning/allowlist.conf";

/// What is allowed.
#[derive(Debug)]
pub(crate) struct AllowList(Vec<Regex>);

/// Why a sysctl cannot be allowed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AllowError {
    #[error("Sysctl {key} is not allowed. Only the following sysctls are allowed: [{allowed}]")]
    NotAllowed { key: String, allowed: String },
    #[error("failed to read the allow list {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}:{line}: {pattern:?} is no regular expression", path.display())]
    Pattern {
        path: PathBuf,
        /// From 1 on.
        line: usize,
        pattern: String,
        #[source]
        source: regex_lite::Error,
    },
}

impl ToCniError for AllowError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Read { .. } => ErrorCode::IO,
            Self::NotAllowed { .. } | Self::Pattern { .. } => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NotAllowed { .. } => {
                Some("the operator of the host keeps the list in /etc/cni/tuning/allowlist.conf")
            }
            _ => None,
        }
    }
}

impl AllowList {
    /// Refuses sysctls that the list of this host does not allow.
    pub(crate) fn for_all(sysctls: &[SysctlConf]) -> Result<(), AllowError> {
        if sysctls.is_empty() {
            return Ok(());
        }
        match Self::load(Path::new(ALLOW_LIST))? {
            Some(list) => sysctls
                .iter()
                .try_for_each(|sysctl| list.check(&sysctl.key)),
            None => Ok(()),
        }
    }

    /// Reads the list; `None` if there is no file.
    fn load(path: &Path) -> Result<Option<Self>, AllowError> {
        match std::fs::read(path) {
            Ok(text) => Self::parse(path, &String::from_utf8_lossy(&text)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AllowError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, AllowError> {
        let lines = text.lines().map(str::trim).zip(1..);
        // No key has a `#` in front: what begins with one could not match and is for people.
        let patterns = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let regex = |(pattern, line): (&str, usize)| {
            Regex::new(pattern).map_err(|source| AllowError::Pattern {
                path: path.to_owned(),
                line,
                pattern: pattern.to_owned(),
                source,
            })
        };
        Ok(Self(patterns.map(regex).collect::<Result<_, _>>()?))
    }

    /// Refuses a key that no line matches.
    fn check(&self, key: &str) -> Result<(), AllowError> {
        if self.0.iter().any(|pattern| pattern.is_match(key)) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.0.iter().map(Regex::as_str).collect();
        Err(AllowError::NotAllowed {
            key: key.to_owned(),
            allowed: allowed.join(" "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<AllowList, AllowError> {
        AllowList::parse(Path::new("/list"), text)
    }

    #[test]
    fn a_line_matches_anywhere_in_the_key_as_it_is_written() {
        let list =
            list("\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ \r\n# people's (\nsomaxconn\n\n");
        let list = list.unwrap();
        for key in [
            "net.ipv4.conf.IFNAME.log_martians",
            "net/core/somaxconn",
            "net.xsomaxconny",
        ] {
            list.check(key).unwrap();
        }
        for key in [
            "net.ipv4.conf.eth0.log_martians",
            "net/ipv4/conf/IFNAME/log_martians",
            "net.ipv4.conf.IFNAME.log_martians2",
            "people's",
        ] {
            let error = list.check(key).unwrap_err();
            let words = format!(
                "Sysctl {key} is not allowed. Only the following sysctls are allowed: \
                 [^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ somaxconn]"
            );
            assert_eq!(error.to_string(), words);
        }
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        for text in ["", "\n\n", "# only for people\n"] {
            assert!(list(text).unwrap().check("net.core.somaxconn").is_err());
        }
    }

    #[test]
    fn a_broken_line_is_named_whatever_the_others_allow() {
        let error = list("net\n\n(open\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/list:3: \"(open\" is no regular expression"
        );
        let error = cni_types::CniError::from(error);
        assert!(error.details.contains("open group"), "{error}");
        for unknown in [r"\Qnet\E", r"\pL", "[a-", "a{2,1}"] {
            assert!(list(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn what_is_common_in_go_is_read() {
        for pattern in [
            r"^net\.(ipv4|ipv6)\.",
            "(?i)NET",
            "[[:alpha:]]+",
            r"\bnet\b",
            "(?P<name>net)",
            r"\x6eet",
            "net.{1,20}rp_filter",
            r"^[^/]*$",
        ] {
            let list = list(pattern).unwrap();
            list.check("net.ipv4.conf.all.rp_filter").unwrap();
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_not_one_that_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AllowList::load(&dir.path().join("none")).unwrap().is_none());
        let error = AllowList::load(dir.path()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::IO);
        let file = dir.path().join("list");
        std::fs::write(&file, b"net\xff\n^net\n").unwrap();
        AllowList::load(&file)
            .unwrap()
            .unwrap()
            .check("net.x")
            .unwrap();
    }
}
