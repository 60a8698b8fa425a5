//! The config's keys, and the only place where they are validated.

use cni_plugin::Request;
use cni_types::{CniError, ErrorCode, Json, JsonError, ToCniError};
use serde::Deserialize;

/// The keys as they are written, at the top level or in `runtimeConfig.bandwidth`: bits per second,
/// and bits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LimitsConf {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

const KEYS: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    runtime_config: RuntimeConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeConf {
    bandwidth: Option<LimitsConf>,
}

/// Which way packets go, seen from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What it receives.
    Ingress,
    /// What it sends.
    Egress,
}

impl Direction {
    /// The key that asks for a limit.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Ingress => "ingressRate",
            Self::Egress => "egressRate",
        }
    }
}

/// What a direction is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bytes per second; never 0.
    pub(crate) rate: u64,
    /// How many bytes may go at once, after a pause; never 0.
    pub(crate) burst: u32,
}

impl Limit {
    /// How long a burst takes at the rate, in microseconds; never 0.
    pub(crate) fn burst_micros(&self) -> u64 {
        // 32 bits and 20: no overflow.
        (u64::from(self.burst) * 1_000_000)
            .checked_div(self.rate)
            .unwrap_or(0)
    }
}

/// A valid config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BandwidthConfig {
    pub(crate) ingress: Option<Limit>,
    pub(crate) egress: Option<Limit>,
}

/// Why a config is refused. The key is told with its path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to parse network configuration: {0}")]
    Decode(JsonError),
    #[error("{key}Burst: if rate is set, burst must also be set ({key}Rate is {rate})")]
    NoBurst { key: String, rate: u64 },
    #[error("{key}Rate: if burst is set, rate must also be set ({key}Burst is {burst})")]
    NoRate { key: String, burst: u64 },
    #[error("{key}Burst: burst cannot be more than 4GB, and {burst} bits are")]
    LargeBurst { key: String, burst: u64 },
    #[error("{key}Rate: {rate} bits per second are less than a byte per second")]
    SmallRate { key: String, rate: u64 },
    #[error("{key}Burst: {burst} bits take less than a microsecond at {rate} bits per second")]
    ShortBurst { key: String, burst: u64, rate: u64 },
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::SmallRate { .. } => Some("rates are bits per second: 8000000 is a megabyte"),
            Self::ShortBurst { .. } => {
                Some("bursts are bits, and should be worth some packets: 1000000 is a good start")
            }
            _ => None,
        }
    }
}

impl BandwidthConfig {
    /// Reads and validates a config.
    pub(crate) fn load(request: &Request) -> Result<Self, CniError> {
        Ok(Self::parse(&request.config)?)
    }

    /// Any of the keys at the top level, whatever its value, and what the runtime wants does not
    /// count: the operator's word is the last. (`CONVENTIONS.md` has it the other way round for
    /// other capabilities; this is what the reference does.)
    fn parse(config: &Json) -> Result<Self, ConfigError> {
        let conf: Conf = config.decode().map_err(ConfigError::Decode)?;
        let at_top: LimitsConf = config.decode().map_err(ConfigError::Decode)?;
        if KEYS.iter().any(|key| config.get(key).is_some()) {
            return Self::validate(&at_top, "");
        }
        match conf.runtime_config.bandwidth {
            Some(limits) => Self::validate(&limits, "runtimeConfig.bandwidth."),
            None => Ok(Self::default()),
        }
    }

    fn validate(conf: &LimitsConf, path: &str) -> Result<Self, ConfigError> {
        let key = |name| format!("{path}{name}");
        Ok(Self {
            ingress: limit(conf.ingress_rate, conf.ingress_burst, || key("ingress"))?,
            egress: limit(conf.egress_rate, conf.egress_burst, || key("egress"))?,
        })
    }

    /// Whether nothing is limited.
    pub(crate) fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of bits and bits per second as one of bytes.
fn limit(
    rate: u64,
    burst: u64,
    key: impl FnOnce() -> String,
) -> Result<Option<Limit>, ConfigError> {
    if rate == 0 && burst == 0 {
        return Ok(None);
    }
    if burst == 0 {
        return Err(ConfigError::NoBurst { key: key(), rate });
    }
    if rate == 0 {
        return Err(ConfigError::NoRate { key: key(), burst });
    }
    // The largest 32-bit number itself is one too many: the reference has it so.
    let bytes = u32::try_from(burst / 8)
        .ok()
        .filter(|bytes| *bytes < u32::MAX);
    let Some(bytes) = bytes else {
        return Err(ConfigError::LargeBurst { key: key(), burst });
    };
    let limit = Limit {
        rate: rate / 8,
        burst: bytes,
    };
    if limit.rate == 0 {
        return Err(ConfigError::SmallRate { key: key(), rate });
    }
    if limit.burst_micros() == 0 {
        let key = key();
        return Err(ConfigError::ShortBurst { key, burst, rate });
    }
    Ok(Some(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BandwidthConfig, ConfigError> {
        BandwidthConfig::parse(&Json::parse(text.as_bytes()).unwrap())
    }

    const fn limit_of(rate: u64, burst: u32) -> Limit {
        Limit { rate, burst }
    }

    #[test]
    fn bits_become_bytes() {
        let config = parse(
            r#"{"ingressRate": 8000007, "ingressBurst": 807, "egressRate": 16, "egressBurst": 8}"#,
        )
        .unwrap();
        assert_eq!(config.ingress, Some(limit_of(1_000_000, 100)));
        assert_eq!(config.egress, Some(limit_of(2, 1)));
        assert!(!config.is_unlimited());
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        for text in [
            "{}",
            r#"{"runtimeConfig": null}"#,
            r#"{"runtimeConfig": {"bandwidth": null}}"#,
            r#"{"runtimeConfig": {"bandwidth": {}}}"#,
            r#"{"ingressRate": 0, "ingressBurst": 0, "egressRate": 0, "egressBurst": 0}"#,
            // Of release 1.5 alone.
            r#"{"unshapedSubnets": ["10.0.0.0/8"]}"#,
        ] {
            assert!(parse(text).unwrap().is_unlimited(), "{text}");
        }
    }

    #[test]
    fn any_key_at_the_top_beats_what_the_runtime_wants() {
        let with = |top: &str| {
            let runtime =
                r#""RuntimeConfig": {"Bandwidth": {"INGRESSRATE": 8000, "ingressBurst": 8000}}"#;
            parse(&format!("{{{top}{runtime}}}")).unwrap()
        };
        assert_eq!(with("").ingress, Some(limit_of(1000, 1000)));
        assert!(with(r#""egressBurst": 0, "#).is_unlimited());
        assert!(with(r#""IngressRate": null, "#).is_unlimited());
        let egress = with(r#""egressRate": 800, "egressBurst": 80, "#);
        assert_eq!(
            (egress.ingress, egress.egress),
            (None, Some(limit_of(100, 10)))
        );
    }

    #[test]
    fn what_does_not_count_is_not_validated() {
        let text = r#"{"ingressRate": 800, "ingressBurst": 80,
                       "runtimeConfig": {"bandwidth": {"egressRate": 1}}}"#;
        assert_eq!(parse(text).unwrap().ingress, Some(limit_of(100, 10)));
    }

    #[test]
    fn refusals_name_key_and_value() {
        for (text, code, words) in [
            (
                r#"{"ingressRate": 700}"#,
                7,
                "ingressBurst: if rate is set, burst must also be set (ingressRate is 700)",
            ),
            (
                r#"{"egressBurst": 700}"#,
                7,
                "egressRate: if burst is set, rate must also be set (egressBurst is 700)",
            ),
            (
                r#"{"runtimeConfig": {"bandwidth": {"egressRate": 1}}}"#,
                7,
                "runtimeConfig.bandwidth.egressBurst: if rate is set",
            ),
            (
                r#"{"egressRate": 800, "egressBurst": 34359738360}"#,
                7,
                "egressBurst: burst cannot be more than 4GB",
            ),
            (
                r#"{"egressRate": 800, "egressBurst": 18446744073709551615}"#,
                7,
                "egressBurst: burst cannot be more than 4GB",
            ),
            (
                r#"{"ingressRate": 7, "ingressBurst": 80}"#,
                7,
                "ingressRate: 7 bits per second",
            ),
            (
                r#"{"ingressRate": 10000000000, "ingressBurst": 9999}"#,
                7,
                "ingressBurst: 9999 bits take less than a microsecond",
            ),
            (
                r#"{"ingressRate": -1}"#,
                6,
                "failed to parse network configuration: ingressRate",
            ),
            (
                r#"{"ingressRate": 1.5}"#,
                6,
                "failed to parse network configuration: ingressRate",
            ),
            (
                r#"{"runtimeConfig": {"bandwidth": {"ingressRate": "1M"}}}"#,
                6,
                "failed to parse network configuration: runtimeConfig.bandwidth.ingressRate",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.code().0, code, "{error}");
            assert!(error.to_string().starts_with(words), "{error}");
        }
    }

    #[test]
    fn the_largest_burst() {
        let text = r#"{"egressRate": 34359738368, "egressBurst": 34359738359}"#;
        let egress = parse(text).unwrap().egress.unwrap();
        assert_eq!(egress.burst, u32::MAX - 1);
        assert_eq!(egress.burst_micros(), 999_999);
    }
}
