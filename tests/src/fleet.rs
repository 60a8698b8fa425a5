//! Networks as nodes have them, and containers that come to them and go, at random ways of the plugins
//! to do it. No call may take longer than its deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use cni_testkit::{Conf, Netns, Outcome, Runner, Snapshot, Suite, World};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::conflist::{Attachment, IFNAME};
use crate::network::{bare, cidrs};
use crate::random::Random;

/// No call may take longer, on however busy a machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The longest that a runtime waits before it ends a call: most calls take less than half of it.
const PATIENCE: Duration = Duration::from_millis(80);

/// Which of their ways the plugins take: what pays, all quick ones, none.
const WAYS: [&str; 3] = ["", "on", "off"];

const VERSION: &str = "1.1.0";

/// A configuration list with the gateways of its subnets.
#[derive(Debug)]
pub struct Chain {
    /// As it lies in `/etc/cni/net.d`.
    pub list: Value,
    /// In the order of the pools.
    pub gateways: Vec<&'static str>,
}

/// A plain bridge; two families, masqueraded and checked for spoofing; podman's chain; nerdctl's with limits and
/// two families. Their pools are small, so that addresses are given again soon.
pub fn chains(world: &World) -> [Chain; 4] {
    let bridge = |name: &str, subnets: &[&str], keys: Value| {
        let ranges: Vec<_> = subnets.iter().map(|net| json!([{"subnet": net}])).collect();
        let ipam = json!({"type": "host-local", "dataDir": world.data_dir(), "ranges": ranges});
        let conf =
            json!({"type": "bridge", "bridge": name, "isDefaultGateway": true, "ipam": ipam});
        Conf(conf).with(keys).0
    };
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let tuning = json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}});
    let limits = json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 800_000,
        "egressRate": 8_000_000, "egressBurst": 800_000});
    let chain = |name: &str, plugins: Vec<Value>, gateways: &[&'static str]| Chain {
        list: json!({"cniVersion": VERSION, "name": name, "plugins": plugins}),
        gateways: gateways.to_vec(),
    };
    let plain = bridge("race0", &["10.71.0.0/25"], json!({}));
    let masq = json!({"ipMasq": true, "macspoofchk": true});
    let dual = bridge("race1", &["10.72.0.0/26", "fd72::/122"], masq);
    let masq = json!({"ipMasq": true, "hairpinMode": true});
    let podman = bridge("race2", &["10.73.0.0/26"], masq.clone());
    let nerdctl = bridge("race3", &["10.74.0.0/26", "fd74::/122"], masq);
    let iptables = json!({"type": "firewall", "backend": "iptables"});
    let nftables =
        json!({"type": "firewall", "backend": "nftables", "ingressPolicy": "same-bridge"});
    [
        chain("plain", vec![plain], &["10.71.0.1"]),
        chain("dual", vec![dual], &["10.72.0.1", "fd72::1"]),
        chain(
            "podman",
            vec![podman, portmap.clone(), iptables, tuning.clone()],
            &["10.73.0.1"],
        ),
        chain(
            "nerdctl",
            vec![nerdctl, portmap, nftables, limits, tuning],
            &["10.74.0.1", "fd74::1"],
        ),
    ]
}

/// A container and the network that it comes to.
#[derive(Debug)]
pub struct Member<'a> {
    /// Its id, and the name of its namespace.
    pub id: &'a str,
    /// The network.
    pub chain: &'a Chain,
    /// Its namespace.
    pub netns: &'a Netns,
    attachment: Attachment<'a>,
    tally: &'a Tally,
    /// Which way its calls take, if not any.
    way: Option<&'static str>,
}

impl<'a> Member<'a> {
    /// With one published port, where the network publishes any.
    pub fn new(
        suite: &'a Suite,
        chain: &'a Chain,
        (id, netns): (&'a str, &'a Netns),
        port: usize,
        tally: &'a Tally,
    ) -> Self {
        let port = json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"});
        let attachment = Attachment::new(suite, &chain.list, id, netns)
            .capabilities(json!({"portMappings": [port]}));
        Self {
            id,
            chain,
            netns,
            attachment,
            tally,
            way: None,
        }
    }

    /// With all fast paths in every call, which otherwise takes any way.
    #[must_use]
    pub fn in_the_fast_way(self) -> Self {
        let way = Some("on");
        Self { way, ..self }
    }

    /// One call of one plugin.
    pub fn call(
        &self,
        random: &mut Random,
        command: &str,
        plugin: &Value,
        result: &Value,
    ) -> Runner {
        let call = self.attachment.runner(command, plugin, result);
        let any = WAYS[random.below(3)];
        call.env("TENON_FAST_PATHS", self.way.unwrap_or(any))
            .timeout(DEADLINE)
    }

    /// Its plugins in order.
    pub fn plugins(&self) -> &'a [Value] {
        self.attachment.plugins()
    }

    /// ADD of each plugin; the last one's result, or the first failure.
    ///
    /// # Errors
    /// What the plugin answered that failed.
    pub fn try_add(&self, random: &mut Random) -> Result<Value, Outcome> {
        let mut result = Value::Null;
        for plugin in self.plugins() {
            let added = self.call(random, "ADD", plugin, &result).run();
            if self.tally.note("ADD", &added).code != 0 {
                let _told = added.expect_any_error();
                return Err(added);
            }
            result = added.expect_ok().json();
        }
        Ok(result)
    }

    /// Of ADD that has to succeed: the interface is there with its addresses.
    #[track_caller]
    pub fn add(&self, random: &mut Random) -> Value {
        let result = self
            .try_add(random)
            .unwrap_or_else(|failed| panic!("{}: {failed}", self.id));
        let mut wanted: Vec<_> = cidrs(&result).iter().map(|cidr| bare(cidr)).collect();
        let mut found = self.addresses();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{}", self.id);
        result
    }

    /// The addresses of its interface, link-local ones left out.
    pub fn addresses(&self) -> Vec<String> {
        let all = self.netns.run(|| getifaddrs().unwrap().collect::<Vec<_>>());
        let of_ours = all.iter().filter(|found| found.interface_name == IFNAME);
        let addresses = of_ours.filter_map(|found| found.address.as_ref());
        let shown = addresses.filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_string()))
        });
        shown
            .filter(|address| !address.starts_with("fe80:"))
            .collect()
    }

    /// Whether its interface is there.
    pub fn has_interface(&self) -> bool {
        let found = self.netns.run(|| if_nametoindex(IFNAME));
        assert!(matches!(found, Ok(_) | Err(Errno::ENODEV)), "{found:?}");
        found.is_ok()
    }

    /// CHECK of each plugin: the first failure.
    pub fn check(&self, random: &mut Random, result: &Value) -> Option<Outcome> {
        let checks = self.plugins().iter().map(|plugin| {
            let checked = self.call(random, "CHECK", plugin, result).run();
            self.tally.note("CHECK", &checked);
            checked
        });
        let mut failed = checks.filter(|checked| checked.code != 0);
        failed
            .next()
            .inspect(|failed| drop(failed.expect_any_error()))
    }

    /// CHECK that has to find everything.
    #[track_caller]
    pub fn check_ok(&self, random: &mut Random, result: &Value) {
        if let Some(failed) = self.check(random, result) {
            panic!("{}: {failed}", self.id);
        }
    }

    /// DEL of each plugin, the last one first, which has to succeed and to take the interface.
    #[track_caller]
    pub fn del(&self, random: &mut Random, result: &Value) {
        for deleted in self.dels(random, result).iter().map(Runner::run) {
            self.tally.note("DEL", &deleted);
            deleted.expect_silent_ok();
        }
        assert!(!self.has_interface(), "{}: DEL left its interface", self.id);
    }

    /// The calls that make a DEL.
    pub fn dels(&self, random: &mut Random, result: &Value) -> Vec<Runner> {
        let plugins = self.plugins().iter().rev();
        plugins
            .map(|plugin| self.call(random, "DEL", plugin, result))
            .collect()
    }

    /// Of an attachment that CHECK has found as it should be: so it is.
    #[track_caller]
    pub fn assert_complete(&self, result: &Value) {
        let mut wanted: Vec<_> = cidrs(result).iter().map(|cidr| bare(cidr)).collect();
        let mut found = self.addresses();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{}", self.id);
        for gateway in &self.chain.gateways {
            assert!(
                self.netns.ping_within(gateway, 10),
                "{} has no {gateway}",
                self.id
            );
        }
    }

    /// A runtime that loses patience with one plugin and ends it, and calls no other.
    pub fn interrupt(&self, random: &mut Random, command: &str, result: &Value) {
        let mut plugins: Vec<_> = self.plugins().iter().collect();
        if command == "DEL" {
            plugins.reverse();
        }
        let (last, mut result) = (random.below(plugins.len()), result.clone());
        for plugin in &plugins[..last] {
            let done = self
                .call(random, command, plugin, &result)
                .run()
                .expect_ok();
            if command == "ADD" {
                result = done.json();
            }
        }
        let running = self.call(random, command, plugins[last], &result).start();
        pause(random.shorter_than(PATIENCE));
        let signal = [Signal::SIGTERM, Signal::SIGKILL][random.below(2)];
        let reach = ["alone", "with its group"][random.below(2)];
        if running.stop(signal, reach != "alone") {
            self.tally.count(
                &format!("{command} ended by {signal} {reach}"),
                Duration::ZERO,
            );
        }
    }
}

/// GC of each plugin of a network.
#[track_caller]
pub fn collect(suite: &Suite, chain: &Chain, valid: &[(&str, &str)], tally: &Tally) {
    for plugin in chain.list["plugins"].as_array().unwrap() {
        let named = json!({"cniVersion": VERSION, "name": chain.list["name"]});
        let conf = Conf(plugin.clone()).with(named).without("capabilities");
        let call = suite.plugin(plugin["type"].as_str().unwrap()).command("GC");
        let done = call
            .conf(&conf.valid_attachments(valid))
            .timeout(DEADLINE)
            .run();
        tally.note("GC", &done);
        done.expect_silent_ok();
    }
}

/// All that plugins may leave on a machine, but for the place where a rotation is.
pub fn machine(world: &World) -> Snapshot {
    let state = ["/run/tenon", "/run/cni", "/var/lib/cni"];
    let snapshot = state.into_iter().fold(world.snapshot(), |snapshot, dir| {
        snapshot.tree(dir.as_ref())
    });
    snapshot.without("last_reserved_ip")
}

/// A random moment is no event.
#[expect(
    clippy::disallowed_methods,
    reason = "a random moment is no event to wait for"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// How often something was done, and how long it took at most.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, (u64, Duration)>>);

impl Tally {
    /// One call, which has to be in time.
    #[track_caller]
    pub fn note<'o>(&self, what: &str, outcome: &'o Outcome) -> &'o Outcome {
        assert!(
            !outcome.timed_out,
            "no answer within {DEADLINE:?}: {outcome}"
        );
        self.count(what, outcome.elapsed);
        outcome
    }

    /// One of anything.
    pub fn count(&self, what: &str, took: Duration) {
        let mut counts = self.0.lock().unwrap();
        let (count, longest) = counts.entry(what.to_owned()).or_default();
        *count += 1;
        *longest = took.max(*longest);
    }

    /// How often so far.
    pub fn of(&self, what: &str) -> u64 {
        self.0
            .lock()
            .unwrap()
            .get(what)
            .map_or(0, |(count, _)| *count)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, (count, longest)) in &*self.0.lock().unwrap() {
            writeln!(f, "{count:7} {what}, at most {longest:?}")?;
        }
        Ok(())
    }
}
