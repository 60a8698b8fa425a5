//! Which packet filter serves this host.

use cni_firewall::forward::Keeper;
use cni_firewall::iptables::Family;

use crate::config::{Choice, FirewallConfig};
use crate::error::FirewallError;
use crate::firewalld::Firewalld;

/// The one that was chosen.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) keeper: Keeper,
    /// There with [`Keeper::Firewalld`].
    pub(crate) firewalld: Option<Firewalld>,
}

impl Backend {
    /// The one that the config names, or else the first that there is: firewalld if its name is owned
    /// on the system's bus, iptables if it is installed, and then `nf_tables`.
    pub(crate) fn choose(config: &FirewallConfig) -> Result<Self, FirewallError> {
        let admin = || config.admin_chain.clone();
        let alone = |keeper| Self {
            keeper,
            firewalld: None,
        };
        let with = |firewalld| Self {
            keeper: Keeper::Firewalld,
            firewalld: Some(firewalld),
        };
        Ok(match config.backend {
            Choice::Nftables => alone(Keeper::Nftables(admin())),
            Choice::Iptables => alone(Keeper::Iptables(admin())),
            Choice::Firewalld => with(Firewalld::connect()?),
            Choice::Whatever => match Firewalld::if_running() {
                Some(firewalld) => with(firewalld),
                None if has_iptables() => alone(Keeper::Iptables(admin())),
                None => alone(Keeper::Nftables(admin())),
            },
        })
    }
}

pub(crate) fn has_iptables() -> bool {
    Family::ALL.into_iter().any(Family::is_installed)
}
