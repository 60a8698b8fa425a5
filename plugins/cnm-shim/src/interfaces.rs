//! The interfaces of a result. Pure.

use std::path::Path;

use cni_cnm::sandbox::HostEnd;
use cni_types::Interface;

/// A container's interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: &'a str,
    pub(crate) mtu: u32,
    pub(crate) sandbox: &'a Path,
}

/// Interfaces from the host's side to the container's, which is the last, as `bridge` lists them:
/// plugins that come after this one look for them.
pub(crate) fn list(
    host_end: Option<&HostEnd>,
    inside: &Inside<'_>,
    tells_mtu: bool,
) -> Vec<Interface> {
    let mtu = |mtu| if tells_mtu { mtu } else { 0 };
    let mut interfaces = Vec::new();
    if let Some(end) = host_end {
        interfaces.extend(end.bridge.as_ref().map(|(name, mac)| Interface {
            name: name.clone(),
            mac: mac.clone(),
            ..Interface::default()
        }));
        interfaces.push(Interface {
            name: end.name.clone(),
            mac: end.mac.clone(),
            mtu: mtu(end.mtu),
            ..Interface::default()
        });
    }
    interfaces.push(Interface {
        name: inside.name.to_owned(),
        mac: inside.mac.to_owned(),
        mtu: mtu(inside.mtu),
        sandbox: inside.sandbox.display().to_string(),
        ..Interface::default()
    });
    interfaces
}
