//! Directories of leases, as host-local has them: a file for each, named after its address.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::unistd::syncfs;

/// 10.88.0.2: the first address behind the gateway's.
const FIRST: u32 = 0x0a58_0002;
/// How many a /16 has for containers: neither its own, nor the gateway's, nor the last.
const ALL: u32 = 65_533;
/// Where the ids of containers begin that nobody attaches.
const FOREIGN: u64 = 1 << 32;

/// How many files are removed at once.
const AT_ONCE: usize = 16;

/// How many leases there are before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// So many, the lowest addresses of 10.88.0.0/16.
    Leases(u16),
    /// All of 10.88.0.0/16 but so many, which are far from each other.
    AllBut(u16),
}

impl Filled {
    /// How many that is.
    pub(crate) fn count(self) -> u32 {
        match self {
            Self::Leases(count) => count.into(),
            Self::AllBut(left) => ALL - u32::from(left),
        }
    }

    /// The addresses, in their order.
    fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let taken = move |number: &u32| match self {
            Self::Leases(count) => *number < count.into(),
            Self::AllBut(left) => {
                let stride = ALL / u32::from(left).max(1);
                number % stride != stride / 2 || number / stride >= left.into()
            }
        };
        (0..ALL)
            .filter(taken)
            .map(|number| Ipv4Addr::from(FIRST + number))
    }

    /// Writes these leases into the directory of a network, the last of them being the latest.
    pub(crate) fn write(self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).context("make the directory of leases")?;
        let mut last = None;
        for (index, address) in (FOREIGN..).zip(self.addresses()) {
            let lease = format!("{index:064x}\r\neth0");
            fs::write(directory.join(address.to_string()), lease).context("write a lease")?;
            last = Some(address);
        }
        if let Some(address) = last {
            fs::write(directory.join("last_reserved_ip.0"), address.to_string())
                .context("write which lease is the latest")?;
        }
        written(directory)
    }
}

/// Waits until the disk has all, so that no run competes with what was written before.
pub(crate) fn written(directory: &Path) -> Result<()> {
    let file = fs::File::open(directory)?;
    syncfs(&file).context("wait for the disk")
}

/// Removes a directory of directories of leases, whether it is there or not; many at once, since a file
/// system that tells its disk about each freed block (`discard`) waits for that.
pub(crate) fn remove(data_dir: &Path) -> Result<()> {
    if !data_dir.exists() {
        return Ok(());
    }
    let mut files = Vec::new();
    for network in fs::read_dir(data_dir).context("list networks")? {
        for file in fs::read_dir(network?.path()).context("list leases")? {
            files.push(file?.path());
        }
    }
    let share = files.len().div_ceil(AT_ONCE).max(1);
    std::thread::scope(|scope| {
        for files in files.chunks(share) {
            // What stays is removed, or complained about, below.
            scope.spawn(|| files.iter().for_each(|file| drop(fs::remove_file(file))));
        }
    });
    fs::remove_dir_all(data_dir).context("remove the leases")
}

/// Changes the directory of a network without changing a lease, as other programs do now and then.
pub(crate) fn touch(directory: &Path) -> Result<()> {
    let file = directory.join("somebody-elses");
    fs::write(&file, "").context("change the directory of leases")?;
    fs::remove_file(&file).context("change the directory of leases back")
}

/// The addresses that files are named after in the directories of networks.
pub(crate) fn found(data_dir: &Path) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for network in fs::read_dir(data_dir)? {
        for file in fs::read_dir(network?.path())? {
            let name = file?.file_name();
            addresses.extend(name.to_str().and_then(|name| name.parse::<IpAddr>().ok()));
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_addresses_as_said() {
        for filled in [
            Filled::Leases(0),
            Filled::Leases(60_000),
            Filled::AllBut(8),
            Filled::AllBut(1),
        ] {
            assert_eq!(
                u32::try_from(filled.addresses().count()),
                Ok(filled.count())
            );
        }
        let all: Vec<_> = Filled::AllBut(0).addresses().collect();
        assert_eq!(all[0], Ipv4Addr::new(10, 88, 0, 2));
        assert_eq!(all.last(), Some(&Ipv4Addr::new(10, 88, 255, 254)));
    }

    #[test]
    fn leases_are_as_the_reference_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let network = dir.path().join("bench");
        Filled::Leases(2).write(&network).unwrap();
        let read = |name: &str| fs::read_to_string(network.join(name)).unwrap();
        let lease = read("10.88.0.3");
        let (id, ifname) = lease.split_once("\r\n").unwrap();
        assert_eq!((id.len(), ifname), (64, "eth0"));
        assert_eq!(read("last_reserved_ip.0"), "10.88.0.3");
        touch(&network).unwrap();
        assert_eq!(found(dir.path()).unwrap().len(), 2);
        let data_dir = dir.path().to_owned();
        remove(&data_dir).unwrap();
        assert!(!data_dir.exists());
        remove(&data_dir).unwrap();
    }
}
