//! ADD.

use std::rc::Rc;

use cni_netlink::{NetNs, Psched, Socket};
use cni_plugin::{AttachmentRequest, Undo};
use cni_types::{CniError, CniResult, Interface, SpecVersion};

use crate::apply::{Ifb, Target};
use crate::config::BandwidthConfig;
use crate::error::BandwidthError;
use crate::host_end;

/// Limits what an earlier plugin has made, and passes its result on, with the IFB if there is one.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = BandwidthConfig::load(&request.request)?;
    let prev_result = request.request.prev_result()?;
    let mut result = prev_result.ok_or(BandwidthError::NotChained)?;
    if config.is_unlimited() {
        return Ok(result);
    }
    let clock = Psched::read()?;
    let inside = NetNs::open(&request.netns)?
        .only(request.netns_id)?
        .socket()?;
    let host = Socket::open()?;
    let end = host_end::get(&host, &inside, &request.attachment.ifname, &result)?;
    let target = Target {
        host: Rc::new(host),
        end,
        attachment: &request.attachment,
        clock,
    };
    let ifb = target.limit(&config, undo)?;
    // The key exists since 1.1.0.
    let tells_mtu = request.request.version >= SpecVersion::V1_1_0;
    result
        .interfaces
        .extend(ifb.map(|ifb| interface(ifb, tells_mtu)));
    Ok(result)
}

fn interface(ifb: Ifb, tells_mtu: bool) -> Interface {
    Interface {
        name: ifb.id.name,
        mac: ifb.mac.to_string(),
        mtu: if tells_mtu { ifb.mtu } else { 0 },
        ..Interface::default()
    }
}
