//! Versions of the API.

use std::fmt;

/// A version of the API, as in `/v1.41/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Before the point. It has always been 1.
    pub major: u16,
    /// Behind the point.
    pub minor: u16,
}

/// The newest that this program knows: the first in which an endpoint gets the hardware address that
/// it was connected with.
const OURS: ApiVersion = ApiVersion {
    major: 1,
    minor: 54,
};

/// What an Engine speaks that does not tell: it is older than Docker 1.13.
const UNTOLD: ApiVersion = ApiVersion {
    major: 1,
    minor: 24,
};

impl ApiVersion {
    /// What Engine 28.0 speaks: the first that lets an endpoint's interface be named, and endpoints
    /// be ranked as gateways.
    pub const ENGINE_28: Self = Self {
        major: 1,
        minor: 48,
    };

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version to speak with an Engine that tells its newest one. That it is too new for us to be
/// served at all it says when it is asked for something.
pub(super) fn negotiate(theirs: Option<&str>) -> Result<ApiVersion, String> {
    let Some(text) = theirs else {
        return Ok(UNTOLD);
    };
    ApiVersion::parse(text)
        .map(|theirs| theirs.min(OURS))
        .ok_or_else(|| format!("its API version is {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_decides() {
        let rows = [
            (Some("1.41"), Ok("1.41")),
            (Some("1.44"), Ok("1.44")),
            (Some("1.54"), Ok("1.54")),
            (Some("1.56"), Ok("1.54")),
            (Some("2.0"), Ok("1.54")),
            (Some("1.9"), Ok("1.9")),
            (None, Ok("1.24")),
            (Some("one"), Err("\"one\"")),
            (Some("1."), Err("\"1.\"")),
        ];
        for (theirs, expected) in rows {
            match (negotiate(theirs), expected) {
                (Ok(version), Ok(expected)) => assert_eq!(version.to_string(), expected),
                (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
                (other, _) => panic!("{theirs:?}: {other:?}"),
            }
        }
    }
}
