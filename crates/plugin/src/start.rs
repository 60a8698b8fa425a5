//! From the kernel to [`main`](crate::main()), without what std does on the way for other programs.
//!
//! Before `main`, std's start-up reads `/proc/self/maps` to find the guard page of the stack, makes an
//! alternative stack and two signal handlers to say "stack overflow" in words, and asks for the
//! processors of the main thread: twenty system calls, of which a program that lives for a millisecond
//! needs two. Those two are here.

use std::ffi::{CStr, c_char, c_int};
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::Plugin;
use crate::skeleton::{serve_environment, tell_version};

/// Makes a plugin's `main`. The file says `#![cfg_attr(not(test), no_main)]` at its top.
#[macro_export]
macro_rules! entry {
    ($plugin:expr) => {
        // A test's main is its harness; this one is what uses the plugin.
        #[cfg(test)]
        fn main() -> ::std::process::ExitCode {
            $crate::main(&$plugin)
        }

        #[cfg(not(test))]
        #[global_allocator]
        static MEMORY: $crate::arena::Arena<{ $crate::arena::PLUGIN }> =
            $crate::arena::Arena::new();

        #[cfg(not(test))]
        #[expect(unsafe_code, reason = "the C library calls main by its name")]
        // SAFETY: this is C's main, and there is no other.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: ::std::ffi::c_int,
            arguments: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: these are main's own arguments.
            unsafe { $crate::start::start(&$plugin, count, arguments) }
        }
    };
}

/// Serves one request, and returns the process's exit code.
///
/// # Safety
/// `count` and `arguments` are those of C's `main`.
#[expect(unsafe_code, reason = "C's main gets pointers")]
pub unsafe fn start<P: Plugin>(plugin: &P, count: c_int, arguments: *const *const c_char) -> c_int {
    fill_standard_streams();
    // A closed stdout is an error that fails the ADD and undoes it, not the end of the process.
    // SAFETY: no handler is installed, and no other thread runs.
    let _kept = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let first = (count > 1).then(|| {
        // SAFETY: they are pointers to strings that live as long as the process.
        unsafe { CStr::from_ptr(*arguments.add(1)) }
    });
    let code = match first.map(CStr::to_bytes) {
        Some(b"--version" | b"-V") => tell_version::<P>(),
        _ => serve_environment(plugin),
    };
    c_int::from(code != ExitCode::SUCCESS)
}

/// Opens `/dev/null` in place of a closed stdin, stdout or stderr, lest a socket or a lease gets its
/// number, and somebody's words.
#[expect(
    unsafe_code,
    reason = "a descriptor that may be closed has no safe type"
)]
fn fill_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the array has three elements; polling with no events and no time only looks.
    let ready = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    if ready <= 0 {
        return;
    }
    for _closed in streams
        .iter()
        .filter(|stream| stream.revents & libc::POLLNVAL != 0)
    {
        // SAFETY: the path is a string; the new descriptor is the lowest that is free, which is this one,
        // and stays open for as long as the process lives.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
}
