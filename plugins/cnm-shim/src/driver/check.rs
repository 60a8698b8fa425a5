//! CHECK: compares the sandbox with the ADD's result, and asks the driver for the endpoint.

use cni_cnm::NetworkId;
use cni_plugin::AttachmentRequest;
use cni_types::{CniError, Command};

use super::remove::delegate;
use crate::compare::compare;
use crate::config::{DriverConfig, Settings};
use crate::drivers::{Waiting, controller};
use crate::error::ShimError;

/// Tells all that is missing or different.
pub(crate) fn check(
    request: &AttachmentRequest,
    config: &DriverConfig,
    settings: &Settings,
) -> Result<(), CniError> {
    let result = request.request.prev_result()?;
    let result = result.ok_or(ShimError::NoPrevResult)?;
    let controller = controller(&settings.data_dir, Waiting::Bounded);
    let attachment = &request.attachment;
    let network = NetworkId::derive(&settings.network);
    let record = controller
        .endpoint(&network, attachment)?
        .ok_or_else(|| ShimError::NoEndpoint(attachment.clone()))?;
    if !record.is_whole() {
        return Err(ShimError::HalfDone(attachment.clone()).into());
    }
    let mut errors: Vec<CniError> = Vec::new();
    let of_network = controller.store().network(&record.network)?;
    if !of_network.is_some_and(|network| network.ready) {
        errors.push(ShimError::NoNetwork(attachment.clone()).into());
    }
    if let Some(link) = &record.link {
        let seen = controller
            .sandboxes()
            .look(&request.netns, &attachment.ifname)?;
        match seen {
            None => errors.push(ShimError::mismatch(&link.name, "it is missing").into()),
            Some(seen) => errors.extend(compare(&seen, &result, request).map(CniError::from)),
        }
    }
    if config.check_driver {
        let answer = controller.probe_endpoint(&record, settings.limits());
        errors.extend(answer.err().map(CniError::from));
    }
    errors.extend(delegate(&request.request, Command::Check).err());
    CniError::collect(errors)
}
