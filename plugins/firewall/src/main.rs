//! The `firewall` plugin: lets a container through the host's packet filter, and keeps bridges apart.

#![cfg_attr(not(test), no_main)]

mod add;
mod backend;
mod check;
mod collect;
mod config;
mod error;
mod firewalld;
mod remove;
mod status;

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

struct Firewall;

impl Plugin for Firewall {
    const INFO: PluginInfo = PluginInfo {
        name: "firewall",
        version: env!("CARGO_PKG_VERSION"),
        supported: &[
            SpecVersion::V0_4_0,
            SpecVersion::V1_0_0,
            SpecVersion::V1_1_0,
        ],
    };

    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        add::add(request, undo)
    }

    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        remove::remove(request)
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        check::check(request)
    }

    fn gc(&self, request: &GcRequest) -> Result<(), CniError> {
        collect::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        status::status(request)
    }
}

cni_plugin::entry!(Firewall);
