//! The `bandwidth` plugin: limits what a container sends and receives.

#![cfg_attr(not(test), no_main)]

mod add;
mod apply;
mod check;
mod collect;
mod config;
mod error;
mod host_end;
mod owner;
mod plan;
mod remove;
mod status;

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

struct Bandwidth;

impl Plugin for Bandwidth {
    const INFO: PluginInfo = PluginInfo {
        name: "bandwidth",
        version: env!("CARGO_PKG_VERSION"),
        // Before, results told of no interfaces.
        supported: &[
            SpecVersion::V0_3_0,
            SpecVersion::V0_3_1,
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

cni_plugin::entry!(Bandwidth);
