//! Which descriptors of which process are netlink sockets.

use std::collections::BTreeMap;

use nix::libc;
use nix::unistd::Pid;

/// A family of netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Route,
    Netfilter,
}

#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<(Pid, u64), Family>);

impl Sockets {
    /// `socket(2)` with these arguments gave a descriptor.
    pub(super) fn opened(&mut self, pid: Pid, arguments: &[u64; 6], descriptor: i64) {
        let Ok(descriptor) = u64::try_from(descriptor) else {
            return;
        };
        self.0.remove(&(pid, descriptor));
        let [domain, _, protocol, ..] = *arguments;
        if domain != u64::try_from(libc::AF_NETLINK).unwrap() {
            return;
        }
        let family = match i32::try_from(protocol) {
            Ok(libc::NETLINK_ROUTE) => Family::Route,
            Ok(libc::NETLINK_NETFILTER) => Family::Netfilter,
            _ => return,
        };
        self.0.insert((pid, descriptor), family);
    }

    pub(super) fn closed(&mut self, pid: Pid, descriptor: u64) {
        self.0.remove(&(pid, descriptor));
    }

    /// All are closed: another program is executed.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.0.retain(|(of, _), _| *of != pid);
    }

    /// A child has what its parent has.
    pub(super) fn inherited(&mut self, parent: Pid, child: Pid) {
        let own = self.0.iter().filter(|((pid, _), _)| *pid == parent);
        let own: Vec<_> = own
            .map(|((_, fd), family)| ((child, *fd), *family))
            .collect();
        self.0.extend(own);
    }

    pub(super) fn find(&self, pid: Pid, descriptor: u64) -> Option<Family> {
        self.0.get(&(pid, descriptor)).copied()
    }
}
