//! The `loopback` plugin: sets a container's loopback interface up.

#![cfg_attr(not(test), no_main)]

mod interface;

use cni_netlink::{NetNs, set_down, set_up};
use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

use interface::{LoopbackError, addresses, find, report};

struct Loopback;

impl Plugin for Loopback {
    const INFO: PluginInfo = PluginInfo {
        name: "loopback",
        version: env!("CARGO_PKG_VERSION"),
        supported: SpecVersion::ALL,
    };

    /// `CNI_IFNAME` is not looked at: there is one loopback interface, and it is called `lo`.
    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        let prev_result = request.request.prev_result()?;
        let netns = NetNs::open(&request.netns)?.only(request.netns_id)?;
        let inside = netns.socket()?;
        let lo = find(&inside)?;
        if !lo.is_up() {
            // First, since it may be up without our having heard of it.
            let id = lo.id();
            undo.push("set lo down", move || {
                let inside = netns.socket()?;
                inside.request(&set_down(&id))?;
                Ok(())
            });
            inside.request(&set_up(&lo.id()))?;
        }
        let addresses = addresses(&inside)?;
        Ok(prev_result.unwrap_or_else(|| report(&request.netns, &addresses)))
    }

    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        let Some(path) = &request.netns else {
            return Ok(());
        };
        let Some(netns) = NetNs::open_if_there(path)? else {
            return Ok(());
        };
        let inside = netns.only(request.netns_id)?.socket()?;
        inside.request(&set_down(&find(&inside)?.id()))?;
        Ok(())
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        let inside = NetNs::open(&request.netns)?
            .only(request.netns_id)?
            .socket()?;
        if find(&inside)?.is_up() {
            Ok(())
        } else {
            Err(LoopbackError::Down.into())
        }
    }

    /// Nothing of a loopback interface outlives its namespace.
    fn gc(&self, _request: &GcRequest) -> Result<(), CniError> {
        Ok(())
    }

    /// There is nothing to run out of.
    fn status(&self, _request: &Request) -> Result<(), CniError> {
        Ok(())
    }
}

cni_plugin::entry!(Loopback);
