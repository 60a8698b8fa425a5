//! Kernel settings below `/proc/sys`.
//!
//! A setting is named by path components, never by a dotted name: interface names may have dots.
//! What is below `net/` belongs to the namespace of the calling thread.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use nix::libc;

use crate::ns::OsError;

/// A setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {verb} {}", path.display())]
pub struct SysctlError {
    /// `read`, or `write VALUE to`.
    verb: String,
    /// The file.
    path: PathBuf,
    /// Why.
    #[source]
    source: OsError,
}

impl SysctlError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the operating system said.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        &self.source.0
    }

    /// The kernel has no such setting, or the interface it belongs to is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.io().kind() == io::ErrorKind::NotFound
    }

    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.io().raw_os_error()? {
            libc::EROFS => {
                Some("/proc/sys is mounted read-only: set it on the host, or remount it")
            }
            libc::EACCES | libc::EPERM => {
                Some("it is read-only in this network namespace, or writing it needs root there")
            }
            _ => None,
        }
    }
}

/// The file of a setting: `["net", "ipv4", "ip_forward"]`.
fn file(components: &[&str]) -> io::Result<PathBuf> {
    let mut path = PathBuf::from("/proc/sys");
    for component in components {
        let one = Path::new(component);
        let mut parts = one.components();
        // Nothing may lead elsewhere: no "..", no "/", nothing empty.
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == one.as_os_str())
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{component:?} is not one path component"),
            ));
        }
        path.push(one);
    }
    Ok(path)
}

fn failed(verb: &str, components: &[&str], source: io::Error) -> SysctlError {
    SysctlError {
        verb: verb.to_owned(),
        path: Path::new("/proc/sys").join(components.join("/")),
        source: OsError(source),
    }
}

/// Reads a setting, without the line feed at its end.
///
/// # Errors
/// There is no such setting, or it cannot be read.
pub fn read(components: &[&str]) -> Result<String, SysctlError> {
    let mut text = file(components)
        .and_then(fs::read_to_string)
        .map_err(|source| failed("read", components, source))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Writes a setting.
///
/// # Errors
/// There is no such setting, or it cannot be written.
pub fn write(components: &[&str], value: &str) -> Result<(), SysctlError> {
    let put = |path| {
        // Neither created nor truncated: a setting is there or not.
        fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(value.as_bytes())
    };
    file(components)
        .and_then(put)
        .map_err(|source| failed(&format!("write {value:?} to"), components, source))
}

/// Writes a setting unless it has the value already, so that a read-only `/proc/sys` is no obstacle
/// to what is right as it is. Returns the value that was there, or `None` if nothing was written.
///
/// # Errors
/// There is no such setting, or it cannot be read or written.
pub fn write_if_different(components: &[&str], value: &str) -> Result<Option<String>, SysctlError> {
    let before = read(components)?;
    if before == value {
        return Ok(None);
    }
    write(components, value)?;
    Ok(Some(before))
}
