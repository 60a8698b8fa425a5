//! Whether links are gone, and the kernel's word that they are.
//!
//! `RTM_DELLINK` is acknowledged long after the link has gone: the kernel releases the RTNL lock and
//! then waits for all RCU callbacks (`netdev_run_todo`). Who wants to know when the link is gone asks
//! for the announcement, which is made under that lock, after the link has left the tables by which
//! it can be found (`unregister_netdevice_many_notify`). All links that one request deletes have left
//! them before the first of them is announced.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;

use crate::error::{Cause, NetlinkError, Op};
use crate::socket::{Socket, is_overrun};
use crate::wait::LINKS;

/// What is announced of links in the namespace that it was opened in. Its descriptor is readable when
/// there is something to read.
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

    /// Reads what has been announced, waiting for something if there is nothing. Tells whether a link
    /// has gone, or one may have that nobody will hear of any more (`ENOBUFS`).
    ///
    /// # Errors
    /// The socket fails.
    pub fn read(&self) -> Result<bool, NetlinkError> {
        let mut gone = false;
        let received = self.0.receive(|frame| {
            gone |= frame.kind == libc::RTM_DELLINK;
            Ok(())
        });
        match received {
            Err(cause) if is_overrun(&cause) => Ok(true),
            Err(cause) => Err(NetlinkError {
                op: Op::WaitForLink,
                subject: "that goes".to_owned(),
                cause,
            }),
            Ok(()) => Ok(gone),
        }
    }
}

impl AsFd for Departures {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
