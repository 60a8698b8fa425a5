//! What the figures were taken on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Facts about the machine that figures depend on; nothing that tells whose it is.
#[derive(Debug)]
pub(crate) struct Machine {
    /// `6.1.0`: the numbers of the kernel's release.
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// What the leases are on, e.g. `ext4`.
    pub(crate) file_system: String,
    /// The version of the package, or what the reference's binary says.
    pub(crate) reference: String,
    /// What ipMasq of the reference runs, e.g. `iptables v1.8.9 (nf_tables)`.
    pub(crate) iptables: String,
}

/// The size of a binary of both suites, in bytes.
#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) plugin: String,
    pub(crate) reference: u64,
    pub(crate) ours: u64,
}

impl Machine {
    /// Looks around. `reference` has the reference plugins, `leases` will have leases.
    pub(crate) fn observe(reference: &Path, leases: &Path) -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let directory = leases.canonicalize()?;
        Ok(Self {
            kernel: numbers(release.trim()).to_owned(),
            processor: processor(&processors).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            file_system: file_system(&mounts, &directory)
                .unwrap_or("unknown")
                .to_owned(),
            reference: reference_version(reference),
            iptables: first_line(Command::new("iptables").arg("--version"))
                .unwrap_or_else(|| "no iptables".to_owned()),
        })
    }
}

/// How many threads of others run, or want to, at this moment.
pub(crate) fn others_running() -> Result<u32> {
    let text = fs::read_to_string("/proc/loadavg").context("read what runs")?;
    // The reader is one of them.
    let running = runnable(&text).context("decode what runs")?;
    Ok(running.saturating_sub(1))
}

/// The sizes of all plugins that both directories have.
pub(crate) fn sizes(reference: &Path, ours: &Path) -> Result<Vec<Size>> {
    let mut sizes = Vec::new();
    for file in fs::read_dir(ours)? {
        let file = file?;
        let plugin = file.file_name().to_string_lossy().into_owned();
        if let Ok(theirs) = fs::metadata(reference.join(&plugin)) {
            sizes.push(Size {
                plugin,
                reference: theirs.len(),
                ours: file.metadata()?.len(),
            });
        }
    }
    sizes.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    Ok(sizes)
}

/// Debian's package when the binaries are from it, or else what they say of themselves.
fn reference_version(bin_dir: &Path) -> String {
    let package = "containernetworking-plugins";
    let debian = (bin_dir == Path::new("/usr/lib/cni"))
        .then(|| {
            let mut query = Command::new("dpkg-query");
            first_line(query.args(["-W", "-f", "${Package} ${Version}\\n", package]))
        })
        .flatten();
    debian
        .map(|version| format!("Debian's {version}"))
        .or_else(|| about(bin_dir))
        .unwrap_or_else(|| "of unknown version".to_owned())
}

/// What a plugin says on stderr when no command is given.
fn about(bin_dir: &Path) -> Option<String> {
    let output = Command::new(bin_dir.join("bridge"))
        .env_clear()
        .output()
        .ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    text.lines().next().map(str::to_owned)
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .filter(|_| output.status.success())
        .map(str::to_owned)
}

/// `proc_loadavg(5)`: `0.20 0.18 0.12 3/80 11206` -> 3
fn runnable(loadavg: &str) -> Option<u32> {
    let (running, _all) = loadavg.split(' ').nth(3)?.split_once('/')?;
    running.parse().ok()
}

/// `6.1.0-13-amd64` -> `6.1.0`
fn numbers(release: &str) -> &str {
    let end = release.find(|c: char| c != '.' && !c.is_ascii_digit());
    end.map_or(release, |end| release.get(..end).unwrap_or(release))
}

fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']))
}

/// The type of the file system that has `path`, of the mounts in `proc_pid_mountinfo(5)`'s form.
fn file_system<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        Some((point, file_system.split(' ').next()?))
    };
    // The last of equal mount points hides those below it.
    let holding = mountinfo
        .lines()
        .filter_map(mount)
        .filter(|(point, _)| path.starts_with(point));
    holding
        .max_by_key(|(point, _)| point.len())
        .map(|(_, file_system)| file_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_cut_after_its_numbers() {
        assert_eq!(numbers("6.1.0-13-amd64"), "6.1.0");
        assert_eq!(numbers("6.18.44"), "6.18.44");
    }

    #[test]
    fn what_runs_is_the_fourth_number() {
        assert_eq!(runnable("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(runnable("0.20 0.18"), None);
    }

    #[test]
    fn the_processor_is_the_first_ones_model() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n";
        assert_eq!(processor(cpuinfo), Some("Some CPU @ 2 GHz"));
    }

    #[test]
    fn a_file_is_on_the_nearest_mount() {
        let mounts = "\
            1 0 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            2 1 0:30 / /var/tmp rw - tmpfs tmpfs rw\n\
            3 2 0:31 / /var/tmp rw - xfs /dev/vdb rw\n\
            4 1 0:32 / /var/tmporary rw - btrfs /dev/vdc rw\n";
        assert_eq!(file_system(mounts, Path::new("/var/tmp/a")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/var/lib")), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }
}
