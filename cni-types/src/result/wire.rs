//! Results as each version writes them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{CniResult, Dns, Interface, IpConfig, Route};
use crate::{IpCidr, Json, JsonError, SpecVersion, UnsupportedVersion};

/// Why a result cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// It is not of its version's shape.
    #[error("decode the result")]
    Decode(#[source] JsonError),
    /// Its `cniVersion` is not one we know.
    #[error("the result's cniVersion")]
    Version(#[source] UnsupportedVersion),
    /// A `prevResult` has another shape than the config's version asks for.
    #[error("the config is of version {config}, but its prevResult of version {found}")]
    OtherFamily {
        /// The config's version.
        config: SpecVersion,
        /// What the prevResult says of itself.
        found: SpecVersion,
    },
    /// 0.1.0 and 0.2.0 have no way to say "no address".
    #[error("cannot convert: no valid IP addresses")]
    NoAddress,
    /// The result cannot be written as JSON.
    #[error("encode the result: {0}")]
    Encode(String),
}

/// Addresses that may be absent: Go writes no address as an empty string and reads it back.
pub(super) mod optional_ip {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature that serde wants")]
    pub(crate) fn serialize<S: Serializer>(ip: &Option<IpAddr>, to: S) -> Result<S::Ok, S::Error> {
        match ip {
            Some(ip) => to.collect_str(ip),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<IpAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        let ip: IpAddr = text.parse().map_err(|_not_an_address| {
            de::Error::custom(format_args!("invalid IP address: {text}"))
        })?;
        Ok(Some(ip.to_canonical()))
    }
}

/// The shape since 0.3.0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListedForm {
    interfaces: Vec<Interface>,
    ips: Vec<IpForm>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Debug, Serialize, Deserialize)]
struct IpForm {
    /// `"4"` or `"6"`, in 0.3 and 0.4 only.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
    address: IpCidr,
    #[serde(default, with = "optional_ip", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// The shape of 0.1.0 and 0.2.0.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct FamilyForm {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<FamilyIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<FamilyIp>,
    dns: Dns,
}

#[derive(Debug, Serialize, Deserialize)]
struct FamilyIp {
    ip: IpCidr,
    #[serde(default, with = "optional_ip", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<FamilyRoute>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FamilyRoute {
    dst: IpCidr,
    #[serde(default, with = "optional_ip", skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
}

/// 0.3 and 0.4: `dns` is always there.
#[derive(Serialize)]
struct Listed03<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<IpForm>,
    #[serde(skip_serializing_if = "is_empty")]
    routes: &'a [Route],
    dns: &'a Dns,
}

/// 1.x: in the alphabetical order that Go's detour over a map gives; `dns` only when it says
/// something.
#[derive(Serialize)]
struct Listed1<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Dns::is_empty")]
    dns: &'a Dns,
    #[serde(skip_serializing_if = "is_empty")]
    interfaces: &'a [Interface],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<IpForm>,
    #[serde(skip_serializing_if = "is_empty")]
    routes: &'a [Route],
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

/// The version a result says it is of.
fn version_of(doc: &Json, default: SpecVersion) -> Result<SpecVersion, ResultError> {
    match doc.get("cniVersion").and_then(Json::as_str) {
        None | Some("") => Ok(default),
        Some(text) => text.parse().map_err(ResultError::Version),
    }
}

pub(super) fn read(doc: &Json, default: SpecVersion) -> Result<CniResult, ResultError> {
    if version_of(doc, default)?.lists_interfaces() {
        let form: ListedForm = doc.decode().map_err(ResultError::Decode)?;
        Ok(form.into())
    } else {
        let form: FamilyForm = doc.decode().map_err(ResultError::Decode)?;
        Ok(form.into())
    }
}

pub(super) fn read_prev(doc: &Json, config: SpecVersion) -> Result<CniResult, ResultError> {
    let family =
        |version: SpecVersion| (version.lists_interfaces(), version >= SpecVersion::V1_0_0);
    let found = version_of(doc, config)?;
    if family(found) != family(config) {
        return Err(ResultError::OtherFamily { config, found });
    }
    read(doc, config)
}

impl From<ListedForm> for CniResult {
    fn from(form: ListedForm) -> Self {
        let ips = form.ips.into_iter().map(|ip| IpConfig {
            // A negative index is out of range for every reader, as `usize::MAX` is.
            interface: ip
                .interface
                .map(|index| usize::try_from(index).unwrap_or(usize::MAX)),
            address: ip.address,
            gateway: ip.gateway,
        });
        Self {
            interfaces: form.interfaces,
            ips: ips.collect(),
            routes: form.routes,
            dns: form.dns,
        }
    }
}

impl From<FamilyForm> for CniResult {
    fn from(form: FamilyForm) -> Self {
        let mut result = Self {
            dns: form.dns,
            ..Self::default()
        };
        for family in [form.ip4, form.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                interface: None,
                address: family.ip,
                gateway: family.gateway,
            });
            result.routes.extend(
                family
                    .routes
                    .into_iter()
                    .map(|route| Route::via(route.dst, route.gw)),
            );
        }
        result
    }
}

pub(super) fn write(result: &CniResult, version: SpecVersion) -> Result<String, ResultError> {
    let cni_version = version.as_str();
    if !version.lists_interfaces() {
        return print(&family_form(result, version)?);
    }
    if version < SpecVersion::V1_0_0 {
        return print(&Listed03 {
            cni_version,
            interfaces: result.interfaces.iter().map(only_03_keys).collect(),
            ips: ip_forms(result, true),
            routes: &result.routes,
            dns: &result.dns,
        });
    }
    print(&Listed1 {
        cni_version,
        dns: &result.dns,
        interfaces: &result.interfaces,
        ips: ip_forms(result, false),
        routes: &result.routes,
    })
}

fn only_03_keys(interface: &Interface) -> Interface {
    Interface {
        name: interface.name.clone(),
        mac: interface.mac.clone(),
        sandbox: interface.sandbox.clone(),
        ..Interface::default()
    }
}

fn ip_forms(result: &CniResult, with_version: bool) -> Vec<IpForm> {
    let form = |ip: &IpConfig| IpForm {
        version: with_version.then_some(if ip.address.is_ipv6() { "6" } else { "4" }),
        interface: ip.interface.map(|index| i64::try_from(index).unwrap_or(-1)),
        address: ip.address,
        gateway: ip.gateway,
    };
    result.ips.iter().map(form).collect()
}

/// The first address of each family with the routes of that family: all that 0.2.0 can say.
fn family_form(result: &CniResult, version: SpecVersion) -> Result<FamilyForm, ResultError> {
    let family = |v6: bool| {
        let first = result.ips.iter().find(|ip| ip.address.is_ipv6() == v6)?;
        let routes = result
            .routes
            .iter()
            .filter(|route| route.dst.is_ipv6() == v6);
        let routes = routes.map(|route| FamilyRoute {
            dst: route.dst,
            gw: route.gw,
        });
        Some(FamilyIp {
            ip: first.address,
            gateway: first.gateway,
            routes: routes.collect(),
        })
    };
    let form = FamilyForm {
        cni_version: version.as_str().to_owned(),
        ip4: family(false),
        ip6: family(true),
        dns: result.dns.clone(),
    };
    if form.ip4.is_none() && form.ip6.is_none() {
        return Err(ResultError::NoAddress);
    }
    Ok(form)
}

/// Four spaces and no newline, as the reference prints.
fn print(form: &impl Serialize) -> Result<String, ResultError> {
    crate::pretty(form).map_err(|error| ResultError::Encode(error.to_string()))
}

#[cfg(test)]
mod tests;
