//! One at a time, for those who look whether a shared rule is there and then have iptables make it.
//!
//! `-N` of a chain does not keep the second one from making it all again. It fails where the chain
//! was there when iptables looked; but where the ruleset changes between that look and the commit,
//! iptables looks again, passes over the `-N` of a chain that has come by now, and adds the rules
//! (`nft_refresh_transaction` of iptables' `nft.c`). Only the kernel's old tables have a lock.
//!
//! The turn is the name of an abstract socket, which goes with its process. Who waits is told by the end
//! of a connection.

use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use cni_local::meeting::{Meeting, meet};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::nfnetlink::Limit;

const NAME: &str = "tenon iptables";

/// Until it is dropped, nobody else in the network namespace has it.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "it is held, not used")] UnixListener);

impl Turn {
    /// Waits for it. Nobody is kept from his work by a turn that cannot be had: what is at stake is
    /// a rule that is there twice.
    pub(super) fn wait(limit: Limit) -> Option<Self> {
        Self::wait_for(NAME, limit)
    }

    fn wait_for(name: &str, limit: Limit) -> Option<Self> {
        loop {
            match meet(name) {
                Meeting::First(listener) => return Some(Self(listener)),
                Meeting::Ours(holder) => wait_for_end(&holder, limit.left().ok()?)?,
                Meeting::Nobody => return None,
            }
        }
    }
}

/// `None` if that takes longer.
fn wait_for_end(holder: &UnixStream, patience: Duration) -> Option<()> {
    let mut polled = [PollFd::new(holder.as_fd(), PollFlags::POLLIN)];
    // poll(2) counts whole milliseconds.
    let patience = patience + Duration::from_millis(1);
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, patience) {
        Ok(0) => None,
        Ok(_) | Err(Errno::EINTR) => Some(()),
        Err(_errno) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    fn name(of: &str) -> String {
        format!("tenon test {of} {}", std::process::id())
    }

    #[test]
    fn nobody_has_it_together_with_another() {
        const ALL: u32 = 16;
        let name = name("together");
        let (inside, seen) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..ALL {
                scope.spawn(|| {
                    let turn = Turn::wait_for(&name, Limit::within(Duration::from_secs(60)));
                    assert!(turn.is_some());
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    seen.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(seen.into_inner(), ALL);
    }

    #[test]
    fn one_that_is_never_given_back_is_not_waited_for_long() {
        let name = name("kept");
        let _kept = Turn::wait_for(&name, Limit::within(Duration::ZERO)).unwrap();
        let begin = Instant::now();
        let patience = Duration::from_millis(50);
        assert!(Turn::wait_for(&name, Limit::within(patience)).is_none());
        assert!(begin.elapsed() >= patience);
    }
}
