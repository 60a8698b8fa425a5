//! Sysctls of the calling thread's namespace.

use std::fs;
use std::io;

use cni_netlink::sysctl::{self, SysctlError};
use cni_types::{CniError, IfName};
use nix::errno::Errno;

use super::Which;
use crate::config::{SysctlConf, SysctlName};
use crate::error::TuningError;
use crate::plan::{Sysctl, is_numeric, is_same_value, is_taken};
use crate::state::SavedSysctl;

/// A sysctl and the value it is to have again.
#[derive(Debug, Clone)]
pub(crate) struct SysctlValue {
    name: SysctlName,
    value: Option<String>,
}

/// Finds a sysctl of the config: of the two names that its key may mean, the first that exists.
pub(super) fn find(conf: &SysctlConf, ifname: &IfName) -> Result<Sysctl, CniError> {
    let (name, other) = conf.names(ifname);
    let found = match (look_at(&name), other) {
        (Err(missing), Some(other)) => match look_at(&other) {
            Ok(there) => Ok((other, there)),
            Err(_missing_too) => Err(missing),
        },
        (found, _) => found.map(|there| (name, there)),
    };
    let (name, there) = found.map_err(|error| in_words(&conf.key, error))?;
    let conf = conf.clone();
    Ok(Sysctl { conf, name, there })
}

/// What a sysctl has. What cannot be read can be written all the same: `net/ipv4/route/flush`, or a
/// `stable_secret` that was never set. What could be read another time cannot be put back if it is not now.
fn look_at(name: &SysctlName) -> Result<Option<String>, SysctlError> {
    match sysctl::read(&name.components()) {
        Err(error) if is_unreadable(&error) => Ok(None),
        there => there.map(Some),
    }
}

fn is_unreadable(error: &SysctlError) -> bool {
    let errno = error.io().raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EACCES | Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP)
    )
}

fn is_missing(error: &SysctlError) -> bool {
    matches!(
        error.io().kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn in_words(key: &str, error: SysctlError) -> CniError {
    let missing = is_missing(&error);
    let error = CniError::from(error).within(format_args!("sysctl {key}"));
    if missing {
        return error.and(
            "hint: no such interface, or this kernel has no such setting in a container's network \
             namespace",
        );
    }
    error
}

/// Sets all, in their order, and then looks whether one of them has changed another. Returns what
/// each has.
pub(super) fn set_all(sysctls: &[Sysctl]) -> Result<Vec<String>, CniError> {
    let has = sysctls.iter().map(set).collect::<Result<Vec<_>, _>>()?;
    for (sysctl, has) in sysctls.iter().zip(&has) {
        let found = read(&sysctl.name);
        if let Some(found) = found.filter(|found| found != has) {
            return Err(TuningError::Contradicted {
                key: sysctl.conf.key.clone(),
                value: sysctl.conf.value.clone(),
                found,
            }
            .into());
        }
    }
    Ok(has)
}

/// Sets one unless it is right already. What has been set just now can have changed it: it is read
/// anew.
fn set(sysctl: &Sysctl) -> Result<String, CniError> {
    let SysctlConf { key, value, .. } = &sysctl.conf;
    let before = read(&sysctl.name);
    if let Some(right) = before.as_ref().filter(|has| is_same_value(has, value)) {
        return Ok(right.clone());
    }
    write(&sysctl.name, value).map_err(|error| in_words(key, error))?;
    let Some(after) = read(&sysctl.name) else {
        return Ok(value.clone());
    };
    let is_as_before = before.as_ref() == Some(&after) && is_shown_as_written(&sysctl.name, value);
    if is_as_before || !is_taken(value, &after) {
        let (key, value) = (key.clone(), value.clone());
        let found = after;
        return Err(TuningError::NotTaken { key, value, found }.into());
    }
    Ok(after)
}

/// Whether the kernel shows the very value that it was given. Times in milliseconds it rounds to the
/// ticks of its clock, maybe to what was there before.
fn is_shown_as_written(name: &SysctlName, value: &str) -> bool {
    is_numeric(value) && !name.path().ends_with("_ms")
}

/// What others of the sysctls' settings have that the kernel may change along: writing `forwarding`
/// of `all`, for one, writes that of every interface.
pub(super) fn along(sysctls: &[Sysctl]) -> Vec<SavedSysctl> {
    let names = sysctls.iter().flat_map(|sysctl| {
        let directory = sysctl.name.directory_of_interfaces();
        let entries = directory.and_then(|path| fs::read_dir(path).ok());
        let interfaces = entries.into_iter().flatten().filter_map(Result::ok);
        interfaces.filter_map(|entry| sysctl.name.of_interface(entry.file_name().to_str()?))
    });
    let others = names.filter(|name| sysctls.iter().all(|sysctl| sysctl.name != *name));
    let saved = |name: SysctlName| {
        let has = Some(read(&name)?);
        let was = has.clone();
        Some(SavedSysctl { name, was, is: has })
    };
    others.filter_map(saved).collect()
}

/// The same with what they have now; whether that is news.
pub(super) fn look_again(along: &mut [SavedSysctl]) -> bool {
    let mut news = false;
    for saved in along {
        let now = read(&saved.name);
        news |= now != saved.is;
        saved.is = now;
    }
    news
}

/// What a sysctl has, if that can be read.
fn read(name: &SysctlName) -> Option<String> {
    sysctl::read(&name.components()).ok()
}

fn write(name: &SysctlName, value: &str) -> Result<(), SysctlError> {
    // Nothing written is nothing said; an empty line is an empty value.
    let value = if value.is_empty() { "\n" } else { value };
    sysctl::write(&name.components(), value)
}

/// The sysctls that are to be put back, as [`Which`] says. Those that go with an interface that is
/// gone are left out.
pub(super) fn to_put_back(saved: &[SavedSysctl], which: Which) -> Vec<SysctlValue> {
    let is_ours = |saved: &&SavedSysctl| match sysctl::read(&saved.name.components()) {
        Ok(has) => {
            let is_untouched = |is: &String| is_same_value(&has, is);
            which == Which::All || saved.is.as_ref().is_none_or(is_untouched)
        }
        Err(error) => !is_missing(&error),
    };
    let value = |saved: &SavedSysctl| SysctlValue {
        name: saved.name.clone(),
        value: saved.was.clone(),
    };
    saved.iter().filter(is_ours).map(value).collect()
}

/// Puts them back, the more general first. Everything is tried.
pub(super) fn put_back(sysctls: &[SysctlValue]) -> Vec<CniError> {
    let mut errors = Vec::new();
    for SysctlValue { name, value } in sysctls {
        let Some(value) = value else { continue };
        if read(name).as_ref() == Some(value) {
            continue;
        }
        match write(name, value) {
            Err(error) if !is_missing(&error) => errors.push(in_words(&name.path(), error)),
            _ => {}
        }
    }
    errors
}
