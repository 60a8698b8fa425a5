//! STATUS: would an ADD find the backend that it needs?

use cni_firewall::Nft;
use cni_firewall::iptables::{self, Family};
use cni_plugin::Request;
use cni_types::CniError;

use crate::backend::Backend;
use crate::config::{Choice, FirewallConfig};
use crate::error::FirewallError;

/// Looks for the backend that the config names; without one, there is always one left.
pub(crate) fn status(request: &Request) -> Result<(), CniError> {
    let config = FirewallConfig::load(request)?;
    let missing = |backend, what| FirewallError::Unavailable { backend, what };
    match config.backend {
        Choice::Iptables if !Family::ALL.into_iter().all(Family::is_installed) => Err(missing(
            "iptables",
            "iptables and ip6tables are not installed",
        ))?,
        Choice::Firewalld => {
            let backend = Backend::choose(&config);
            let not_running = || missing("firewalld", "firewalld is not running");
            let firewalld = backend.ok().and_then(|backend| backend.firewalld);
            let firewalld = firewalld.ok_or_else(not_running)?;
            if !firewalld.is_running().unwrap_or_default() {
                Err(not_running())?;
            }
            Ok(())
        }
        Choice::Nftables => Nft::open()
            .and_then(|mut nft| nft.probe())
            .map_err(CniError::not_available),
        Choice::Iptables => Nft::open()
            .and_then(|nft| iptables::probe(&nft))
            .map_err(CniError::not_available),
        Choice::Whatever => Ok(()),
    }
}
