//! DEL, GC and STATUS.

use std::time::Instant;

use cni_cnm::NetworkId;
use cni_cnm::controller::Controller;
use cni_cnm::store::StoreError;
use cni_cnm::store::record::EndpointRecord;
use cni_plugin::{DelRequest, Delegate, GcRequest, Request, remark};
use cni_types::{Attachment, CniError, Command, ErrorCode, Json};

use crate::config::{DriverConfig, Settings};
use crate::drivers::{Waiting, collect_pools, controller, sweep_lock};
use crate::error::ShimError;
use crate::report;

/// Removes the attachment: by what is remembered of it, whatever the config says by now.
pub(crate) fn remove(request: &DelRequest, settings: &Settings) -> Result<(), CniError> {
    let controller = controller(&settings.data_dir, Waiting::Bounded);
    let removal = Removal {
        controller: &controller,
        attachment: &request.attachment,
        settings,
        network: NetworkId::derive(&settings.network),
    };
    removal.run()?;
    // One that nobody holds is what a killed ADD left; whoever holds it removes it.
    let _held = sweep_lock(&settings.data_dir, Instant::now());
    // The address goes back last, when nothing answers to it any more.
    delegate(&request.request, Command::Del)
}

struct Removal<'a> {
    controller: &'a Controller,
    attachment: &'a Attachment,
    settings: &'a Settings,
    network: NetworkId,
}

impl Removal<'_> {
    fn run(&self) -> Result<(), CniError> {
        let limits = self.settings.limits();
        if !self.controller.store().is_there() {
            return self.force(limits);
        }
        let _lock = self.controller.lock(self.attachment, limits.total)?;
        let known = self.record()?.is_some();
        let policy = self.settings.policy();
        let departure =
            self.controller
                .disconnect(&self.network, self.attachment, policy, limits)?;
        report::notes(&departure.notes);
        if let Some(down) = departure.down {
            return Err(down.into());
        }
        if !known {
            return self.force(limits);
        }
        if self.settings.strict_delete && !departure.notes.is_empty() {
            let refused = ShimError::Refused {
                attachment: self.attachment.clone(),
                notes: departure.notes.join("; "),
            };
            return Err(refused.into());
        }
        Ok(())
    }

    /// A record that cannot be read is put aside: it must not be in the way for ever.
    fn record(&self) -> Result<Option<EndpointRecord>, CniError> {
        match self.controller.endpoint(&self.network, self.attachment) {
            Err(StoreError::Broken { path, why }) => {
                let aside = self.controller.store().set_aside(&path)?;
                remark(format_args!(
                    "{} is not a record: {why}; it is kept as {}",
                    path.display(),
                    aside.display()
                ));
                Ok(None)
            }
            read => Ok(read?),
        }
    }

    /// Nothing is remembered, and yet there may be something.
    fn force(&self, limits: cni_cnm::controller::spec::Limits) -> Result<(), CniError> {
        if !self.settings.force_delete {
            return Ok(());
        }
        let departure = self.controller.disconnect_forgotten(
            &self.settings.network,
            &self.settings.driver,
            self.attachment,
            limits,
        );
        report::notes(&departure.notes);
        match departure.down {
            Some(down) if !self.settings.leak_when_down => Err(down.into()),
            _ => Ok(()),
        }
    }
}

/// Passes a command on to the CNI plugin that gives the addresses, if there is one.
pub(super) fn delegate(request: &Request, command: Command) -> Result<(), CniError> {
    let Some(plugin) = ipam_type(&request.config) else {
        return Ok(());
    };
    Delegate::find(request, plugin)?.run(command, request.delegate_deadline())
}

/// The type of the IPAM plugin in a config that need not be valid.
fn ipam_type(config: &Json) -> Option<&str> {
    config
        .get("ipam")?
        .get("type")?
        .as_str()
        .filter(|ipam| !ipam.is_empty())
}

/// Removes what is of this network and belongs to no valid attachment, and tries again what could
/// not be removed before.
pub(crate) fn collect(request: &GcRequest, settings: &Settings) -> Result<(), CniError> {
    let controller = controller(&settings.data_dir, Waiting::Bounded);
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let network = NetworkId::derive(&settings.network);
    let collected = controller.collect(
        Some((&request.request.network, &network)),
        |attachment| valid.contains(attachment),
        settings.policy(),
        settings.limits(),
    );
    let failures = match collected {
        Ok(collected) => collected.failures,
        Err(error) => return Err(error.into()),
    };
    let pools = collect_pools(&settings.data_dir, settings.limits().total);
    let lock = sweep_lock(&settings.data_dir, settings.limits().total);
    let errors = failures
        .into_iter()
        .map(|failure| CniError::new(ErrorCode::DRIVER, failure))
        .chain(pools.err())
        .chain(lock.err())
        .chain(delegate(&request.request, Command::Gc).err());
    CniError::collect(errors)
}

/// Whether everybody whom an ADD would ask answers.
pub(crate) fn status(
    request: &Request,
    config: &DriverConfig,
    settings: &Settings,
) -> Result<(), CniError> {
    let controller = controller(&settings.data_dir, Waiting::No);
    controller
        .probe(&config.network, settings.status_limits())
        .map_err(CniError::not_available)?;
    let Some(plugin) = &config.delegate else {
        return Ok(());
    };
    let delegate = Delegate::find(request, plugin).map_err(CniError::not_available)?;
    delegate.run(Command::Status, request.delegate_deadline())
}
