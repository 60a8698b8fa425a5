//! Reading the directory of a network, as cheaply as it goes: one open directory, names from
//! getdents(2), three system calls and no allocation for each lease.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cni_types::Attachment;
use nix::NixPath;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::read;

use super::error::StoreError;
use crate::lease::{Holding, Lease, LeaseText, is_nobodys};

/// More than any lease: ids have 64 bytes and names 15. What is longer is foreign.
pub(super) const LEASE_LIMIT: usize = 4096;

/// The leases of one network, to read. Nobody is locked out, and none waited for.
#[derive(Debug)]
pub struct LeaseDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What stands at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A regular file with this content.
    File(&'a [u8]),
    /// A link, a directory, a pipe, or more bytes than a lease has: not ours to read or remove.
    Foreign,
    /// Nothing, any more.
    Gone,
}

impl LeaseDir {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .map_err(|errno| StoreError::io("open directory", path, errno.into()))?;
        let path = path.to_owned();
        Ok(Self { fd, path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn error(
        &self,
        op: &'static str,
        name: impl AsRef<Path>,
        errno: Errno,
    ) -> StoreError {
        StoreError::io(op, &self.path.join(name), errno.into())
    }

    pub(super) fn open_file<P: ?Sized + NixPath>(
        &self,
        name: &P,
        flags: OFlag,
        mode: Mode,
    ) -> nix::Result<OwnedFd> {
        openat(self.fd(), name, flags | OFlag::O_CLOEXEC, mode)
    }

    /// Every address that a file is named after, without opening any.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, StoreError> {
        let mut addresses = Vec::new();
        self.visit_names(|addr, _, _| {
            addresses.push(addr);
            Ok(())
        })?;
        Ok(addresses)
    }

    /// Every address that is taken: [`Self::addresses`] without those whose files a crash left
    /// empty, which an ADD will take.
    ///
    /// # Errors
    /// The directory or one of the files cannot be read.
    pub fn reserved(&self) -> Result<Vec<IpAddr>, StoreError> {
        let mut reserved = Vec::new();
        self.visit(|addr, _, content| {
            if !matches!(content?, Content::File(bytes) if is_nobodys(bytes)) {
                reserved.push(addr);
            }
            Ok(())
        })?;
        Ok(reserved)
    }

    /// Every lease, in no order. Empty files are not leases.
    ///
    /// # Errors
    /// The directory or one of the files cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        self.visit(|addr, _, content| {
            if let Content::File(bytes) = content? {
                leases.extend(Lease::parse(addr, bytes));
            }
            Ok(())
        })?;
        Ok(leases)
    }

    /// Whose the lease of an address is, seen from an attachment. Opens only its file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holding(&self, addr: IpAddr, attachment: &Attachment) -> Result<Holding, StoreError> {
        self.holding_of(addr, &LeaseText::of(attachment))
    }

    pub(super) fn holding_of(&self, addr: IpAddr, text: &LeaseText) -> Result<Holding, StoreError> {
        let name = addr.to_string();
        let mut buffer = [0; LEASE_LIMIT];
        let content = self
            .read(name.as_str(), &mut buffer)
            .map_err(|errno| self.error("read lease", &name, errno))?;
        Ok(match content {
            Content::File(bytes) => text.holding(bytes),
            Content::Foreign => Holding::Others,
            Content::Gone => Holding::Nobody,
        })
    }

    /// Calls `each` for everything that is named after an address, with what stands there or why
    /// that cannot be read.
    pub(super) fn visit(
        &self,
        mut each: impl FnMut(IpAddr, &CStr, Result<Content<'_>, StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut buffer = [0; LEASE_LIMIT];
        self.visit_names(|addr, name, kind| {
            let content = if matches!(kind, None | Some(Type::File)) {
                self.read(name, &mut buffer)
            } else {
                Ok(Content::Foreign)
            };
            match content {
                Ok(Content::Gone) => Ok(()),
                Ok(content) => each(addr, name, Ok(content)),
                Err(errno) => {
                    let error = self.error("read lease", addr.to_string(), errno);
                    each(addr, name, Err(error))
                }
            }
        })
    }

    fn visit_names(
        &self,
        mut each: impl FnMut(IpAddr, &CStr, Option<Type>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fail =
            |errno: Errno| StoreError::io("read directory", &self.path, io::Error::from(errno));
        // A descriptor of its own: the position is the descriptor's, and this one stays.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = Dir::openat(self.fd(), c".", flags, Mode::empty()).map_err(fail)?;
        for entry in dir {
            let entry = entry.map_err(fail)?;
            if let Some(addr) = parse_name(entry.file_name()) {
                each(addr, entry.file_name(), entry.file_type())?;
            }
        }
        Ok(())
    }

    pub(super) fn read<'b, P: ?Sized + NixPath>(
        &self,
        name: &P,
        buffer: &'b mut [u8; LEASE_LIMIT],
    ) -> nix::Result<Content<'b>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match self.open_file(name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(Content::Gone),
            Err(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => return Ok(Content::Foreign),
            Err(errno) => return Err(errno),
        };
        match read(&file, buffer) {
            // An open pipe without a writer reads as empty too.
            Ok(0) if !is_regular(&file)? => Ok(Content::Foreign),
            Ok(length) => Ok(buffer
                .get(..length)
                .filter(|_| length < LEASE_LIMIT)
                .map_or(Content::Foreign, Content::File)),
            Err(Errno::EISDIR | Errno::EAGAIN) => Ok(Content::Foreign),
            Err(errno) => Err(errno),
        }
    }
}

fn is_regular(file: &OwnedFd) -> nix::Result<bool> {
    let mode = SFlag::from_bits_truncate(fstat(file)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFREG)
}

/// The address that a file is named after. Both implementations write the canonical form only.
fn parse_name(name: &CStr) -> Option<IpAddr> {
    // Rules `.`, `..`, `lock` and most of what is foreign out without parsing.
    let bytes = name.to_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'.' | b':')) || bytes.len() < 2 {
        return None;
    }
    let text = name.to_str().ok()?;
    let addr: IpAddr = text.parse().ok()?;
    (addr.to_canonical() == addr && is_canonical(addr, text)).then_some(addr)
}

fn is_canonical(addr: IpAddr, text: &str) -> bool {
    // IPv4 has one form that parses.
    addr.is_ipv4() || addr.to_string() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_addresses_name_leases() {
        for (name, is_lease) in [
            (c"10.0.0.2", true),
            (c"2001:db8::2", true),
            (c"::", true),
            (c"::1", true),
            (c".", false),
            (c"..", false),
            (c"lock", false),
            (c"last_reserved_ip.0", false),
            (c"10.0.0.2.bak", false),
            (c"10.0.0.02", false),
            (c"2001:DB8::2", false),
            (c"2001:db8:0::2", false),
            (c"::ffff:10.0.0.2", false),
            (c"10.0.0.\xff", false),
            (c"", false),
        ] {
            assert_eq!(parse_name(name).is_some(), is_lease, "{name:?}");
        }
    }
}
