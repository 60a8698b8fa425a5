//! Whether links are gone, and the kernel's word that they are.
//!
//! `RTM_DELLINK` is acknowledged long after the link has gone: the kernel releases the RTNL lock and
//! then waits for all RCU callbacks (`netdev_run_todo`). Who wants to know when the link is gone asks
//! for the announcement, which is made under that lock, after the link has left the tables by which
//! it can be found (`unregister_netdevice_many_notify`). All links that one request deletes have left
//! them before the first of them is announced.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Cause, NetlinkError, Op};
use crate::link::LinkId;
use crate::socket::{Socket, is_overrun};
use crate::wait::LINKS;

/// What is announced of links in the namespace that it was opened in.
#[derive(Debug)]
pub struct Departures(Socket);

impl Socket {
    /// Whether there is a link with that index. Unlike a request for the link, the question does not
    /// wait for the RTNL lock (`dev_ifname`), which a deletion holds for long.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn has_link(&self, index: u32) -> io::Result<bool> {
        let index = libc::c_int::try_from(index).map_err(io::Error::other)?;
        let mut asked = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_ifindex: index,
            },
        };
        // SAFETY: the request reads the index out of the structure and writes the name into it; both
        // fit, since the structure is the one it is defined with.
        #[expect(unsafe_code, reason = "nix has no wrapper of this request")]
        let outcome =
            unsafe { libc::ioctl(self.as_fd().as_raw_fd(), libc::SIOCGIFNAME, &raw mut asked) };
        if outcome == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            error => Err(error),
        }
    }
}

impl Departures {
    /// Listens in the calling thread's namespace from now on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::listen(LINKS)
            .map(Self)
            .map_err(|error| NetlinkError {
                op: Op::Subscribe,
                subject: "links that go".to_owned(),
                cause: Cause::io(error),
            })
    }

    /// Waits until the link, which the socket `of` its namespace sees, is gone; or until `worker`, the
    /// one that is to delete it, is ready. Tells whether it is gone.
    ///
    /// # Errors
    /// The deadline passes, or the kernel does not tell.
    pub fn wait_gone(
        &self,
        of: &Socket,
        link: &LinkId,
        worker: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<bool, NetlinkError> {
        let failed = |cause| NetlinkError {
            op: Op::WaitForLink,
            subject: format!("{link} to go"),
            cause,
        };
        let is_gone = || {
            of.has_link(link.index)
                .map(|there| !there)
                .map_err(Cause::io)
        };
        loop {
            let [announced, ended] = self.poll(worker, deadline).map_err(failed)?;
            let told = announced && self.read().map_err(failed)?;
            if ended || (told && is_gone().map_err(failed)?) {
                return is_gone().map_err(failed);
            }
        }
    }

    /// Which of both is ready.
    fn poll(&self, worker: BorrowedFd<'_>, deadline: Instant) -> Result<[bool; 2], Cause> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [self.0.as_fd(), worker].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, timeout) {
            Ok(0) => Err(Cause::Timeout),
            Err(errno) if errno != Errno::EINTR => Err(Cause::io(errno.into())),
            Err(_interrupted) => Ok([false; 2]),
            Ok(_some) => Ok(polled.map(|one| one.any().unwrap_or(true))),
        }
    }

    /// Reads what has been announced: whether a link has gone, or one may have that nobody will hear of
    /// any more (`ENOBUFS`).
    fn read(&self) -> Result<bool, Cause> {
        let mut gone = false;
        let received = self.0.receive(|frame| {
            gone |= frame.kind == libc::RTM_DELLINK;
            Ok(())
        });
        match received {
            Err(cause) if is_overrun(&cause) => Ok(true),
            other => other.map(|()| gone),
        }
    }
}
