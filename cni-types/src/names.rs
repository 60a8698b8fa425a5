//! The names an attachment is known by: network, container, interface.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no name.
    #[error("is empty")]
    Empty,
    /// Only letters, digits, `_`, `.` and `-` are allowed, and a letter or digit comes first.
    #[error("has invalid characters")]
    Characters,
    /// An interface name has at most 15 bytes (`IFNAMSIZ` with its terminating zero is 16).
    #[error("is too long: interface names have at most 15 bytes")]
    TooLong,
    /// `.` and `..` are directories of `/sys/class/net`.
    #[error("is . or ..")]
    Dots,
    /// What the kernel's `dev_valid_name` refuses.
    #[error("contains / or : or whitespace characters")]
    Separators,
    /// To the kernel and to files a name ends there: it would be another one.
    #[error("contains a zero byte")]
    Zero,
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`, the rule for container ids and network names.
fn check_identifier(text: &str) -> Result<(), NameError> {
    let mut bytes = text.bytes();
    match bytes.next() {
        None => Err(NameError::Empty),
        Some(first)
            if first.is_ascii_alphanumeric()
                && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) =>
        {
            Ok(())
        }
        Some(_) => Err(NameError::Characters),
    }
}

/// What the kernel's `dev_valid_name` accepts, which gets to see only what is before a zero byte.
fn check_ifname(text: &str) -> Result<(), NameError> {
    match text {
        "" => Err(NameError::Empty),
        _ if text.len() > 15 => Err(NameError::TooLong),
        "." | ".." => Err(NameError::Dots),
        _ if text.contains('\0') => Err(NameError::Zero),
        _ if text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            Err(NameError::Separators)
        }
        _ => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// `CNI_CONTAINERID`: names the container; safe as a file name.
    ContainerId, check_identifier
}
name! {
    /// The network's `name`; safe as a file name.
    NetworkName, check_identifier
}
name! {
    /// The name of a network interface; safe as a file name.
    IfName, check_ifname
}

/// One interface of one container on one network: what ADD makes and DEL removes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container_id: ContainerId,
    /// The interface inside the container.
    pub ifname: IfName,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_follow_the_specification() {
        for good in ["a", "0", "cni-0_x.y", "A1"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good:?}");
        }
        for bad in ["-a", ".a", "_a", "a/b", "a b", "é", "a\n"] {
            assert_eq!(
                bad.parse::<NetworkName>(),
                Err(NameError::Characters),
                "{bad:?}"
            );
        }
        assert_eq!("".parse::<ContainerId>(), Err(NameError::Empty));
    }

    #[test]
    fn interface_names_are_what_the_kernel_takes() {
        assert!("abcdefghijklmno".parse::<IfName>().is_ok());
        for (bad, why) in [
            ("", NameError::Empty),
            ("abcdefghijklmnop", NameError::TooLong),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("a/b", NameError::Separators),
            ("a:b", NameError::Separators),
            ("a b", NameError::Separators),
            ("a\tb", NameError::Separators),
            ("docker0\0x", NameError::Zero),
        ] {
            assert_eq!(bad.parse::<IfName>(), Err(why), "{bad:?}");
        }
    }
}
