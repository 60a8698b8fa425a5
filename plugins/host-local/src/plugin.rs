//! The commands.

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

use crate::{apply, check};

/// The plugin.
#[derive(Debug)]
pub struct HostLocal;

impl Plugin for HostLocal {
    const INFO: PluginInfo = PluginInfo {
        name: "host-local",
        version: env!("CARGO_PKG_VERSION"),
        supported: SpecVersion::ALL,
    };

    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        apply::add(request, undo)
    }

    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        apply::del(request)
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        check::check(request)
    }

    fn gc(&self, request: &GcRequest) -> Result<(), CniError> {
        apply::gc(request)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        check::status(request)
    }
}
