//! The keys that every network configuration has.

use serde::Deserialize;

use crate::{
    ArgsError, CniArgs, CniError, CniResult, Dns, ErrorCode, Json, MacAddr, MacError, NameError,
    NetworkName, SpecVersion, ToCniError,
};

/// A container's interface as GC lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID", default)]
    pub container_id: String,
    /// The interface inside the container.
    #[serde(default)]
    pub ifname: String,
}

/// The `dns` of a config. Each field that is written counts, even an empty list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsConf {
    /// Addresses of name servers.
    pub nameservers: Option<Vec<String>>,
    /// The local domain.
    pub domain: Option<String>,
    /// Search domains.
    pub search: Option<Vec<String>>,
    /// Resolver options.
    pub options: Option<Vec<String>>,
}

impl DnsConf {
    /// What replaces the IPAM's name resolution, if any field is written.
    #[must_use]
    pub fn replacement(&self) -> Option<Dns> {
        (*self != Self::default()).then(|| Dns {
            nameservers: self.nameservers.clone().unwrap_or_default(),
            domain: self.domain.clone().unwrap_or_default(),
            search: self.search.clone().unwrap_or_default(),
            options: self.options.clone().unwrap_or_default(),
        })
    }
}

/// The keys in which a hardware address is asked for, in `runtimeConfig` and in `args.cni`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MacConf {
    /// The address.
    pub mac: String,
}

/// Why a hardware address that was asked for cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacRequestError {
    /// It is none.
    #[error("{key}: {error}")]
    Invalid {
        /// Where it was asked for.
        key: &'static str,
        /// Why.
        error: MacError,
    },
    /// It is one of many.
    #[error("{key}: {mac} is not an address that an interface can have")]
    NotUnicast {
        /// Where it was asked for.
        key: &'static str,
        /// Which.
        mac: MacAddr,
    },
    /// `CNI_ARGS` cannot be read.
    #[error(transparent)]
    Args(#[from] ArgsError),
}

impl ToCniError for MacRequestError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Args(_) => ErrorCode::INVALID_ENVIRONMENT,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }
}

/// The hardware address that an interface was asked to have. The runtime's wish (`runtimeConfig`)
/// beats the operator's (`args.cni`), which beats the environment's (`MAC` of `CNI_ARGS`).
///
/// # Errors
/// The one that counts is not an address that an interface can have.
pub fn requested_mac(
    runtime_config: &MacConf,
    args: &MacConf,
    cni_args: &str,
) -> Result<Option<MacAddr>, MacRequestError> {
    let environment = CniArgs::parse(cni_args, &["MAC"])?;
    let sources = [
        ("runtimeConfig.mac", runtime_config.mac.as_str()),
        ("args.cni.mac", args.mac.as_str()),
        (
            "MAC of CNI_ARGS",
            environment.get("MAC").unwrap_or_default(),
        ),
    ];
    let Some((key, text)) = sources.into_iter().find(|(_, text)| !text.is_empty()) else {
        return Ok(None);
    };
    let mac: MacAddr = text
        .parse()
        .map_err(|error| MacRequestError::Invalid { key, error })?;
    if !mac.is_unicast() {
        return Err(MacRequestError::NotUnicast { key, mac });
    }
    Ok(Some(mac))
}

/// The `name` of the network.
///
/// # Errors
/// Code 7, in the reference's words.
pub fn network_name(doc: &Json) -> Result<NetworkName, CniError> {
    let name = match doc.get("name") {
        None | Some(Json::Null) => "",
        Some(Json::String(name)) => name,
        Some(_) => {
            return Err(CniError::new(
                ErrorCode::DECODE,
                "name: a string is expected",
            ));
        }
    };
    name.parse().map_err(|why| match why {
        NameError::Empty => CniError::new(ErrorCode::INVALID_CONFIG, "missing network name"),
        _ => CniError::new(
            ErrorCode::INVALID_CONFIG,
            "invalid characters found in network name",
        )
        .with_details(format!(
            "name is {name:?}: letters, digits, '_', '.' and '-' are allowed"
        )),
    })
}

/// The text of `cniVersion`; 0.1.0 when there is none.
///
/// # Errors
/// Code 6, when it is not a string.
pub fn version_text(doc: &Json) -> Result<&str, CniError> {
    match doc.get("cniVersion") {
        None | Some(Json::Null) => Ok(SpecVersion::V0_1_0.as_str()),
        Some(Json::String(text)) if text.is_empty() => Ok(SpecVersion::V0_1_0.as_str()),
        Some(Json::String(text)) => Ok(text),
        Some(_) => Err(CniError::new(
            ErrorCode::DECODE,
            "cniVersion: a string is expected",
        )),
    }
}

/// `prevResult`, parsed as a result of the config's version.
///
/// # Errors
/// Code 6.
pub fn prev_result(doc: &Json, version: SpecVersion) -> Result<Option<CniResult>, CniError> {
    match doc.get("prevResult") {
        None | Some(Json::Null) => Ok(None),
        Some(prev) => CniResult::from_prev_result(prev, version)
            .map(Some)
            .map_err(|error| CniError::from(error).within("could not parse prevResult")),
    }
}

impl ToCniError for crate::ResultError {
    fn code(&self) -> ErrorCode {
        ErrorCode::DECODE
    }
}

/// The attachments that GC must keep: `cni.dev/valid-attachments`, or the older
/// `cni.dev/attachments`.
///
/// # Errors
/// Code 6 when the list is not one; code 7 when there is none at all, since an absent list must
/// not be taken for "none is valid".
pub fn valid_attachments(doc: &Json) -> Result<Vec<ValidAttachment>, CniError> {
    let list = doc
        .get("cni.dev/valid-attachments")
        .or_else(|| doc.get("cni.dev/attachments"));
    let list = list.ok_or_else(|| {
        CniError::new(
            ErrorCode::INVALID_CONFIG,
            "GC without cni.dev/valid-attachments",
        )
        .with_details("the runtime must list the attachments to keep, if only as an empty array")
    })?;
    list.decode().map_err(|error| {
        CniError::new(
            ErrorCode::DECODE,
            format!("cni.dev/valid-attachments: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names() {
        assert_eq!(
            network_name(&doc(r#"{"Name": "net-1"}"#)).unwrap().as_str(),
            "net-1"
        );
        for (text, code, msg) in [
            ("{}", 7, "missing network name"),
            (r#"{"name": ""}"#, 7, "missing network name"),
            (
                r#"{"name": "a/b"}"#,
                7,
                "invalid characters found in network name",
            ),
            (r#"{"name": 1}"#, 6, "name: a string is expected"),
        ] {
            let error = network_name(&doc(text)).unwrap_err();
            assert_eq!((error.code.0, error.msg.as_str()), (code, msg));
        }
    }

    #[test]
    fn versions() {
        assert_eq!(version_text(&doc("{}")).unwrap(), "0.1.0");
        assert_eq!(
            version_text(&doc(r#"{"cniVersion": ""}"#)).unwrap(),
            "0.1.0"
        );
        assert_eq!(version_text(&doc(r#"{"cniversion": "9"}"#)).unwrap(), "9");
        assert_eq!(
            version_text(&doc(r#"{"cniVersion": 1}"#))
                .unwrap_err()
                .code
                .0,
            6
        );
    }

    #[test]
    fn dns_replaces_only_when_written() {
        let conf = |text: &str| doc(text).decode::<DnsConf>().unwrap().replacement();
        assert_eq!(conf("{}"), None);
        assert_eq!(conf("null"), None);
        assert_eq!(conf(r#"{"search": []}"#), Some(Dns::default()));
        assert_eq!(conf(r#"{"domain": "x"}"#).unwrap().domain, "x");
    }

    #[test]
    fn the_list_of_valid_attachments() {
        let both = r#"{"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}],
                       "cni.dev/attachments": []}"#;
        let valid = valid_attachments(&doc(both)).unwrap();
        assert_eq!(
            (valid[0].container_id.as_str(), valid[0].ifname.as_str()),
            ("a", "eth0")
        );
        assert_eq!(
            valid_attachments(&doc(r#"{"cni.dev/attachments": []}"#)),
            Ok(vec![])
        );
        assert_eq!(
            valid_attachments(&doc(r#"{"cni.dev/valid-attachments": null}"#)),
            Ok(vec![])
        );
        assert_eq!(valid_attachments(&doc("{}")).unwrap_err().code.0, 7);
    }

    #[test]
    fn a_broken_prev_result_is_a_decode_error() {
        let error =
            prev_result(&doc(r#"{"prevResult": {"ips": 1}}"#), SpecVersion::V1_0_0).unwrap_err();
        assert_eq!(error.code.0, 6);
        assert_eq!(error.msg, "could not parse prevResult: decode the result");
        assert!(error.details.starts_with("ips: "), "{}", error.details);
    }
}
