//! What all of our tracers ask of `ptrace(2)`.

use nix::sys::ptrace::Options;

/// Stops at system calls that can be told from signals; whatever the traced process starts is traced too,
/// and ends with its tracer.
#[must_use]
pub fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL
}
