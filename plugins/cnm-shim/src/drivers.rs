//! The drivers that there are: those that are built in, and programs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cni_cnm::builtin::ipam::{DefaultIpam, NullIpam};
use cni_cnm::builtin::{BareDriver, BridgeDriver};
use cni_cnm::controller::{Controller, Drivers, Random};
use cni_cnm::discovery::{Directories, PluginAddress};
use cni_cnm::http::Patience;
use cni_cnm::remote::{RemoteIpamDriver, RemoteNetworkDriver, RemotePlugin};
use cni_cnm::sandbox::Kernel;
use cni_cnm::store::Store;
use cni_cnm::store::record::DriverRef;
use cni_cnm::{DriverError, IpamDriver, Method, NetworkDriver};
use cni_types::{CniError, MacAddr};

/// The network drivers that are built in.
pub(crate) const NETWORK_DRIVERS: [&str; 3] = ["bridge", "host", "null"];

/// The IPAM drivers that are built in.
pub(crate) const IPAM_DRIVERS: [&str; 2] = ["default", "null"];

/// How long to wait for a driver that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A moment: it may be starting.
    Bounded,
    /// Not at all.
    No,
}

/// A controller whose records are below `data_dir`.
pub(crate) fn controller(data_dir: &Path, waiting: Waiting) -> Controller {
    let drivers = Registry::new(data_dir, waiting);
    Controller::new(Store::new(data_dir), drivers, Kernel, System)
}

/// Gives back the pools of the built-in IPAM driver that no network has: whoever requested them
/// ended before it could write them down.
pub(crate) fn collect_pools(data_dir: &Path, deadline: Instant) -> Result<(), CniError> {
    if ipam_dir(data_dir)
        .metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        return Ok(());
    }
    let store = Store::new(data_dir);
    let valid = || -> Result<Option<BTreeSet<String>>, CniError> {
        let mut pools = BTreeSet::new();
        for network in store.networks()? {
            let network = network?;
            if !network.ready {
                // It may be about to hear of one.
                return Ok(None);
            }
            pools.extend(network.pools.into_iter().map(|pool| pool.id));
        }
        Ok(Some(pools))
    };
    ipam(data_dir).collect_pools(valid, deadline)
}

/// Removes the file of the built-in network driver's lock, if its holder was killed.
pub(crate) fn sweep_lock(data_dir: &Path, deadline: Instant) -> Result<(), CniError> {
    bridge(data_dir).sweep_lock(deadline)
}

fn bridge(data_dir: &Path) -> BridgeDriver {
    BridgeDriver::new(&data_dir.join("builtin/bridge"))
}

fn ipam(data_dir: &Path) -> DefaultIpam {
    DefaultIpam::of_host(&ipam_dir(data_dir))
}

fn ipam_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("builtin/ipam")
}

/// Opens drivers. A plugin that is both a network driver and an IPAM driver is opened once.
pub(crate) struct Registry {
    dir: PathBuf,
    waiting: Waiting,
    plugins: RefCell<BTreeMap<DriverRef, Arc<RemotePlugin>>>,
}

impl Registry {
    pub(crate) fn new(data_dir: &Path, waiting: Waiting) -> Self {
        Self {
            dir: data_dir.to_owned(),
            waiting,
            plugins: RefCell::default(),
        }
    }

    /// The program behind a driver.
    pub(crate) fn plugin(&self, driver: &DriverRef) -> Result<Arc<RemotePlugin>, DriverError> {
        if let Some(open) = self.plugins.borrow().get(driver) {
            return Ok(Arc::clone(open));
        }
        let patience = match self.waiting {
            Waiting::Bounded => Patience::default(),
            Waiting::No => Patience::none(),
        };
        let plugin = match &driver.url {
            Some(url) => {
                let address = PluginAddress::parse(url, None).map_err(|cause| DriverError {
                    driver: format!("driver {}", driver.name),
                    method: Method::Activate,
                    cause,
                })?;
                RemotePlugin::at(&driver.name, address, patience)
            }
            None => RemotePlugin::named(&driver.name, directories(), patience),
        };
        let plugin = Arc::new(plugin);
        self.plugins
            .borrow_mut()
            .insert(driver.clone(), Arc::clone(&plugin));
        Ok(plugin)
    }
}

/// Where plugins register, for root and for others.
pub(crate) fn directories() -> Directories {
    Directories::of(|name| std::env::var(name).ok())
}

impl Drivers for Registry {
    fn network(&self, driver: &DriverRef) -> Result<Rc<dyn NetworkDriver>, DriverError> {
        Ok(match (driver.name.as_str(), &driver.url) {
            ("bridge", None) => Rc::new(bridge(&self.dir)),
            ("null", None) => Rc::new(BareDriver::null()),
            ("host", None) => Rc::new(BareDriver::host()),
            _ => Rc::new(RemoteNetworkDriver::new(self.plugin(driver)?)),
        })
    }

    fn ipam(&self, driver: &DriverRef) -> Result<Rc<dyn IpamDriver>, DriverError> {
        Ok(match (driver.name.as_str(), &driver.url) {
            ("default", None) => Rc::new(ipam(&self.dir)),
            ("null", None) => Rc::new(NullIpam),
            _ => Rc::new(RemoteIpamDriver::new(self.plugin(driver)?)),
        })
    }
}

/// The kernel's random numbers.
#[derive(Debug)]
struct System;

impl Random for System {
    fn mac(&self) -> MacAddr {
        cni_netlink::random_mac()
    }

    fn bytes(&self) -> [u8; 32] {
        cni_netlink::random_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_are_built_in_are_no_programs() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(dir.path(), Waiting::No);
        for name in NETWORK_DRIVERS {
            registry.network(&DriverRef::named(name)).unwrap();
        }
        for name in IPAM_DRIVERS {
            registry.ipam(&DriverRef::named(name)).unwrap();
        }
        assert!(registry.plugins.borrow().is_empty());
        registry.network(&DriverRef::named("default")).unwrap();
        assert_eq!(registry.plugins.borrow().len(), 1);
    }
}
