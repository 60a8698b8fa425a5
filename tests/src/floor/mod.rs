//! The floor of an ADD: what the kernel has to be asked for at least until a container has its link,
//! its address and its default route. No plugin can do with less, whatever it is written in.
//!
//! Nothing is looked up, since the caller knows it, and nothing is allocated but the messages: one for
//! the veth pair, with both ends where they belong, and one send of three for the container's side.

mod message;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// What one container gets.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// The container's network namespace.
    pub netns: &'a Path,
    /// The index of the bridge, in the namespace of the caller.
    pub bridge: u32,
    /// The index that the host's end gets, `veth<index>`; nobody else's.
    pub index: u32,
    /// Of `eth0`.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, in bits.
    pub prefix: u8,
    /// Where the default route leads.
    pub gateway: Ipv4Addr,
}

/// Makes the link, the address and the route; the calling thread is in the host's namespace before
/// and after.
///
/// # Errors
/// When a namespace or a socket cannot be opened, or the kernel refuses a message.
pub fn attach(wanted: &Attachment<'_>) -> io::Result<()> {
    let host = File::open("/proc/thread-self/ns/net")?;
    let container = File::open(wanted.netns)?;
    // A socket belongs to the namespace in which it was made.
    enter(&container)?;
    let inside = open_socket();
    enter(&host)?;
    let (inside, outside) = (inside?, open_socket()?);
    // A send returns when the kernel has done what it says; its answer only has to be fetched.
    say(&outside, &message::link(wanted, container.as_raw_fd()))?;
    hear(&outside)?;
    say(&inside, &message::container(wanted))?;
    hear(&inside)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the floor is not the product, whose wrapper it does without"
)]
fn enter(namespace: &File) -> io::Result<()> {
    Ok(nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

fn open_socket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?)
}

fn say(socket: &impl AsFd, messages: &[u8]) -> io::Result<()> {
    send(socket.as_fd().as_raw_fd(), messages, MsgFlags::empty())?;
    Ok(())
}

/// Waits for the acknowledgement of the last message; an error may come before.
fn hear(socket: &impl AsFd) -> io::Result<()> {
    let mut answer = [0; 1024];
    loop {
        let length = recv(socket.as_fd().as_raw_fd(), &mut answer, MsgFlags::empty())?;
        match message::errno(answer.get(..length).unwrap_or_default()) {
            Some(0) => return Ok(()),
            Some(errno) => return Err(Errno::from_raw(errno).into()),
            None => {}
        }
    }
}
