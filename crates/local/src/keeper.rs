//! Descriptors that take long to close, handed to a process of ours that has the time.
//!
//! The kernel closes a descriptor for good with its last copy, and whoever closes that one waits. A copy that
//! goes over a socket (`SCM_RIGHTS` of `unix(7)`) is one that the keeper closes, received or not.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::meeting::{bind, call, callers, is_ours};

/// How many descriptors are handed over at once.
const AT_ONCE: usize = 16;

/// Who takes descriptors at a name.
#[derive(Debug)]
pub struct Keeper {
    listener: UnixListener,
    kept: Vec<OwnedFd>,
}

impl Keeper {
    /// Takes the name; `None` where somebody has it.
    #[must_use]
    pub fn begin(name: &str) -> Option<Self> {
        let listener = bind(name).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some(Self {
            listener,
            kept: Vec::new(),
        })
    }

    /// The descriptor that callers come to.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Takes what has been handed over by now, and keeps it until it is dropped.
    pub fn take(&mut self) {
        let given = callers(&self.listener).flat_map(|stream| receive(&stream));
        self.kept.extend(given);
    }
}

/// Hands copies of descriptors to who keeps such. `false`: nobody of ours does.
#[must_use]
pub fn hand_over(name: &str, descriptors: &[RawFd]) -> bool {
    if descriptors.len() > AT_ONCE {
        return false;
    }
    let Some(stream) = call(name).ok().filter(is_ours) else {
        return false;
    };
    let rights = [ControlMessage::ScmRights(descriptors)];
    // There has to be a byte that they go with.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &rights,
        flags,
        None,
    )
    .is_ok()
}

/// What a caller has handed over; nothing if that is still to come.
fn receive(stream: &UnixStream) -> Vec<OwnedFd> {
    let mut space = cmsg_space!([RawFd; AT_ONCE]);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let Ok(message) = recvmsg::<()>(stream.as_raw_fd(), &mut bytes, Some(&mut space), flags) else {
        return Vec::new();
    };
    let rights = message.cmsgs().into_iter().flatten();
    let descriptors = rights.flat_map(|one| match one {
        ControlMessageOwned::ScmRights(descriptors) => descriptors,
        _other => Vec::new(),
    });
    #[expect(
        unsafe_code,
        reason = "the only way to own a descriptor that is a number"
    )]
    // SAFETY: the kernel has just given us these, and nobody else knows of them.
    let owned = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
    descriptors.map(owned).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};

    use super::*;

    fn name(of: &str) -> String {
        format!("tenon keeper test {of} {}", std::process::id())
    }

    #[test]
    fn what_is_handed_over_stays_open_until_the_keeper_goes() {
        let name = name("open");
        let (mut reader, writer) = io::pipe().unwrap();
        assert!(!hand_over(&name, &[writer.as_raw_fd()]));
        let mut keeper = Keeper::begin(&name).unwrap();
        assert!(Keeper::begin(&name).is_none());
        assert!(hand_over(&name, &[writer.as_raw_fd()]));
        drop(writer);
        keeper.take();
        assert_eq!(keeper.kept.len(), 1);
        keeper.take();
        let mut end = [0];
        drop(keeper);
        assert_eq!(reader.read(&mut end).unwrap(), 0);
    }

    #[test]
    fn what_nobody_has_taken_goes_with_the_keeper() {
        let name = name("unread");
        let (mut reader, writer) = io::pipe().unwrap();
        let keeper = Keeper::begin(&name).unwrap();
        assert!(hand_over(&name, &[writer.as_raw_fd()]));
        drop(writer);
        drop(keeper);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn who_calls_and_gives_nothing_is_not_waited_for() {
        let name = name("silent");
        let mut keeper = Keeper::begin(&name).unwrap();
        let _silent = call(&name).unwrap();
        keeper.take();
        assert!(keeper.kept.is_empty());
        assert!(!hand_over(&name, &[0; AT_ONCE + 1]));
    }
}
