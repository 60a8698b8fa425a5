//! `CNI_ARGS`: `KEY=value;KEY2=value2`.

/// Why `CNI_ARGS` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A part is not exactly one `key=value`.
    #[error("CNI_ARGS: invalid pair {0:?}")]
    InvalidPair(String),
    /// Keys that the plugin does not know, and `IgnoreUnknown` is not set.
    #[error("CNI_ARGS: unknown args {0:?}")]
    UnknownKeys(Vec<String>),
    /// `IgnoreUnknown` is neither `1`, `true`, `0` nor `false`.
    #[error("CNI_ARGS: IgnoreUnknown: boolean unmarshal error: invalid input {0}")]
    InvalidBool(String),
}

/// Parsed `CNI_ARGS` of a plugin that knows certain keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> CniArgs<'a> {
    /// Parses `text` as Go's `types.LoadArgs` does for a struct that has the fields `known` and
    /// `IgnoreUnknown`. Keys are case-sensitive.
    ///
    /// # Errors
    /// A malformed pair, or unknown keys that were not to be ignored.
    pub fn parse(text: &'a str, known: &[&str]) -> Result<Self, ArgsError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let pairs = text
            .split(';')
            .map(split_pair)
            .collect::<Result<Vec<_>, _>>()?;
        let mut ignore_unknown = false;
        for (_, value) in pairs.iter().filter(|(key, _)| *key == "IgnoreUnknown") {
            ignore_unknown = parse_bool(value)?;
        }
        let is_known = |key: &str| key == "IgnoreUnknown" || known.contains(&key);
        let (known_pairs, unknown): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(key, _)| is_known(key));
        if !unknown.is_empty() && !ignore_unknown {
            let keys = unknown
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"));
            return Err(ArgsError::UnknownKeys(keys.collect()));
        }
        Ok(Self(known_pairs))
    }

    /// The value of `key`; of several the last; an empty value is none.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let last = self.0.iter().rev().find(|(name, _)| *name == key);
        last.map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }
}

fn split_pair(part: &str) -> Result<(&str, &str), ArgsError> {
    match part.split_once('=') {
        Some((key, value)) if !value.contains('=') => Ok((key, value)),
        _ => Err(ArgsError::InvalidPair(part.to_owned())),
    }
}

fn parse_bool(text: &str) -> Result<bool, ArgsError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ArgsError::InvalidBool(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_found() {
        let args = CniArgs::parse("IP=10.0.0.5;MAC=02:00:00:00:00:01", &["IP", "MAC"]).unwrap();
        assert_eq!(args.get("IP"), Some("10.0.0.5"));
        assert_eq!(args.get("MAC"), Some("02:00:00:00:00:01"));
        assert_eq!(args.get("GATEWAY"), None);
        assert_eq!(CniArgs::parse("", &[]).unwrap(), CniArgs::default());
        assert_eq!(CniArgs::parse("IP=", &["IP"]).unwrap().get("IP"), None);
    }

    #[test]
    fn what_kubernetes_sends_is_ignored_only_when_asked() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;IP=10.0.0.5";
        assert_eq!(
            CniArgs::parse(text, &["IP"]).unwrap().get("IP"),
            Some("10.0.0.5")
        );
        let error = CniArgs::parse("K8S_POD_NAME=pod;ip=x", &["IP"]).unwrap_err();
        assert_eq!(
            error,
            ArgsError::UnknownKeys(vec!["K8S_POD_NAME=pod".into(), "ip=x".into()])
        );
        assert!(CniArgs::parse("IgnoreUnknown=FALSE;X=1", &[]).is_err());
        assert!(CniArgs::parse("IgnoreUnknown=True;X=1", &[]).is_ok());
        assert_eq!(
            CniArgs::parse("IgnoreUnknown=yes", &[]),
            Err(ArgsError::InvalidBool("yes".into()))
        );
    }

    #[test]
    fn malformed_pairs_are_refused() {
        for text in ["IP", "IP=1;", ";IP=1", "IP=a=b", "="] {
            let result = CniArgs::parse(text, &["IP"]);
            assert!(result.is_err(), "{text:?} gave {result:?}");
        }
    }
}
