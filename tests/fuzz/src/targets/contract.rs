//! The contract: documents, names, results, `CNI_ARGS`.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use cni_cnm::NetworkId;
use cni_cnm::discovery::PluginAddress;
use cni_firewall::forward::AdminChain;
use cni_firewall::portmap::Protocol;
use cni_types::config::{self, MacConf};
use cni_types::{
    CniArgs, CniResult, Command, ContainerId, IfName, Interface, IpCidr, Json, MacAddr,
    NetworkName, SpecVersion,
};

/// A document is the same after it was written and read.
pub(super) fn json(bytes: &[u8]) {
    let first = Json::parse_first(bytes);
    let Ok(doc) = Json::parse(bytes) else {
        return;
    };
    assert_eq!(first.as_ref(), Ok(&doc), "the only document is the first");
    let text = doc.to_string();
    let again = Json::parse(text.as_bytes()).expect("what was written can be read");
    assert_eq!(again, doc);
    let pretty = cni_types::pretty(&doc).expect("it can be written");
    assert_eq!(Json::parse(pretty.as_bytes()).as_ref(), Ok(&doc));
    let mut other = doc;
    other.set("key", Json::Bool(true));
    assert_eq!(other.get("KEY"), Some(&Json::Bool(true)));
    other.remove("Key");
    assert_eq!(other.get("key"), None);
}

/// What is printed is canonical, and read as what it was.
fn printed<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug + Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            let again: T = printed.parse().expect("what is printed can be read");
            assert_eq!(again, value);
            assert_eq!(again.to_string(), printed);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Everything that is one word.
pub(super) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    printed::<IpCidr>(text);
    printed::<MacAddr>(text);
    printed::<IfName>(text);
    printed::<ContainerId>(text);
    printed::<NetworkName>(text);
    printed::<SpecVersion>(text);
    printed::<Protocol>(text);
    printed::<AdminChain>(text);
    if let Some(command) = Command::parse(text) {
        assert_eq!(command.to_string(), text);
    }
    if let Some(id) = NetworkId::parse(text) {
        assert!(id.as_str().starts_with(id.short()));
    }
    let _no_panic = PluginAddress::parse(text, None);
    if let Ok(cidr) = text.parse::<IpCidr>() {
        arithmetic(cidr);
    }
}

fn arithmetic(cidr: IpCidr) {
    assert!(cidr.contains(cidr.network()) && cidr.contains(cidr.broadcast()));
    assert!(cidr.network() <= cidr.addr() && cidr.addr() <= cidr.broadcast());
    assert!(cidr.overlaps(&cidr.subnet()) && cidr.prefix() <= cidr.bits());
}

/// A result of any version.
pub(super) fn result(bytes: &[u8]) {
    let Ok(doc) = Json::parse(bytes) else {
        return;
    };
    for default in SpecVersion::ALL {
        let _no_panic = CniResult::from_prev_result(&doc, *default);
        if let Ok(result) = CniResult::from_json(&doc, *default) {
            for version in SpecVersion::ALL {
                converted(&result, *version);
            }
        }
    }
}

/// What a version can say it says without loss, and saying it again changes nothing.
fn converted(result: &CniResult, version: SpecVersion) {
    let Ok(text) = result.to_text(version) else {
        // The only thing that a version cannot say.
        assert!(result.ips.is_empty() && !version.lists_interfaces());
        return;
    };
    let doc = Json::parse(text.as_bytes()).expect("a result is a document");
    let told = doc.get("cniVersion").and_then(Json::as_str);
    assert_eq!(told, Some(version.as_str()));
    let again = CniResult::from_json(&doc, SpecVersion::V1_1_0).expect("it can be read");
    assert_eq!(again.to_text(version).as_ref(), Ok(&text));
    if version.lists_interfaces() {
        assert_eq!(again, said_by(version, result.clone()));
    }
}

/// What of a result is left in a version that lists interfaces.
fn said_by(version: SpecVersion, mut result: CniResult) -> CniResult {
    if version < SpecVersion::V1_0_0 {
        for interface in &mut result.interfaces {
            *interface = Interface {
                mtu: 0,
                socket_path: String::new(),
                pci_id: String::new(),
                ..interface.clone()
            };
        }
    }
    result
}

/// `CNI_ARGS`, and what is taken from it.
pub(super) fn cni_args(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(args) = CniArgs::parse(text, &["IP", "MAC"]) {
        for key in ["IP", "MAC"] {
            let value = args.get(key).unwrap_or_default();
            assert!(!value.contains([';', '=']) && text.contains(value));
        }
        assert_eq!(args.get("K8S_POD_NAME"), None, "it is not known");
    }
    let none = MacConf::default();
    if let Ok(Some(mac)) = config::requested_mac(&none, &none, text) {
        assert!(mac.is_unicast());
    }
}
