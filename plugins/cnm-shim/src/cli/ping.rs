//! `ping`: whether drivers answer, how fast, and what they can do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cni_cnm::discovery::{self, PluginAddress};
use cni_cnm::http::Patience;
use cni_cnm::remote::{Ping, PingReport, RemotePlugin};
use cni_cnm::wire::{ipam, network};
use cni_cnm::{Cause, DriverError, Method};
use serde_json::{Value, json};

use super::context::Context;
use super::report::{Report, told};
use super::words::{in_words, line};
use crate::drivers::{IPAM_DRIVERS, NETWORK_DRIVERS, directories};

/// How a plugin has answered.
struct Pinged {
    name: String,
    address: String,
    /// The file that tells the address.
    file: Option<String>,
    notes: Vec<String>,
    calls: Vec<Call>,
}

/// One call.
struct Call {
    method: Method,
    took: Duration,
    /// What came of it, for people and for programs, or why nothing did.
    outcome: Result<(String, Value), String>,
}

/// One driver, all that announce themselves, or Docker Engine.
pub(super) fn run(context: &Context, driver: Option<&str>, docker: bool) -> anyhow::Result<Report> {
    match driver {
        None if docker => ping_docker(context),
        None => all(context),
        Some(driver) if is_address(driver) => {
            let url = match driver.strip_prefix('/') {
                Some(path) => format!("unix:///{path}"),
                None => driver.to_owned(),
            };
            let address = PluginAddress::parse(&url, None);
            let address = address.map_err(|cause| told(not_reached("driver", cause)))?;
            Ok(report(&[ping(context, "driver", address)]))
        }
        Some(name) => one(context, name),
    }
}

fn one(context: &Context, name: &str) -> anyhow::Result<Report> {
    if let Some(what) = built_in(name) {
        let json = json!([{"name": name, "builtIn": true}]);
        return Ok(Report::new(format!("{name} is built in: {what}\n"), json));
    }
    let address = discovery::find(name, &directories());
    let address = address.map_err(|cause| told(not_reached(name, cause)))?;
    Ok(report(&[ping(context, name, address)]))
}

fn ping_docker(context: &Context) -> anyhow::Result<Report> {
    let (address, version, took) = crate::engine::ping(&context.settings).map_err(told)?;
    let version = version.map_err(told)?;
    let took = milliseconds(took);
    let apis = format!("{} to {}", version.min_api_version, version.api_version);
    let text = format!(
        "Docker Engine at {address}\n  {:<34}   {took:>8.2} ms   version {}, API {apis}\n",
        "version", version.version
    );
    let json = json!([{
        "address": address, "milliseconds": took, "version": version.version,
        "apiVersion": version.api_version, "minApiVersion": version.min_api_version,
    }]);
    Ok(Report::new(text, json))
}

fn is_address(driver: &str) -> bool {
    driver.contains("://") || driver.starts_with('/')
}

fn not_reached(name: &str, cause: Cause) -> DriverError {
    DriverError {
        driver: format!("driver {name}"),
        method: Method::Activate,
        cause,
    }
}

/// What a name stands for, if it is that of a driver that is built in.
fn built_in(name: &str) -> Option<&'static str> {
    match (
        NETWORK_DRIVERS.contains(&name),
        IPAM_DRIVERS.contains(&name),
    ) {
        (true, true) => Some("a network driver and an IPAM driver"),
        (true, false) => Some("a network driver"),
        (false, true) => Some("an IPAM driver"),
        (false, false) => None,
    }
}

fn all(context: &Context) -> anyhow::Result<Report> {
    let directories = directories();
    let names = discovery::list(&directories).context("list the directories of plugins")?;
    let mut found = Vec::new();
    let mut broken = Vec::new();
    for name in names {
        match discovery::find(&name, &directories) {
            Ok(address) => found.push(ping(context, &name, address)),
            Err(cause) => broken.push(in_words(not_reached(&name, cause))),
        }
    }
    let mut report = report(&found);
    if found.is_empty() && broken.is_empty() {
        let places = std::iter::once(&directories.sockets).chain(&directories.specs);
        let places: Vec<_> = places.map(|dir| dir.display().to_string()).collect();
        report.text = format!("no plugins in {}\n", places.join(", "));
    }
    let (networks, ipam) = (NETWORK_DRIVERS.join(", "), IPAM_DRIVERS.join(", "));
    let built_in = format_args!("built in: network drivers {networks}; IPAM drivers {ipam}");
    line(&mut report.text, built_in);
    report.failures.extend(broken);
    Ok(report)
}

fn ping(context: &Context, name: &str, address: PluginAddress) -> Pinged {
    let mut pinged = Pinged {
        name: name.to_owned(),
        address: address.address.to_string(),
        file: address.file.as_ref().map(|file| file.display().to_string()),
        notes: address.notes.clone(),
        calls: Vec::new(),
    };
    let plugin = Arc::new(RemotePlugin::at(name, address, Patience::none()));
    pinged.calls = calls(plugin.ping(context.limits().total));
    pinged
}

fn calls(report: PingReport) -> Vec<Call> {
    let activation = call(Method::Activate, report.activation, |implements| {
        let words = match implements.as_slice() {
            [] => "implements nothing".to_owned(),
            some => format!("implements {}", some.join(", ")),
        };
        (words, json!({"implements": implements}))
    });
    let network = report
        .network
        .map(|ping| call(Method::GetCapabilities, ping, network_facts));
    let ipam = report
        .ipam
        .map(|ping| call(Method::IpamGetCapabilities, ping, |can| ipam_facts(*can)));
    let spaces = report
        .address_spaces
        .map(|ping| call(Method::GetDefaultAddressSpaces, ping, space_facts));
    [Some(activation), network, ipam, spaces]
        .into_iter()
        .flatten()
        .collect()
}

fn call<T>(method: Method, ping: Ping<T>, facts: impl FnOnce(&T) -> (String, Value)) -> Call {
    Call {
        method,
        took: ping.took,
        outcome: ping.outcome.map(|reply| facts(&reply)).map_err(in_words),
    }
}

fn network_facts(can: &network::Capabilities) -> (String, Value) {
    let reach = Some(&can.connectivity_scope).filter(|scope| !scope.is_empty());
    let checks = "says whether it needs gateways";
    let words = [
        Some(format!("scope {}", or_none(&can.scope))),
        reach.map(|scope| format!("reaches {scope}")),
        can.gw_alloc_checker.then(|| checks.to_owned()),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    (words.join(", "), json!(can))
}

fn ipam_facts(can: ipam::Capabilities) -> (String, Value) {
    let wants = [
        can.requires_mac_address.then_some("MAC addresses"),
        can.requires_request_replay.then_some("replayed requests"),
    ];
    let wants: Vec<_> = wants.into_iter().flatten().collect();
    let words = match wants.as_slice() {
        [] => "requires nothing".to_owned(),
        some => format!("requires {}", some.join(" and ")),
    };
    (words, json!(can))
}

fn space_facts(spaces: &ipam::AddressSpaces) -> (String, Value) {
    let local = or_none(&spaces.local_default_address_space);
    let global = or_none(&spaces.global_default_address_space);
    (format!("local {local}, global {global}"), json!(spaces))
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn report(pinged: &[Pinged]) -> Report {
    let mut text = String::new();
    let mut failures = Vec::new();
    for plugin in pinged {
        line(&mut text, format_args!("{}", plugin.title()));
        for call in &plugin.calls {
            let words = match &call.outcome {
                Ok((words, _)) => words.as_str(),
                Err(why) => {
                    failures.push(why.clone());
                    "failed"
                }
            };
            let (method, took) = (call.method.as_str(), milliseconds(call.took));
            let answer = format_args!("  {method:<34}   {took:>8.2} ms   {words}");
            line(&mut text, answer);
        }
        for note in &plugin.notes {
            line(&mut text, format_args!("  warning: {note}"));
        }
    }
    let json: Vec<_> = pinged.iter().map(document).collect();
    Report::new(text, json!(json)).with_failures(failures)
}

impl Pinged {
    /// A socket that was found tells its own address, other files have to be named.
    fn title(&self) -> String {
        let Self { name, address, .. } = self;
        match &self.file {
            Some(file) if !address.ends_with(file.as_str()) => {
                format!("{name} at {address} ({file})")
            }
            _ => format!("{name} at {address}"),
        }
    }
}

fn document(plugin: &Pinged) -> Value {
    let calls = plugin.calls.iter().map(|call| {
        let (reply, error) = match &call.outcome {
            Ok((_, reply)) => (Some(reply), None),
            Err(why) => (None, Some(why)),
        };
        json!({
            "method": call.method.as_str(), "milliseconds": milliseconds(call.took),
            "reply": reply, "error": error,
        })
    });
    json!({
        "name": plugin.name, "address": plugin.address, "file": plugin.file, "builtIn": false,
        "warnings": plugin.notes, "calls": calls.collect::<Vec<_>>(),
    })
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinged(outcome: Result<(String, Value), String>) -> Pinged {
        Pinged {
            name: "weave".into(),
            address: "unix:///run/docker/plugins/weave.sock".into(),
            file: Some("/run/docker/plugins/weave.sock".into()),
            notes: vec!["/run is writable by everybody".into()],
            calls: vec![Call {
                method: Method::Activate,
                took: Duration::from_micros(1234),
                outcome,
            }],
        }
    }

    #[test]
    fn an_answer_has_its_time_and_what_it_says() {
        let answered = Ok(("implements NetworkDriver".to_owned(), json!({"a": 1})));
        let report = report(&[pinged(answered)]);
        let expected = "\
weave at unix:///run/docker/plugins/weave.sock
  Plugin.Activate                          1.23 ms   implements NetworkDriver
  warning: /run is writable by everybody
";
        assert_eq!(report.text, expected);
        assert_eq!(report.json[0]["calls"][0]["reply"]["a"], 1);
        assert!(report.failures.is_empty());
    }

    #[test]
    fn the_file_that_tells_an_address_is_named() {
        let mut by_spec = pinged(Err("it cannot be reached".into()));
        by_spec.address = "http://127.0.0.1:5000".into();
        by_spec.file = Some("/etc/docker/plugins/ovn.spec".into());
        let report = report(&[by_spec]);
        let heading = "weave at http://127.0.0.1:5000 (/etc/docker/plugins/ovn.spec)\n";
        assert!(report.text.starts_with(heading), "{}", report.text);
        assert!(report.text.contains("ms   failed\n"));
        assert_eq!(report.failures, ["it cannot be reached"]);
        assert_eq!(report.json[0]["calls"][0]["error"], "it cannot be reached");
    }

    #[test]
    fn capabilities_in_words() {
        let can = network::Capabilities {
            scope: "local".into(),
            connectivity_scope: "global".into(),
            gw_alloc_checker: true,
        };
        let words = "scope local, reaches global, says whether it needs gateways";
        assert_eq!(network_facts(&can).0, words);
        assert_eq!(
            network_facts(&network::Capabilities::default()).0,
            "scope (none)"
        );
        assert_eq!(
            ipam_facts(ipam::Capabilities::default()).0,
            "requires nothing"
        );
        let spaces = ipam::AddressSpaces::default();
        assert_eq!(space_facts(&spaces).0, "local (none), global (none)");
    }

    #[test]
    fn names_of_built_in_drivers_and_addresses_are_told_apart() {
        assert_eq!(built_in("bridge"), Some("a network driver"));
        assert_eq!(
            built_in("null"),
            Some("a network driver and an IPAM driver")
        );
        assert_eq!(built_in("weave"), None);
        assert!(is_address("/run/x.sock") && is_address("tcp://127.0.0.1:1"));
        assert!(!is_address("weave"));
    }
}
