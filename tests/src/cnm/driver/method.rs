//! The calls of the remote driver protocol.

use std::fmt;

/// One call. A path that is none of these is answered with 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the protocol's own names, see `Method::name`")]
pub enum Method {
    Activate,
    GetCapabilities,
    GwAllocCheck,
    AllocateNetwork,
    FreeNetwork,
    CreateNetwork,
    DeleteNetwork,
    CreateEndpoint,
    EndpointOperInfo,
    DeleteEndpoint,
    Join,
    Leave,
    ProgramExternalConnectivity,
    RevokeExternalConnectivity,
    DiscoverNew,
    DiscoverDelete,
    IpamGetCapabilities,
    GetDefaultAddressSpaces,
    RequestPool,
    ReleasePool,
    RequestAddress,
    ReleaseAddress,
}

const NAMES: &[(Method, &str)] = &[
    (Method::Activate, "Plugin.Activate"),
    (Method::GetCapabilities, "NetworkDriver.GetCapabilities"),
    (Method::GwAllocCheck, "NetworkDriver.GwAllocCheck"),
    (Method::AllocateNetwork, "NetworkDriver.AllocateNetwork"),
    (Method::FreeNetwork, "NetworkDriver.FreeNetwork"),
    (Method::CreateNetwork, "NetworkDriver.CreateNetwork"),
    (Method::DeleteNetwork, "NetworkDriver.DeleteNetwork"),
    (Method::CreateEndpoint, "NetworkDriver.CreateEndpoint"),
    (Method::EndpointOperInfo, "NetworkDriver.EndpointOperInfo"),
    (Method::DeleteEndpoint, "NetworkDriver.DeleteEndpoint"),
    (Method::Join, "NetworkDriver.Join"),
    (Method::Leave, "NetworkDriver.Leave"),
    (
        Method::ProgramExternalConnectivity,
        "NetworkDriver.ProgramExternalConnectivity",
    ),
    (
        Method::RevokeExternalConnectivity,
        "NetworkDriver.RevokeExternalConnectivity",
    ),
    (Method::DiscoverNew, "NetworkDriver.DiscoverNew"),
    (Method::DiscoverDelete, "NetworkDriver.DiscoverDelete"),
    (Method::IpamGetCapabilities, "IpamDriver.GetCapabilities"),
    (
        Method::GetDefaultAddressSpaces,
        "IpamDriver.GetDefaultAddressSpaces",
    ),
    (Method::RequestPool, "IpamDriver.RequestPool"),
    (Method::ReleasePool, "IpamDriver.ReleasePool"),
    (Method::RequestAddress, "IpamDriver.RequestAddress"),
    (Method::ReleaseAddress, "IpamDriver.ReleaseAddress"),
];

impl Method {
    /// The name on the wire, e.g. `NetworkDriver.Join`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(method, _)| *method == self).unwrap().1
    }

    /// The call of that name.
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(method, _)| *method)
    }

    /// Whether it is one of the IPAM driver's.
    pub fn is_ipam(self) -> bool {
        self.name().starts_with("IpamDriver.")
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        for (method, name) in NAMES {
            assert_eq!(Method::named(name), Some(*method));
            assert_eq!(method.name(), *name);
        }
        assert_eq!(Method::named("NetworkDriver.join"), None);
        assert!(Method::IpamGetCapabilities.is_ipam());
        assert!(!Method::GetCapabilities.is_ipam());
    }
}
