//! What the environment and the options say.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use cni_types::{IfName, Json};
use cnitool::{
    Cache, CacheEntry, Catalog, Invoker, Network, Runtime, Target, absolute, chain, netns,
};

use super::Options;

const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d";
const DEFAULT_PATH: &str = "/opt/cni/bin:/usr/lib/cni";
const DEFAULT_IFNAME: &str = "eth0";

/// Everything the verbs need to know besides their arguments.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) runtime: Runtime,
    pub(crate) ifname: IfName,
    conf_dir: PathBuf,
    working_dir: PathBuf,
    args: Vec<(String, String)>,
    capability_args: Vec<(String, Json)>,
}

impl Settings {
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let path = variable("CNI_PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let path = std::env::split_paths(&path).filter(|dir| !dir.as_os_str().is_empty());
        let timeout = Duration::from_secs(u64::from(options.timeout));
        let invoker = Invoker::new(path).timeout(timeout);
        let ifname = match &options.ifname {
            Some(name) => name.clone(),
            None => text("CNI_IFNAME")?.unwrap_or_else(|| DEFAULT_IFNAME.to_owned()),
        };
        let args = text("CNI_ARGS")?.unwrap_or_default();
        let capability_args = text("CAP_ARGS")?.unwrap_or_default();
        Ok(Self {
            runtime: Runtime::with(invoker, Cache::default()),
            ifname: ifname
                .parse()
                .with_context(|| format!("interface name {ifname:?}"))?,
            conf_dir: variable("NETCONFPATH")
                .unwrap_or_else(|| DEFAULT_CONF_DIR.into())
                .into(),
            working_dir: std::env::current_dir().context("find the working directory")?,
            args: parse_args(&args)?,
            capability_args: parse_capability_args(&capability_args)?,
        })
    }

    /// The networks of the directory. Files that cannot be used are told of, once.
    pub(crate) fn catalog(&self) -> anyhow::Result<Catalog> {
        let catalog = Catalog::read(&self.conf_dir)?;
        for broken in catalog.broken() {
            // A warning that nobody reads is no failure.
            let _unheard = writeln!(std::io::stderr(), "cnitool: warning: {}", chain(broken));
        }
        Ok(catalog)
    }

    pub(crate) fn network(&self, name: &str) -> anyhow::Result<Network> {
        Ok(self.catalog()?.find(name)?.clone())
    }

    /// The network for taking an attachment down: as it is configured now or, if it is not any
    /// more, as it was at the add.
    pub(crate) fn network_to_leave(
        catalog: &Catalog,
        name: &str,
        cached: Option<&CacheEntry>,
    ) -> anyhow::Result<Network> {
        match (catalog.find(name), cached) {
            (Ok(network), _) => Ok(network.clone()),
            (Err(error), Some(entry)) if !entry.config.is_empty() => Network::parse(&entry.config)
                .with_context(|| format!("{}; its cached configuration", chain(&error))),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The target that a namespace on the command line means.
    pub(crate) fn target(&self, netns: &Path) -> Target {
        let mut target = Target::for_netns(self.resolve(netns), self.ifname.clone());
        target.args.clone_from(&self.args);
        target.capability_args.clone_from(&self.capability_args);
        target
    }

    /// An absolute path, as the original makes it. A bare name that is no file here, which the
    /// original could do nothing with, means the namespace of that name.
    fn resolve(&self, netns: &Path) -> PathBuf {
        let here = absolute(netns, &self.working_dir);
        let named = netns.to_str().and_then(|name| netns::path_of(name).ok());
        match named {
            Some(named) if !here.exists() => named,
            _ => here,
        }
    }
}

/// A variable; set but empty counts as not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> anyhow::Result<Option<String>> {
    match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(bytes)) => bail!("{name} is not UTF-8: {}", bytes.display()),
    }
}

fn parse_args(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parse = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => bail!("invalid CNI_ARGS pair {pair:?}: KEY=VALUE;KEY=VALUE is expected"),
    };
    text.split(';').map(parse).collect()
}

fn parse_capability_args(text: &str) -> anyhow::Result<Vec<(String, Json)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    match Json::parse(text.as_bytes()).context("CAP_ARGS is not JSON")? {
        Json::Object(members) => Ok(members),
        Json::Null => Ok(Vec::new()),
        other => bail!("CAP_ARGS is {other}: a JSON object is expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_are_pairs() {
        assert_eq!(parse_args("").unwrap(), []);
        let pairs = [("A".to_owned(), "1".to_owned()), ("B".into(), "2".into())];
        assert_eq!(parse_args("A=1;B=2").unwrap(), pairs);
        for bad in ["A", "A=", "=1", "A=1=2", "A=1;", ";"] {
            let error = parse_args(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid CNI_ARGS pair"), "{bad}: {error}");
        }
    }

    #[test]
    fn capability_args_are_an_object() {
        let args = parse_capability_args(r#"{"mac": "02::", "ips": []}"#).unwrap();
        assert_eq!(args[0], ("mac".into(), Json::String("02::".into())));
        assert_eq!(args[1], ("ips".into(), Json::Array(vec![])));
        assert_eq!(
            parse_capability_args("[]").unwrap_err().to_string(),
            "CAP_ARGS is []: a JSON object is expected"
        );
        assert!(parse_capability_args("{").is_err());
    }
}
