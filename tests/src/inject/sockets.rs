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
    /// A process has made a call with these arguments that gave `value`.
    pub(super) fn follow(&mut self, pid: Pid, number: i64, arguments: &[u64; 6], value: i64) {
        let [first, last, ..] = *arguments;
        match number {
            libc::SYS_socket => self.opened(pid, arguments, value),
            libc::SYS_close => self.closed(pid, first, first),
            libc::SYS_close_range => self.closed(pid, first, last),
            _ => {}
        }
    }

    fn opened(&mut self, pid: Pid, arguments: &[u64; 6], descriptor: i64) {
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

    fn closed(&mut self, pid: Pid, first: u64, last: u64) {
        self.0
            .retain(|(of, fd), _| *of != pid || !(first..=last).contains(fd));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_what_it_has_not_closed() {
        let [parent, child] = [1, 2].map(Pid::from_raw);
        let mut sockets = Sockets::default();
        let netlink = u64::try_from(libc::AF_NETLINK).unwrap();
        let filter = u64::try_from(libc::NETLINK_NETFILTER).unwrap();
        for fd in 3..8 {
            sockets.opened(parent, &[netlink, 0, filter, 0, 0, 0], fd);
        }
        sockets.inherited(parent, child);
        sockets.closed(child, 3, 4);
        sockets.closed(child, 6, u64::MAX);
        let has = |pid| (3..8).filter(|fd| sockets.find(pid, *fd).is_some()).count();
        assert_eq!((has(parent), has(child)), (5, 1));
    }
}
