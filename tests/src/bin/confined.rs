//! Runs a program under a seccomp filter: `confined PROFILE REFUSED PROGRAM [ARGUMENT...]`.
//!
//! `PROFILE` is a file in the form of container runtimes, or `-` to allow everything. `REFUSED` are
//! system calls, separated by commas, that are answered as an older kernel does that does not have them
//! (ENOSYS); it may be empty.
#![expect(
    clippy::indexing_slicing,
    reason = "of JSON, where what is missing is null"
)]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc::{self, sock_filter, sock_fprog};
use serde_json::Value;
use tenon_tests::syscalls::number;

/// What a filter is asked about (`struct seccomp_data`): the call's number, and then the machine's.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const OUR_MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OUR_MACHINE: u32 = 0xc000_00b7;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ANSWER: u32 = libc::BPF_RET | libc::BPF_K;

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let mut next = |what: &'static str| words.next().context(what);
    let (profile, refused, program) = (next("no profile")?, next("no names")?, next("no program")?);
    let allowed = match profile.to_str() {
        Some("-") => None,
        _ => Some(allowed_by(&fs::read_to_string(&profile)?)?),
    };
    let refused = refused.into_string().unwrap_or_default();
    let refused: Vec<u32> = refused
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| number(name).with_context(|| format!("no number of {name} is known")))
        .collect::<Result<_>>()?;
    install(&filter(allowed.as_deref(), &refused)?)?;
    bail!(Command::new(program).args(words).exec())
}

/// The calls that a profile allows, as far as this machine has them.
fn allowed_by(text: &str) -> Result<Vec<u32>> {
    let profile: Value = serde_json::from_str(text)?;
    ensure!(
        profile["defaultAction"] == "SCMP_ACT_ERRNO",
        "another default than to refuse"
    );
    let mut allowed = Vec::new();
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        ensure!(
            rule["action"] == "SCMP_ACT_ALLOW",
            "no rule that allows: {rule}"
        );
        let names = rule["names"].as_array().into_iter().flatten();
        allowed.extend(names.filter_map(Value::as_str).filter_map(number));
    }
    Ok(allowed)
}

fn filter(allowed: Option<&[u32]>, refused: &[u32]) -> Result<Vec<sock_filter>> {
    let mut filter = vec![
        step(LOAD, MACHINE, 0, 0)?,
        step(EQUALS, OUR_MACHINE, 1, 0)?,
        step(ANSWER, libc::SECCOMP_RET_KILL_PROCESS, 0, 0)?,
        step(LOAD, NUMBER, 0, 0)?,
    ];
    let mut answer = |number: u32, answer: u32| -> Result<()> {
        filter.extend([step(EQUALS, number, 0, 1)?, step(ANSWER, answer, 0, 0)?]);
        Ok(())
    };
    for number in refused {
        answer(*number, errno(libc::ENOSYS))?;
    }
    for number in allowed.unwrap_or_default() {
        answer(*number, libc::SECCOMP_RET_ALLOW)?;
    }
    let otherwise = match allowed {
        Some(_) => errno(libc::EPERM),
        None => libc::SECCOMP_RET_ALLOW,
    };
    filter.push(step(ANSWER, otherwise, 0, 0)?);
    Ok(filter)
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> Result<sock_filter> {
    let code = u16::try_from(code)?;
    Ok(sock_filter { code, jt, jf, k })
}

#[expect(unsafe_code, reason = "nix has no seccomp(2)")]
fn install(filter: &[sock_filter]) -> Result<()> {
    let program = sock_fprog {
        len: u16::try_from(filter.len())?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its steps live until the call is over; the kernel copies and checks them.
    let outcome = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    ensure!(outcome == 0, std::io::Error::last_os_error());
    Ok(())
}
