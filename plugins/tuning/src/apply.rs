//! The container's side: reading, changing and putting back.

pub(crate) mod sysctl;

use std::net::IpAddr;
use std::rc::Rc;

use cni_netlink::{
    Link, LinkId, NetNs, NetNsError, NetNsSocketError, NetlinkError, Socket, advertise,
};
use cni_plugin::{AttachmentRequest, DelRequest, remark};
use cni_types::{CniError, CniResult, IfName, MacAddr};

use self::sysctl::SysctlValue;
use crate::config::SysctlConf;
use crate::plan::{LinkValues, Sysctl};
use crate::state::{SavedSysctl, State};

/// The container's namespace.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    netns: NetNs,
    socket: Rc<Socket>,
}

/// Which sysctls are put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// All: nobody can have changed them since.
    All,
    /// Those that still have what ADD gave them: another value is somebody else's.
    Untouched,
}

impl Inside {
    /// Opens the container's namespace.
    pub(crate) fn open(request: &AttachmentRequest) -> Result<Self, NetNsSocketError> {
        Self::of(NetNs::open(&request.netns)?.only(request.netns_id)?)
    }

    /// Opens the container's namespace if there is one.
    pub(crate) fn open_if_there(request: &DelRequest) -> Result<Option<Self>, NetNsSocketError> {
        let there = match &request.netns {
            Some(path) => NetNs::open_if_there(path)?,
            None => None,
        };
        let open = |netns: NetNs| Self::of(netns.only(request.netns_id)?);
        there.map(open).transpose()
    }

    fn of(netns: NetNs) -> Result<Self, NetNsSocketError> {
        let socket = Rc::new(netns.socket()?);
        Ok(Self { netns, socket })
    }

    /// The interface, if it is there.
    pub(crate) fn find_link(&self, ifname: &IfName) -> Result<Option<Link>, NetlinkError> {
        self.socket.find_link(ifname)
    }

    /// Finds the sysctls of a config.
    pub(crate) fn find_sysctls(
        &self,
        confs: &[SysctlConf],
        ifname: &IfName,
    ) -> Result<Vec<Sysctl>, CniError> {
        let find = || {
            confs
                .iter()
                .map(|conf| sysctl::find(conf, ifname))
                .collect()
        };
        self.netns.run(find)?
    }

    /// Gives the interface its values, in one send.
    pub(crate) fn set_link(&self, link: &LinkId, values: &LinkValues) -> Result<(), NetlinkError> {
        Ok(self.socket.send_all(&values.changes(link))?)
    }

    /// Sets the sysctls and returns what each of them has then.
    pub(crate) fn set_sysctls(&self, sysctls: &[Sysctl]) -> Result<Vec<String>, CniError> {
        self.netns.run(|| sysctl::set_all(sysctls))?
    }

    /// Other sysctls that may change when these are set, as they are.
    pub(crate) fn along(&self, sysctls: &[Sysctl]) -> Result<Vec<SavedSysctl>, NetNsError> {
        let is_general = |sysctl: &Sysctl| sysctl.name.directory_of_interfaces().is_some();
        if !sysctls.iter().any(is_general) {
            return Ok(Vec::new());
        }
        self.netns.run(|| sysctl::along(sysctls))
    }

    /// The same with what they have now; whether that is news.
    pub(crate) fn look_again(&self, along: &mut [SavedSysctl]) -> Result<bool, NetNsError> {
        if along.is_empty() {
            return Ok(false);
        }
        self.netns.run(|| sysctl::look_again(along))
    }

    /// Whether everything that was set is still there.
    pub(crate) fn holds(&self, state: &State, link: Option<&Link>) -> Result<bool, NetNsError> {
        let has = link.map(LinkValues::of).unwrap_or_default();
        if !state.set.differing_from(&has).is_empty() {
            return Ok(false);
        }
        let untouched = self.sysctls_to_put_back(&state.sysctls, Which::Untouched)?;
        Ok(untouched.len() == state.sysctls.len())
    }

    /// Puts back what a state file keeps. Everything is tried; what is gone needs nothing.
    pub(crate) fn put_back(
        &self,
        ifname: &IfName,
        state: &State,
        which: Which,
    ) -> Result<Vec<CniError>, CniError> {
        // Before the link is changed: the kernel changes sysctls of a link along with it.
        let sysctls = self.sysctls_to_put_back(&state.sysctls, which)?;
        let mut errors = Vec::new();
        if let Some(link) = self.find_link(ifname)? {
            let changed = state.was.differing_from(&LinkValues::of(&link));
            let outcomes = self.socket.send_each(&changed.changes(&link.id()));
            let refused = outcomes.into_iter().filter_map(Result::err);
            errors.extend(refused.filter(|error| !error.is_gone()).map(CniError::from));
        }
        errors.extend(self.netns.run(|| sysctl::put_back(&sysctls))?);
        Ok(errors)
    }

    fn sysctls_to_put_back(
        &self,
        saved: &[SavedSysctl],
        which: Which,
    ) -> Result<Vec<SysctlValue>, NetNsError> {
        if saved.is_empty() {
            return Ok(Vec::new());
        }
        self.netns.run(|| sysctl::to_put_back(saved, which))
    }

    /// Tells the neighbours of IPv6 addresses that they have another hardware address now. Those of
    /// IPv4 addresses hear it from the kernel, if `arp_notify` is on, as `bridge` sets it.
    ///
    /// Nothing depends on it: neighbours find out in the end.
    pub(crate) fn announce(&self, link: &Link, mac: MacAddr, result: &CniResult) {
        let of_link = |index: Option<usize>| {
            index.is_none_or(|index| {
                let interface = result.interfaces.get(index);
                interface.is_some_and(|interface| interface.name == link.name)
            })
        };
        let ours = result.ips.iter().filter(|ip| of_link(ip.interface));
        let addresses: Vec<IpAddr> = ours
            .map(|ip| ip.address.addr())
            .filter(IpAddr::is_ipv6)
            .collect();
        if addresses.is_empty() || !link.is_up() {
            return;
        }
        match self.netns.run(|| advertise(&link.id(), mac, &addresses)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => remark(CniError::from(error)),
            Err(error) => remark(CniError::from(error)),
        }
    }
}
