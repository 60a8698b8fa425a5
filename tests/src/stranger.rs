//! A process of a user with no privileges, on the host: what it can take, hold and occupy.

use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// The user, and its group: Debian's `nobody`.
pub const UID: u32 = 65534;

/// Runs `f` in the calling thread's namespaces as a user that owns nothing and may do nothing.
pub fn as_stranger<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            become_stranger();
            f()
        });
        let ended = stranger.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The C library would do it for all threads of the process.
#[expect(unsafe_code, reason = "only the kernel knows users of single threads")]
fn become_stranger() {
    // SAFETY: the calls take numbers, and a pointer that is not looked at for a length of zero.
    let outcomes = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            libc::syscall(libc::SYS_setresgid, UID, UID, UID),
            libc::syscall(libc::SYS_setresuid, UID, UID, UID),
        ]
    };
    assert_eq!(outcomes, [0; 3], "{}", io::Error::last_os_error());
}

/// What a stranger makes of a name of abstract sockets.
#[derive(Debug, Clone, Copy)]
pub enum Occupation {
    /// Listens, has callers enough already, and answers none: the next one would wait for ever.
    Crowded,
    /// Listens, and says nothing.
    Silent,
    /// Does not listen.
    Deaf,
    /// Is no stream.
    Datagrams,
}

impl Occupation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crowded, Self::Silent, Self::Deaf, Self::Datagrams];

    /// Takes the name, in the calling thread's network, until what is returned is dropped.
    pub fn take(self, name: &str) -> Vec<OwnedFd> {
        as_stranger(|| {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            match self {
                Self::Crowded => crowd(name),
                Self::Silent => vec![UnixListener::bind_addr(&address).unwrap().into()],
                Self::Deaf => vec![bound(name)],
                Self::Datagrams => vec![UnixDatagram::bind_addr(&address).unwrap().into()],
            }
        })
    }
}

fn stream() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap()
}

fn bound(name: &str) -> OwnedFd {
    let socket = stream();
    bind(
        socket.as_raw_fd(),
        &UnixAddr::new_abstract(name.as_bytes()).unwrap(),
    )
    .unwrap();
    socket
}

fn crowd(name: &str) -> Vec<OwnedFd> {
    let listener = bound(name);
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    let mut held = vec![listener];
    loop {
        let caller = stream();
        if connect(caller.as_raw_fd(), &address).is_err() {
            return held;
        }
        held.push(caller);
    }
}

/// Takes an exclusive flock(2) on what a stranger can open, until what is returned is dropped; `None` if
/// it cannot be opened.
pub fn hold_lock(path: &Path) -> Option<File> {
    as_stranger(|| {
        let file = File::open(path).ok()?;
        file.try_lock()
            .unwrap_or_else(|error| panic!("lock {}: {error}", path.display()));
        Some(file)
    })
}

/// The names of the abstract sockets in the calling thread's network, which everybody may read.
pub fn abstract_names() -> Vec<String> {
    let table = as_stranger(|| std::fs::read_to_string("/proc/thread-self/net/unix").unwrap());
    let names = table.lines().filter_map(|line| line.split_once(" @"));
    names.map(|(_, name)| name.to_owned()).collect()
}
