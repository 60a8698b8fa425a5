//! Names of sysctls as people write them, and the files below `/proc/sys` that they mean.
//!
//! `net.ipv4.conf.eth0.rp_filter` and `net/ipv4/conf/eth0/rp_filter` are the same. An interface
//! name may have a dot in it, and there are two ways to read such a name: that of `sysctl(8)`, in
//! which the first separator is the separator and the other character stands for itself or for a
//! dot, and that of the reference, to which dots and slashes are always separators. Where they
//! differ, the file that exists decides.

use cni_types::{IfName, Json};

/// Stands for the attachment's interface in a key.
const IFNAME: &str = "IFNAME";
/// More than any key has; what the kernel allows in one path component.
const LONGEST_KEY: usize = 255;
/// More than any value has: the kernel's limit was a page, and is 64 KiB for lists of ports.
const LONGEST_VALUE: usize = 64 * 1024;

/// Where a sysctl is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The config's `sysctl`.
    Config,
    /// `args.cni.sysctl`, which beats the config.
    Args,
}

/// A sysctl of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SysctlConf {
    pub(crate) source: Source,
    /// As it is written.
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The name of a sysctl of the network namespace: path components below `/proc/sys`, the first of
/// which is `net`, and none of which leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SysctlName(Vec<String>);

/// Why a sysctl is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SysctlConfError {
    #[error("duplicated sysctl keys are not allowed: {place}sysctl has {key:?} twice")]
    Duplicate { place: &'static str, key: String },
    #[error("invalid net sysctl key: {0:?}")]
    Key(String),
    #[error("invalid net sysctl key: it has {0} bytes, more than {LONGEST_KEY}")]
    LongKey(usize),
    #[error("sysctl {0:?}: the value has a line feed or a NUL character in it")]
    ValueCharacters(String),
    #[error("sysctl {key:?}: the value has {length} bytes, more than {LONGEST_VALUE}")]
    LongValue { key: String, length: usize },
}

impl SysctlConfError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Key(_) => Some(
                "a sysctl of the network namespace is named as net.ipv4.ip_forward or \
                 net/ipv4/ip_forward",
            ),
            _ => None,
        }
    }
}

/// Refuses an object with two equal keys, of which JSON would otherwise keep the last.
pub(super) fn refuse_duplicates(
    place: &'static str,
    sysctl: Option<&Json>,
) -> Result<(), SysctlConfError> {
    let Some(Json::Object(members)) = sysctl else {
        return Ok(());
    };
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair.first() == pair.last()) {
        Some([key, ..]) => Err(SysctlConfError::Duplicate {
            place,
            key: short(key),
        }),
        _ => Ok(()),
    }
}

/// As much of a key as an error needs.
fn short(key: &str) -> String {
    key.chars().take(LONGEST_KEY).collect()
}

impl SysctlConf {
    pub(super) fn new(source: Source, key: String, value: &str) -> Result<Self, SysctlConfError> {
        if key.len() > LONGEST_KEY {
            return Err(SysctlConfError::LongKey(key.len()));
        }
        if readings(&key)
            .iter()
            .any(|reading| !is_of_the_namespace(reading))
        {
            return Err(SysctlConfError::Key(key));
        }
        if value.len() > LONGEST_VALUE {
            let length = value.len();
            return Err(SysctlConfError::LongValue { key, length });
        }
        // One line feed at the end is what people get from a file.
        let value = value.strip_suffix('\n').unwrap_or(value).to_owned();
        if value.contains(['\n', '\0']) {
            return Err(SysctlConfError::ValueCharacters(key));
        }
        Ok(Self { source, key, value })
    }

    /// The name that the key means for an interface, and another one that it may mean.
    pub(crate) fn names(&self, ifname: &IfName) -> (SysctlName, Option<SysctlName>) {
        let [likely, other] =
            readings(&self.key).map(|reading| SysctlName(with_ifname(reading, ifname)));
        let other = (other != likely).then_some(other);
        (likely, other)
    }
}

/// The two readings of a key, in path components.
fn readings(key: &str) -> [Vec<String>; 2] {
    let owned = |part: &str| part.to_owned();
    let first = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    let mut by_first: Vec<String> = if first == Some(".") {
        key.split('.').map(|part| part.replace('/', ".")).collect()
    } else {
        key.split('/').map(owned).collect()
    };
    let mut by_both: Vec<String> = key.split(['.', '/']).map(owned).collect();
    // `net//ipv4` and a slash in front mean nothing else.
    by_first.retain(|part| !part.is_empty());
    by_both.retain(|part| !part.is_empty());
    [by_first, by_both]
}

fn is_of_the_namespace(components: &[String]) -> bool {
    let leads_on = |part: &String| part != "." && part != ".." && !part.contains(char::is_control);
    components.first().is_some_and(|first| first == "net")
        && components.len() > 1
        && components.iter().all(leads_on)
}

/// Puts the interface in place of the first `IFNAME`. Its dots are no separators.
fn with_ifname(mut components: Vec<String>, ifname: &IfName) -> Vec<String> {
    if let Some(part) = components.iter_mut().find(|part| part.contains(IFNAME)) {
        *part = part.replacen(IFNAME, ifname.as_str(), 1);
    }
    components
}

impl SysctlName {
    /// From the path below `/proc/sys`, as [`SysctlName::path`] gives it.
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        let components: Vec<String> = path.split('/').map(str::to_owned).collect();
        let whole = components.iter().all(|part| !part.is_empty());
        (whole && is_of_the_namespace(&components)).then_some(Self(components))
    }

    /// The path below `/proc/sys`: `net/ipv4/conf/eth0.5/rp_filter`.
    pub(crate) fn path(&self) -> String {
        self.0.join("/")
    }

    /// The components, for [`cni_netlink::sysctl`].
    pub(crate) fn components(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    /// The interface that the sysctl belongs to, `all` or `default`: the fourth component of
    /// `net/FAMILY/conf/IFNAME/...` and `net/FAMILY/neigh/IFNAME/...`.
    pub(crate) fn interface(&self) -> Option<&str> {
        match self.components().as_slice() {
            [_net, _family, "conf" | "neigh", interface, _, ..] => self
                .0
                .get(3)
                .map(String::as_str)
                .filter(|name| name == interface),
            _ => None,
        }
    }

    /// Where the interfaces are whose setting of the same name may change with this one.
    pub(crate) fn directory_of_interfaces(&self) -> Option<String> {
        match self.components().as_slice() {
            ["net", "ipv4", "ip_forward"] => Some("/proc/sys/net/ipv4/conf".to_owned()),
            ["net", family, kind @ ("conf" | "neigh"), "all", _] => {
                Some(format!("/proc/sys/net/{family}/{kind}"))
            }
            _ => None,
        }
    }

    /// The setting of the same name of an interface.
    pub(crate) fn of_interface(&self, interface: &str) -> Option<Self> {
        match self.components().as_slice() {
            ["net", "ipv4", "ip_forward"] => {
                Self::from_path(&format!("net/ipv4/conf/{interface}/forwarding"))
            }
            ["net", family, kind, "all", setting] if interface != "all" => {
                Self::from_path(&format!("net/{family}/{kind}/{interface}/{setting}"))
            }
            _ => None,
        }
    }

    /// How special it is: writing a more general one can change more special ones, as
    /// `net.ipv4.ip_forward` does with `forwarding` of `all`, of `default` and of every interface.
    pub(crate) fn rank(&self) -> u8 {
        match self.interface() {
            None => 0,
            Some("all") => 1,
            Some("default") => 2,
            Some(_) => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn conf(key: &str) -> Result<SysctlConf, SysctlConfError> {
        SysctlConf::new(Source::Config, key.to_owned(), "1")
    }

    fn paths(key: &str, ifname: &str) -> Vec<String> {
        let (name, other) = conf(key).unwrap().names(&ifname.parse().unwrap());
        [Some(name), other]
            .iter()
            .flatten()
            .map(SysctlName::path)
            .collect()
    }

    #[test]
    fn names_are_read_in_both_ways() {
        let rp = "net/ipv4/conf/eth0.5/rp_filter";
        for (key, ifname, names) in [
            ("net.ipv4.ip_forward", "eth0", &["net/ipv4/ip_forward"][..]),
            ("net/ipv4/ip_forward", "eth0", &["net/ipv4/ip_forward"]),
            ("/net//ipv4/ip_forward/", "eth0", &["net/ipv4/ip_forward"]),
            ("net.ipv4.conf.IFNAME.rp_filter", "eth0.5", &[rp]),
            ("net/ipv4/conf/IFNAME/rp_filter", "eth0.5", &[rp]),
            (
                "net.ipv4.conf.eth0/5.rp_filter",
                "x",
                &[rp, "net/ipv4/conf/eth0/5/rp_filter"],
            ),
            (
                "net/ipv4/conf/eth0.5/rp_filter",
                "x",
                &[rp, "net/ipv4/conf/eth0/5/rp_filter"],
            ),
            // As the reference reads it; nothing else exists.
            (
                "net.ipv4/ip_forward",
                "x",
                &["net/ipv4.ip_forward", "net/ipv4/ip_forward"],
            ),
            // Only the first.
            (
                "net.ipv4.conf.IFNAME.IFNAME",
                "a.b",
                &["net/ipv4/conf/a.b/IFNAME"],
            ),
        ] {
            assert_eq!(paths(key, ifname), names, "{key}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_namespace() {
        for key in [
            "",
            ".",
            "/",
            "net",
            "net.",
            "/net/",
            "kernel.hostname",
            "kernel/hostname",
            "network.x",
            "net/../kernel/hostname",
            "net/ipv4/../../kernel/hostname",
            "../net/ipv4/ip_forward",
            "net/./ipv4/ip_forward",
            "/proc/sys/net/ipv4/ip_forward",
            "net.ipv4.ip_forward\n",
            "net.ipv4\0.ip_forward",
            "net.//..kernel.hostname",
        ] {
            let error = conf(key).unwrap_err().to_string();
            assert!(error.starts_with("invalid net sysctl key: "), "{error}");
        }
        let error = conf(&format!("net.{}", "x".repeat(300))).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
        for path in [
            "net", "net//x", "kernel/x", "net/../x", "/net/x", "net/x/", "",
        ] {
            assert_eq!(SysctlName::from_path(path), None, "{path}");
        }
    }

    proptest! {
        /// Whatever is written: a name that is accepted is a path below `/proc/sys/net`, for every
        /// interface, and its text is read back as the same name.
        #[test]
        fn every_accepted_key_stays_in_the_namespace(
            key in "(net)?[./]?([a-zA-Z0-9./ _-]|\\.\\.|IFNAME|/\\.\\./|\\PC){0,20}",
            ifname in "[a-zA-Z0-9._-]{1,15}",
        ) {
            let (Ok(conf), Ok(ifname)) = (conf(&key), ifname.parse()) else {
                return Ok(());
            };
            let (name, other) = conf.names(&ifname);
            for name in [Some(name), other].into_iter().flatten() {
                let path = name.path();
                prop_assert_eq!(SysctlName::from_path(&path), Some(name));
                let mut parts = std::path::Path::new(&path).components();
                let normal = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(path.starts_with("net/") && parts.all(normal), "{}", path);
            }
        }
    }

    #[test]
    fn values_are_one_line() {
        let conf = |value: &str| {
            SysctlConf::new(Source::Args, "net.x".to_owned(), value).map(|sysctl| sysctl.value)
        };
        assert_eq!(conf("4096 87380\t6291456").unwrap(), "4096 87380\t6291456");
        assert_eq!(conf("1\n").unwrap(), "1");
        assert_eq!(conf("").unwrap(), "");
        for value in ["1\n2", "1\n\n", "1\0", "\0"] {
            assert!(conf(value).is_err(), "{value:?}");
        }
        let error = conf(&"x".repeat(70_000)).unwrap_err().to_string();
        assert!(
            error.contains("70000 bytes") && error.len() < 200,
            "{error}"
        );
    }

    #[test]
    fn a_sysctl_knows_its_interface_and_rank() {
        for (path, interface, rank) in [
            ("net/core/somaxconn", None, 0),
            ("net/ipv4/conf", None, 0),
            ("net/ipv4/conf/all/rp_filter", Some("all"), 1),
            ("net/ipv6/conf/default/accept_ra", Some("default"), 2),
            ("net/ipv4/neigh/eth0/locktime", Some("eth0"), 3),
            ("net/mpls/conf/a.b/input", Some("a.b"), 3),
            ("net/ipv4/core/eth0/x", None, 0),
        ] {
            let name = SysctlName::from_path(path).unwrap();
            assert_eq!((name.interface(), name.rank()), (interface, rank), "{path}");
        }
    }

    #[test]
    fn a_setting_of_all_knows_those_of_the_interfaces() {
        for (path, directory, of_eth0) in [
            (
                "net/ipv4/ip_forward",
                "ipv4/conf",
                "ipv4/conf/eth0/forwarding",
            ),
            (
                "net/ipv6/conf/all/disable_ipv6",
                "ipv6/conf",
                "ipv6/conf/eth0/disable_ipv6",
            ),
        ] {
            let name = SysctlName::from_path(path).unwrap();
            let directory = format!("/proc/sys/net/{directory}");
            assert_eq!(name.directory_of_interfaces(), Some(directory));
            let of_eth0 = format!("net/{of_eth0}");
            assert_eq!(name.of_interface("eth0").unwrap().path(), of_eth0);
        }
        for path in ["net/ipv4/conf/eth0/forwarding", "net/core/somaxconn"] {
            let name = SysctlName::from_path(path).unwrap();
            assert_eq!(
                (name.directory_of_interfaces(), name.of_interface("eth0")),
                (None, None)
            );
        }
        let all = SysctlName::from_path("net/ipv6/conf/all/forwarding").unwrap();
        assert_eq!(all.of_interface("all"), None);
    }

    #[test]
    fn equal_keys_are_refused() {
        let check =
            |text: &str| refuse_duplicates("", Some(&Json::parse(text.as_bytes()).unwrap()));
        assert!(check(r#"{"net.a": "1", "net.b": "1", "net.A": "1"}"#).is_ok());
        assert!(check("null").is_ok() && refuse_duplicates("", None).is_ok());
        let error = check(r#"{"net.a": "1", "net.b": "1", "net.a": "1"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "duplicated sysctl keys are not allowed: sysctl has \"net.a\" twice"
        );
    }
}
