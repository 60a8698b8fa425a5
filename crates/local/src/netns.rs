//! The network namespace that a process or a socket is in, as a file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _};
use std::os::unix::net::UnixDatagram;

use nix::libc;

/// The same by path. Not `/proc/self`: that is the namespace of the main thread.
pub const PATH: &str = "/proc/thread-self/ns/net";

/// The calling thread's namespace, as the one of a socket that is made in it. Its path leads through
/// `/proc`, where the kernel makes what belongs to a new process when it is first looked for: twenty
/// times as long.
///
/// # Errors
/// No descriptor is left, say.
pub fn current() -> io::Result<File> {
    of_socket(&UnixDatagram::unbound()?).or_else(|_refused| File::open(PATH))
}

/// The namespace that a socket was made in (`SIOCGSKNS` of `linux/sockios.h`, Linux 4.10).
///
/// # Errors
/// The kernel is older, or refuses: it wants `CAP_NET_ADMIN`.
pub fn of_socket(socket: &impl AsRawFd) -> io::Result<File> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument and answers with a new descriptor, or -1.
    #[expect(unsafe_code, reason = "nix has no wrapper of this request")]
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    #[expect(
        unsafe_code,
        reason = "the only way to own a descriptor that is a number"
    )]
    let file = unsafe { File::from_raw_fd(fd) };
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn both_ways_lead_to_the_same() {
        let identity = |file: File| {
            let file = file.metadata().unwrap();
            (file.dev(), file.ino())
        };
        assert_eq!(
            identity(current().unwrap()),
            identity(File::open(PATH).unwrap())
        );
    }
}
