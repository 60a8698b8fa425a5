//! The config's keys, and the only place where they are validated.

mod mappings;

use cni_firewall::portmap::{Condition, ConditionError, Mapping, MarkBit, Masquerade};
use cni_plugin::Request;
use cni_types::{CniError, ErrorCode, JsonError, ToCniError};
use serde::Deserialize;

pub(crate) use self::mappings::MappingError;
use self::mappings::{MappingConf, mappings};

/// The keys as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    backend: Option<String>,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Vec<String>,
    conditions_v6: Vec<String>,
    runtime_config: RuntimeConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConf {
    port_mappings: Vec<MappingConf>,
}

/// Who carries the mappings out, and what is only for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// `nf_tables`, without a process.
    Nftables {
        condition_v4: Option<Condition>,
        condition_v6: Option<Condition>,
    },
    /// The reference's chains.
    Iptables {
        set_mark_chain: Option<String>,
        condition_v4: Vec<String>,
        condition_v6: Vec<String>,
    },
}

/// A valid config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortmapConfig {
    pub(crate) backend: Backend,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) masquerade: Masquerade,
    pub(crate) mark: MarkBit,
}

/// Why a config is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to parse config: {0}")]
    Decode(JsonError),
    #[error("backend: unknown backend {0:?}")]
    Backend(String),
    #[error("backend: {wanted} was asked for, but {keys} can only be had with {other}")]
    OtherBackend {
        wanted: &'static str,
        keys: String,
        other: &'static str,
    },
    #[error("{nftables} can only be had with nftables, and {iptables} with iptables")]
    BothBackends { nftables: String, iptables: String },
    #[error("markMasqBit: {0}: MasqMarkBit must be between 0 and 31")]
    MarkBit(i64),
    #[error("Cannot specify externalSetMarkChain and markMasqBit")]
    TwoMarks,
    #[error("{key}: {value:?} is not a word that iptables could read")]
    Word { key: &'static str, value: String },
    #[error("{key}: {error}")]
    Condition {
        key: &'static str,
        error: ConditionError,
    },
    #[error(transparent)]
    Mapping(#[from] MappingError),
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            Self::Condition {
                error: ConditionError::Unknown(_),
                ..
            } => ErrorCode::UNSUPPORTED_FIELD,
            Self::Mapping(error) => error.code(),
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Backend(_) => Some("\"nftables\" and \"iptables\" are known"),
            Self::TwoMarks => Some("whoever has the chain decides which mark it sets: remove one"),
            Self::Condition {
                error: ConditionError::Unknown(_),
                ..
            } => Some(
                "addresses (ip saddr, ip6 daddr), iifname, ports (tcp dport), mark and meta l4proto \
                 can be matched; others in the words of iptables, with \"backend\": \"iptables\"",
            ),
            Self::Mapping(error) => error.hint(),
            _ => None,
        }
    }
}

impl PortmapConfig {
    /// Reads and validates the config of an ADD, CHECK or STATUS.
    pub(crate) fn load(request: &Request) -> Result<Self, CniError> {
        let conf: Conf = request.config.decode().map_err(ConfigError::Decode)?;
        Ok(Self::validate(conf)?)
    }

    fn validate(conf: Conf) -> Result<Self, ConfigError> {
        if conf.mark_masq_bit.is_some() && conf.external_set_mark_chain.is_some() {
            return Err(ConfigError::TwoMarks);
        }
        Ok(Self {
            mappings: mappings(&conf.runtime_config.port_mappings)?,
            masquerade: match (conf.snat.unwrap_or(true), conf.masq_all) {
                (false, _) => Masquerade::Never,
                (true, false) => Masquerade::Needed,
                (true, true) => Masquerade::Always,
            },
            mark: mark(conf.mark_masq_bit)?,
            backend: backend(conf)?,
        })
    }
}

fn mark(bit: Option<i64>) -> Result<MarkBit, ConfigError> {
    let Some(bit) = bit else {
        return Ok(MarkBit::default());
    };
    u8::try_from(bit)
        .ok()
        .and_then(MarkBit::new)
        .ok_or(ConfigError::MarkBit(bit))
}

/// Names in words, as a sentence has them.
fn list(keys: &[&str]) -> String {
    keys.join(" and ")
}

/// The backend that is asked for, or else the one that the other keys need. Nothing needs either:
/// nftables.
fn backend(conf: Conf) -> Result<Backend, ConfigError> {
    let conditions = [
        ("conditionsV4", &conf.conditions_v4),
        ("conditionsV6", &conf.conditions_v6),
    ];
    let of_syntax = |iptables: bool| {
        let keys = conditions.iter().filter(move |(_, words)| {
            let first = words.iter().find(|word| !word.trim().is_empty());
            first.is_some_and(|first| first.trim().starts_with(['-', '!']) == iptables)
        });
        keys.map(|(key, _)| *key)
    };
    let nftables: Vec<&str> = of_syntax(false).collect();
    let chain = conf.external_set_mark_chain.as_ref();
    let iptables: Vec<&str> = of_syntax(true)
        .chain(chain.map(|_chain| "externalSetMarkChain"))
        .collect();
    let other = |wanted, keys: &[&str], other| ConfigError::OtherBackend {
        wanted,
        keys: list(keys),
        other,
    };
    match conf.backend.as_deref() {
        Some("nftables") if !iptables.is_empty() => Err(other("nftables", &iptables, "iptables")),
        Some("iptables") if !nftables.is_empty() => Err(other("iptables", &nftables, "nftables")),
        Some("nftables") => by_nftables(&conf),
        Some("iptables") => by_iptables(conf),
        None | Some("") => match (nftables.is_empty(), iptables.is_empty()) {
            (_, true) => by_nftables(&conf),
            (true, false) => by_iptables(conf),
            (false, false) => Err(ConfigError::BothBackends {
                nftables: list(&nftables),
                iptables: list(&iptables),
            }),
        },
        Some(unknown) => Err(ConfigError::Backend(unknown.to_owned())),
    }
}

fn by_nftables(conf: &Conf) -> Result<Backend, ConfigError> {
    let parse = |key, words: &[String], v6| {
        Condition::parse(words, v6).map_err(|error| ConfigError::Condition { key, error })
    };
    Ok(Backend::Nftables {
        condition_v4: parse("conditionsV4", &conf.conditions_v4, false)?,
        condition_v6: parse("conditionsV6", &conf.conditions_v6, true)?,
    })
}

fn by_iptables(conf: Conf) -> Result<Backend, ConfigError> {
    // What ends a line would be a command of its own.
    let check = |key, words: &[String]| {
        let bad = words.iter().find(|word| word.contains(['\n', '\r', '\0']));
        bad.map_or(Ok(()), |word| {
            Err(ConfigError::Word {
                key,
                value: word.clone(),
            })
        })
    };
    check("conditionsV4", &conf.conditions_v4)?;
    check("conditionsV6", &conf.conditions_v6)?;
    if let Some(chain) = &conf.external_set_mark_chain {
        let is_plain = chain.chars().all(|c| c.is_ascii_graphic() && c != '"');
        if !is_plain || chain.is_empty() || chain.starts_with(['-', '!']) || chain.len() > 28 {
            return Err(ConfigError::Word {
                key: "externalSetMarkChain",
                value: chain.clone(),
            });
        }
    }
    Ok(Backend::Iptables {
        set_mark_chain: conf.external_set_mark_chain,
        condition_v4: conf.conditions_v4,
        condition_v6: conf.conditions_v6,
    })
}

#[cfg(test)]
mod tests;
