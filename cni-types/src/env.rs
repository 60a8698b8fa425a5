//! The `CNI_*` variables.
//!
//! The order of the checks, the codes and the words are those of the reference's `skel`, because
//! runtimes' logs and people's scripts match on them.

use std::fmt;

use crate::{CniError, ContainerId, ErrorCode, IfName, NameError};

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make the attachment.
    Add,
    /// Remove the attachment.
    Del,
    /// Tell whether the attachment is as ADD made it.
    Check,
    /// Remove all attachments but the listed ones.
    Gc,
    /// Tell whether ADD would work.
    Status,
    /// List the supported protocol versions.
    Version,
}

impl Command {
    /// As it stands in `CNI_COMMAND`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// From the text of `CNI_COMMAND`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Add,
            Self::Del,
            Self::Check,
            Self::Gc,
            Self::Status,
            Self::Version,
        ];
        all.into_iter().find(|command| command.as_str() == text)
    }

    /// Whether the command is about one attachment.
    #[must_use]
    pub const fn is_about_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the ways that are quick but not plain are taken: `TENON_FAST_PATHS`. Whichever way is taken,
/// the outcome is the same; the variable is for tests and for whoever looks for a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FastPaths {
    /// Where they pay.
    #[default]
    WherePaying,
    /// Also where they do not pay: `on`.
    Always,
    /// Nowhere: `off`.
    Never,
}

impl FastPaths {
    /// From the text of `TENON_FAST_PATHS`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "on" => Self::Always,
            "off" => Self::Never,
            _ => Self::WherePaying,
        }
    }
}

/// The variables as they were found, unchecked; what is not set is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub command: String,
    /// `CNI_CONTAINERID`
    pub container_id: String,
    /// `CNI_NETNS`
    pub netns: String,
    /// `CNI_IFNAME`
    pub ifname: String,
    /// `CNI_ARGS`
    pub args: String,
    /// `CNI_PATH`
    pub path: String,
    /// `CNI_NETNS_OVERRIDE`
    pub netns_override: String,
    /// `TENON_FAST_PATHS`
    pub fast_paths: FastPaths,
}

/// The names in the environment, checked as far as the command needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `CNI_CONTAINERID`
    pub container_id: ContainerId,
    /// `CNI_IFNAME`
    pub ifname: IfName,
}

impl Environment {
    /// Reads the variables through `get`, which is `std::env::var` but in tests.
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| get(name).unwrap_or_default();
        Self {
            command: value("CNI_COMMAND"),
            container_id: value("CNI_CONTAINERID"),
            netns: value("CNI_NETNS"),
            ifname: value("CNI_IFNAME"),
            args: value("CNI_ARGS"),
            path: value("CNI_PATH"),
            netns_override: value("CNI_NETNS_OVERRIDE"),
            fast_paths: FastPaths::parse(&value("TENON_FAST_PATHS")),
        }
    }

    /// Checks the variables that `CNI_COMMAND` requires, in the reference's order: an invalid one
    /// is reported at once, missing ones together. `None` is returned for the commands that are
    /// not about an attachment.
    ///
    /// # Errors
    /// Code 4; 3 never, since an empty container id counts as missing.
    pub fn check(&self) -> Result<Option<Names>, CniError> {
        let command = Command::parse(&self.command);
        let attachment = command.is_some_and(Command::is_about_attachment);
        let netns = matches!(command, Some(Command::Add | Command::Check));
        let path = command.is_some_and(|command| command != Command::Version);

        let mut missing = Vec::new();
        let mut require = |required: bool, name: &'static str, value: &str| {
            if required && value.is_empty() {
                missing.push(name);
            }
            required && !value.is_empty()
        };
        require(true, "CNI_COMMAND", &self.command);
        let container_id = require(attachment, "CNI_CONTAINERID", &self.container_id)
            .then(|| {
                self.container_id
                    .parse()
                    .map_err(|why| invalid_container_id(&self.container_id, &why))
            })
            .transpose()?;
        require(netns, "CNI_NETNS", &self.netns);
        let ifname = require(attachment, "CNI_IFNAME", &self.ifname)
            .then(|| {
                self.ifname
                    .parse()
                    .map_err(|why| invalid_ifname(&self.ifname, &why))
            })
            .transpose()?;
        require(path, "CNI_PATH", &self.path);

        if !missing.is_empty() {
            let msg = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(ErrorCode::INVALID_ENVIRONMENT, msg));
        }
        Ok(container_id
            .zip(ifname)
            .map(|(container_id, ifname)| Names {
                container_id,
                ifname,
            }))
    }

    /// The command.
    ///
    /// # Errors
    /// Code 4, when there is no such command.
    pub fn command(&self) -> Result<Command, CniError> {
        Command::parse(&self.command).ok_or_else(|| {
            let msg = format!("unknown CNI_COMMAND: {}", self.command);
            CniError::new(ErrorCode::INVALID_ENVIRONMENT, msg)
        })
    }

    /// Whether the operator has turned off the check that the namespace is not the plugin's own.
    #[must_use]
    pub fn overrides_netns_check(&self) -> bool {
        matches!(
            self.netns_override.to_ascii_lowercase().as_str(),
            "1" | "true"
        )
    }
}

fn invalid_container_id(value: &str, _why: &NameError) -> CniError {
    CniError::new(
        ErrorCode::INVALID_ENVIRONMENT,
        "invalid characters in containerID",
    )
    .with_details(format!(
        "CNI_CONTAINERID is {value:?}: letters, digits, '_', '.' and '-' are allowed"
    ))
}

fn invalid_ifname(value: &str, why: &NameError) -> CniError {
    CniError::new(
        ErrorCode::INVALID_ENVIRONMENT,
        format!("interface name {why}"),
    )
    .with_details(format!("CNI_IFNAME is {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn failure(pairs: &[(&str, &str)]) -> (u32, String) {
        let error = env(pairs).check().unwrap_err();
        (error.code.0, error.msg)
    }

    #[test]
    fn each_command_requires_its_variables() {
        for (command, missing) in [
            ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
            ("GC", "CNI_PATH"),
            ("STATUS", "CNI_PATH"),
        ] {
            let expected = (4, format!("required env variables [{missing}] missing"));
            assert_eq!(failure(&[("CNI_COMMAND", command)]), expected);
        }
        assert_eq!(
            failure(&[]).1,
            "required env variables [CNI_COMMAND] missing"
        );
        assert_eq!(env(&[("CNI_COMMAND", "VERSION")]).check(), Ok(None));
        assert_eq!(env(&[("CNI_COMMAND", "FROB")]).check(), Ok(None));
    }

    #[test]
    fn an_invalid_value_wins_over_later_missing_ones() {
        let bad_id = [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "../x")];
        assert_eq!(
            failure(&bad_id),
            (4, "invalid characters in containerID".into())
        );
        let bad_name = [
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "x"),
            ("CNI_IFNAME", "a/b"),
        ];
        assert_eq!(
            failure(&bad_name).1,
            "interface name contains / or : or whitespace characters"
        );
    }

    #[test]
    fn fast_paths_are_taken_where_they_pay_unless_told_otherwise() {
        for (value, expected) in [
            ("", FastPaths::WherePaying),
            ("yes", FastPaths::WherePaying),
            ("on", FastPaths::Always),
            ("off", FastPaths::Never),
        ] {
            assert_eq!(env(&[("TENON_FAST_PATHS", value)]).fast_paths, expected);
        }
    }

    #[test]
    fn what_is_not_required_is_not_checked() {
        let gc = [
            ("CNI_COMMAND", "GC"),
            ("CNI_PATH", "/x"),
            ("CNI_CONTAINERID", "../x"),
        ];
        assert_eq!(env(&gc).check(), Ok(None));
    }

    #[test]
    fn names_come_back_checked() {
        let del = env(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/x"),
        ]);
        let names = del.check().unwrap().unwrap();
        assert_eq!(
            (names.container_id.as_str(), names.ifname.as_str()),
            ("c1", "eth0")
        );
        assert_eq!(del.command().unwrap(), Command::Del);
        assert_eq!(
            env(&[("CNI_COMMAND", "add")]).command().unwrap_err().msg,
            "unknown CNI_COMMAND: add"
        );
    }
}
