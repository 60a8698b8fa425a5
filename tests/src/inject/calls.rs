//! System calls by name, and which errors fit them.

use nix::errno::Errno;
use nix::errno::Errno::{EAGAIN, EBUSY, EINTR, EMFILE, ENOBUFS, ENOMEM, ENOSPC, EPERM, ETIMEDOUT};
use nix::libc;

/// A family of calls that fail alike.
struct Family {
    errnos: &'static [Errno],
    calls: &'static [(i64, &'static str)],
}

macro_rules! family {
    ($errnos:expr, $($name:ident = $number:ident),+) => {
        Family { errnos: &$errnos, calls: &[$((libc::$number, stringify!($name))),+] }
    };
}

/// What a plugin can meet, from the manual's pages of each call and what security modules add to them.
const FAMILIES: &[Family] = &[
    family!(
        [EPERM, ENOMEM, EINTR, EBUSY, ENOSPC],
        open = SYS_open,
        openat = SYS_openat
    ),
    family!(
        [EPERM, ENOMEM],
        access = SYS_access,
        stat = SYS_stat,
        lstat = SYS_lstat,
        fstat = SYS_fstat,
        newfstatat = SYS_newfstatat,
        statx = SYS_statx,
        readlink = SYS_readlink,
        readlinkat = SYS_readlinkat,
        getdents64 = SYS_getdents64,
        statfs = SYS_statfs,
        faccessat = SYS_faccessat,
        fstatfs = SYS_fstatfs
    ),
    family!(
        [EINTR, ENOMEM, EPERM],
        read = SYS_read,
        readv = SYS_readv,
        pread64 = SYS_pread64
    ),
    family!(
        [EPERM, EINTR, ENOMEM, EBUSY, ENOSPC],
        write = SYS_write,
        writev = SYS_writev,
        pwrite64 = SYS_pwrite64,
        ftruncate = SYS_ftruncate,
        fsync = SYS_fsync,
        fdatasync = SYS_fdatasync
    ),
    family!(
        [EPERM, ENOMEM, EBUSY, ENOSPC],
        mkdir = SYS_mkdir,
        mkdirat = SYS_mkdirat,
        link = SYS_link,
        linkat = SYS_linkat,
        symlink = SYS_symlink,
        rename = SYS_rename,
        renameat = SYS_renameat,
        renameat2 = SYS_renameat2,
        unlink = SYS_unlink,
        unlinkat = SYS_unlinkat,
        rmdir = SYS_rmdir,
        mount = SYS_mount,
        umount2 = SYS_umount2
    ),
    family!(
        [EPERM, ENOMEM],
        chmod = SYS_chmod,
        fchmod = SYS_fchmod,
        fchmodat = SYS_fchmodat,
        fchown = SYS_fchown,
        utimensat = SYS_utimensat
    ),
    family!([EINTR, EAGAIN, ENOMEM], flock = SYS_flock),
    family!([ENOMEM, EMFILE], fcntl = SYS_fcntl),
    family!([EPERM, ENOMEM, EBUSY], ioctl = SYS_ioctl),
    family!(
        [EPERM, ENOMEM, ENOBUFS],
        socket = SYS_socket,
        socketpair = SYS_socketpair
    ),
    family!(
        [EPERM, ENOMEM],
        setsockopt = SYS_setsockopt,
        getsockopt = SYS_getsockopt,
        getsockname = SYS_getsockname,
        listen = SYS_listen
    ),
    family!([EPERM, ENOMEM, EAGAIN], bind = SYS_bind),
    family!([EPERM, EINTR, EAGAIN, ETIMEDOUT], connect = SYS_connect),
    family!(
        [EPERM, EINTR, EAGAIN, ENOMEM, ENOBUFS],
        accept = SYS_accept,
        accept4 = SYS_accept4
    ),
    family!(
        [EPERM, EINTR, EAGAIN, ENOMEM, ENOBUFS],
        sendto = SYS_sendto,
        sendmsg = SYS_sendmsg
    ),
    family!(
        [EINTR, EAGAIN, ENOMEM, ENOBUFS],
        recvfrom = SYS_recvfrom,
        recvmsg = SYS_recvmsg
    ),
    family!(
        [EPERM, ENOMEM, ENOSPC],
        setns = SYS_setns,
        unshare = SYS_unshare
    ),
    family!(
        [EAGAIN, ENOMEM, EPERM],
        fork = SYS_fork,
        vfork = SYS_vfork,
        clone = SYS_clone,
        clone3 = SYS_clone3,
        execve = SYS_execve
    ),
    family!(
        [EINTR],
        wait4 = SYS_wait4,
        waitid = SYS_waitid,
        close = SYS_close
    ),
    family!(
        [EINTR, ENOMEM],
        poll = SYS_poll,
        ppoll = SYS_ppoll,
        epoll_wait = SYS_epoll_wait,
        epoll_pwait = SYS_epoll_pwait
    ),
    family!(
        [ENOMEM, EMFILE],
        pipe = SYS_pipe,
        pipe2 = SYS_pipe2,
        eventfd2 = SYS_eventfd2,
        epoll_create1 = SYS_epoll_create1,
        pidfd_open = SYS_pidfd_open,
        timerfd_create = SYS_timerfd_create,
        timerfd_settime = SYS_timerfd_settime,
        dup = SYS_dup
    ),
    family!([ENOMEM, ENOSPC], epoll_ctl = SYS_epoll_ctl),
    family!([EINTR, EBUSY], dup2 = SYS_dup2, dup3 = SYS_dup3),
    family!([EINTR, EAGAIN], futex = SYS_futex),
    family!(
        [EPERM],
        kill = SYS_kill,
        setsid = SYS_setsid,
        setpgid = SYS_setpgid,
        prctl = SYS_prctl
    ),
    family!(
        [EPERM, ENOMEM],
        close_range = SYS_close_range,
        membarrier = SYS_membarrier
    ),
    family!(
        [ENOMEM],
        mmap = SYS_mmap,
        brk = SYS_brk,
        mremap = SYS_mremap,
        munmap = SYS_munmap,
        mprotect = SYS_mprotect,
        madvise = SYS_madvise
    ),
    // What cannot fail, or only by a mistake in the program: up to 256 random bytes are always there.
    family!(
        [],
        exit = SYS_exit,
        exit_group = SYS_exit_group,
        arch_prctl = SYS_arch_prctl,
        getrandom = SYS_getrandom,
        set_tid_address = SYS_set_tid_address,
        set_robust_list = SYS_set_robust_list,
        rseq = SYS_rseq,
        rt_sigaction = SYS_rt_sigaction,
        rt_sigprocmask = SYS_rt_sigprocmask,
        rt_sigreturn = SYS_rt_sigreturn,
        sigaltstack = SYS_sigaltstack,
        getpid = SYS_getpid,
        gettid = SYS_gettid,
        getuid = SYS_getuid,
        geteuid = SYS_geteuid,
        getgid = SYS_getgid,
        getegid = SYS_getegid,
        getppid = SYS_getppid,
        lseek = SYS_lseek,
        umask = SYS_umask,
        sched_yield = SYS_sched_yield,
        uname = SYS_uname,
        clock_gettime = SYS_clock_gettime,
        clock_nanosleep = SYS_clock_nanosleep,
        chdir = SYS_chdir,
        sched_getaffinity = SYS_sched_getaffinity,
        prlimit64 = SYS_prlimit64,
        restart_syscall = SYS_restart_syscall,
        tkill = SYS_tkill,
        tgkill = SYS_tgkill,
        capget = SYS_capget,
        shutdown = SYS_shutdown
    ),
];

fn find(number: i64) -> (&'static Family, &'static str) {
    let all = FAMILIES.iter();
    let mut all = all.flat_map(|family| family.calls.iter().map(move |call| (family, call)));
    let Some((family, (_, name))) = all.find(|(_, (known, _))| *known == number) else {
        panic!("no fault is known for system call {number}");
    };
    (family, *name)
}

/// Its name.
pub(super) fn name(number: i64) -> &'static str {
    find(number).1
}

/// The errors that it can give with these arguments.
pub(super) fn errnos(number: i64, arguments: &[u64; 6]) -> &'static [Errno] {
    // To read or set flags needs nothing that could be missing.
    let duplicates =
        [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].map(|command| u64::try_from(command).unwrap());
    if number == libc::SYS_fcntl && !duplicates.contains(&arguments[1]) {
        return &[];
    }
    find(number).0.errnos
}

/// Whether it waits for something.
pub(super) fn waits(number: i64) -> bool {
    const WAITING: [i64; 12] = [
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendto,
        libc::SYS_accept4,
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_futex,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_close,
    ];
    WAITING.contains(&number)
}

/// Whether it asks for memory, without which nothing goes on.
pub(super) fn is_of_memory(number: i64) -> bool {
    find(number).0.errnos == [ENOMEM]
}
