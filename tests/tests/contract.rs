//! What every plugin answers a runtime, whatever it is for: environment, versions, envelopes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{ALL_VERSIONS, Conf, Netns, Runner, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::limits::Pair;
use tenon_tests::network::{Network, cidrs};

const PLUGINS: [&str; 7] = [
    "bridge",
    "host-local",
    "loopback",
    "portmap",
    "firewall",
    "bandwidth",
    "tuning",
];
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    without_a_command_a_plugin_tells_what_it_is => |suite| about(suite);
    version_is_told_whatever_is_on_stdin => |suite| version(suite);
    missing_variables_are_listed => |suite| missing_variables(suite);
    invalid_names_are_refused => |suite| invalid_names(suite);
    variables_that_a_command_does_not_need_are_not_looked_at => |suite| needless_variables(suite);
    an_unknown_command_is_refused_after_stdin => |suite| unknown_command(suite);
    stdin_that_is_not_a_config_is_refused => |suite| bad_stdin(suite);
    versions_that_nobody_knows_are_refused => |suite| unknown_versions(suite);
    no_version_is_the_first_version => |suite| no_version(suite);
    every_command_at_every_version => |suite| matrix(suite);
    commands_before_their_version_are_refused => |suite| early_commands(suite);
    the_plugins_own_namespace_is_refused => |suite| own_namespace(suite);
    keys_are_found_in_any_case => |suite| key_case(suite);
    the_last_of_duplicate_keys_counts => |suite| duplicate_keys(suite);
    null_leaves_the_default_and_unknown_keys_are_ignored => |suite| null_and_unknown(suite);
    wrong_types_are_refused => |suite| wrong_types(suite);
    cni_args_are_checked_where_they_are_used => |suite| cni_args(suite);
    results_have_the_shape_of_their_version => |suite| result_shapes(suite);
}

/// A config with which every command of the plugin works.
fn conf_of(world: &World, plugin: &str, version: &str) -> Conf {
    let ipam = conf::host_local(world, &["10.82.0.0/24", "fd82::/64"]);
    let chained = || conf::plugin(version, plugin).prev_result(&result_before());
    match plugin {
        "bridge" => conf::bridge(version).ipam(ipam),
        "host-local" => conf::plugin(version, "host-local").ipam(ipam),
        "portmap" => {
            let port = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
            chained().with(json!({"runtimeConfig": {"portMappings": [port]}}))
        }
        "bandwidth" => chained().with(json!({
            "ingressRate": 8_000_000, "ingressBurst": 1_000_000,
            "egressRate": 8_000_000, "egressBurst": 1_000_000,
        })),
        "firewall" | "tuning" => chained(),
        other => conf::plugin(version, other),
    }
}

/// What a chained plugin gets from those in front of it: without a version it is read as one of the
/// config's, and it has the keys of all versions.
fn result_before() -> Value {
    json!({
        "interfaces": [
            {"name": "veth00000001"},
            {"name": "eth0", "sandbox": "/run/netns/c1"},
        ],
        "ip4": {"ip": "10.82.0.2/24"},
        "ips": [{"version": "4", "address": "10.82.0.2/24", "interface": 1}],
    })
}

fn ifname(plugin: &str) -> &'static str {
    match plugin {
        // They make no interface: this one is there.
        "loopback" | "tuning" => "lo",
        _ => "eth0",
    }
}

/// A call that would succeed.
fn call(suite: &Suite, world: &World, plugin: &str, command: &str, c1: &Netns) -> Runner {
    let conf = conf_of(world, plugin, VERSION);
    let call = suite.plugin(plugin).command(command).conf(&conf);
    call.attachment("c1", c1, ifname(plugin))
}

/// Runs `test` for every plugin in a world of its own.
fn each_plugin(test: impl Fn(&World, &Netns, &str)) {
    for plugin in PLUGINS {
        let world = World::new();
        let c1 = world.container("c1");
        if plugin == "bandwidth" {
            // Limits are of a link that is there: the one of `result_before`.
            Pair::new(&world, &c1, "eth0", 1);
        }
        test(&world, &c1, plugin);
    }
}

fn known_versions(suite: &Suite, plugin: &str) -> Vec<&'static str> {
    let mut versions = ALL_VERSIONS.to_vec();
    let first = match plugin {
        "bandwidth" => "0.3.0",
        "firewall" => "0.4.0",
        _ => "0.1.0",
    };
    versions.retain(|version| *version >= first);
    if differs(suite, "version-1.1.0") {
        versions.pop();
    }
    versions
}

#[track_caller]
fn assert_error(outcome: &cni_testkit::Outcome, code: u32, fragment: &str) {
    let error = outcome.expect_error(code);
    let text = format!("{} {}", error["msg"], error["details"]);
    assert!(text.contains(fragment), "no {fragment:?} in\n{outcome}");
    assert_eq!(outcome.code, 1, "{outcome}");
}

fn about(suite: &Suite) {
    each_plugin(|_, _, plugin| {
        let outcome = suite.plugin(plugin).run().expect_silent_ok();
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{outcome}");
        assert!(
            lines[0].starts_with(&format!("CNI {plugin} plugin v")),
            "{outcome}"
        );
        let versions = known_versions(suite, plugin).join(", ");
        assert_eq!(
            lines[1],
            format!("CNI protocol versions supported: {versions}")
        );
    });
}

fn version(suite: &Suite) {
    each_plugin(|_, _, plugin| {
        let versions = known_versions(suite, plugin);
        for stdin in ["", r#"{"cniVersion": "0.2.0"}"#, "rubbish"] {
            let call = suite.plugin(plugin).command("VERSION").stdin(stdin);
            let outcome = call.run().expect_ok();
            let expected = json!({
                "cniVersion": versions.last().unwrap(),
                "supportedVersions": versions,
            });
            assert_eq!(outcome.json(), expected);
            assert!(outcome.text().ends_with("}\n"), "{outcome}");
        }
    });
}

fn missing_variables(suite: &Suite) {
    let mut rows = vec![
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
    ];
    if !differs(suite, "version-1.1.0") {
        rows.extend([("GC", "CNI_PATH"), ("STATUS", "CNI_PATH")]);
    }
    each_plugin(|world, c1, plugin| {
        for (command, required) in &rows {
            let all: Vec<_> = required.split(',').collect();
            let whole = call(suite, world, plugin, command, c1);
            let none = all
                .iter()
                .fold(whole.clone(), |call, name| call.env_remove(name));
            assert_error(
                &none.run(),
                4,
                &format!("required env variables [{required}] missing"),
            );
            for name in all {
                // Empty is missing.
                let outcome = whole.clone().env(name, "").run();
                assert_error(
                    &outcome,
                    4,
                    &format!("required env variables [{name}] missing"),
                );
            }
        }
    });
}

fn invalid_names(suite: &Suite) {
    let rows = [
        (
            "CNI_CONTAINERID",
            "../etc",
            "invalid characters in containerID",
        ),
        (
            "CNI_CONTAINERID",
            "-c1",
            "invalid characters in containerID",
        ),
        (
            "CNI_CONTAINERID",
            "c 1",
            "invalid characters in containerID",
        ),
        (
            "CNI_IFNAME",
            "sixteen-bytes-xx",
            "interface name is too long",
        ),
        ("CNI_IFNAME", "..", "interface name is . or .."),
        (
            "CNI_IFNAME",
            "a/b",
            "interface name contains / or : or whitespace characters",
        ),
        (
            "CNI_IFNAME",
            "a:b",
            "interface name contains / or : or whitespace characters",
        ),
        (
            "CNI_IFNAME",
            "a b",
            "interface name contains / or : or whitespace characters",
        ),
    ];
    each_plugin(|world, c1, plugin| {
        let before = world.snapshot();
        for (variable, value, text) in rows {
            for command in ["ADD", "DEL", "CHECK"] {
                // An invalid one is reported at once, whatever is missing besides it.
                let call = call(suite, world, plugin, command, c1);
                let call = call.env(variable, value);
                assert_error(&call.run(), 4, text);
                let first = if differs(suite, "validation-order") {
                    "required env variables [CNI_PATH] missing"
                } else {
                    text
                };
                assert_error(&call.env_remove("CNI_PATH").run(), 4, first);
            }
        }
        before.assert_unchanged(&world.snapshot());
    });
}

fn needless_variables(suite: &Suite) {
    each_plugin(|_, _, plugin| {
        let call = suite.plugin(plugin).command("VERSION");
        let call = call.container_id("../etc").ifname("a/b");
        call.env_remove("CNI_PATH").run().expect_ok();
    });
}

fn unknown_command(suite: &Suite) {
    each_plugin(|world, c1, plugin| {
        for command in ["add", "FROB", "ADD "] {
            let call = call(suite, world, plugin, command, c1);
            let text = format!("unknown CNI_COMMAND: {command}");
            assert_error(&call.run(), 4, &text);
            assert_error(&call.clone().stdin("rubbish").run(), 6, "");
            assert_error(&call.stdin("{}").run(), 7, "missing network name");
        }
    });
}

fn bad_stdin(suite: &Suite) {
    let rows: [(&[u8], u32, &str); 10] = [
        (b"", 6, ""),
        (b"{", 6, ""),
        (b"[]", 6, ""),
        (b"\"text\"", 6, ""),
        (b"{\"name\": \"n\"} {}", 6, ""),
        (b"\x00\x01\x02", 6, ""),
        (b"{}", 7, "missing network name"),
        (b"{\"name\": \"\"}", 7, "missing network name"),
        (b"{\"name\": \"a/b\"}", 7, "invalid characters"),
        (b"{\"name\": 7}", 6, ""),
    ];
    each_plugin(|world, c1, plugin| {
        let before = world.snapshot();
        for (stdin, code, text) in rows {
            for command in ["ADD", "DEL", "CHECK"] {
                let call = call(suite, world, plugin, command, c1).stdin(stdin);
                assert_error(&call.run(), code, text);
            }
        }
        before.assert_unchanged(&world.snapshot());
    });
}

fn unknown_versions(suite: &Suite) {
    each_plugin(|world, c1, plugin| {
        let before = world.snapshot();
        for version in ["0.0.9", "0.5.0", "1.0.1", "2.0.0", "1", "1.0.0 "] {
            let conf = conf_of(world, plugin, version);
            let call = call(suite, world, plugin, "ADD", c1).conf(&conf);
            assert_error(&call.run(), 1, "incompatible CNI versions");
        }
        let known = known_versions(suite, plugin);
        for version in ALL_VERSIONS
            .iter()
            .filter(|version| !known.contains(version))
        {
            let conf = conf_of(world, plugin, version);
            let call = call(suite, world, plugin, "ADD", c1).conf(&conf);
            assert_error(&call.run(), 1, "incompatible CNI versions");
        }
        let conf = conf_of(world, plugin, VERSION).with(json!({"cniVersion": 1.0}));
        let call = call(suite, world, plugin, "ADD", c1).conf(&conf);
        assert_error(&call.run(), 6, "");
        before.assert_unchanged(&world.snapshot());
    });
}

fn no_version(suite: &Suite) {
    each_plugin(|world, c1, plugin| {
        for conf in [
            conf_of(world, plugin, "").without("cniVersion"),
            conf_of(world, plugin, ""),
        ] {
            let added = call(suite, world, plugin, "ADD", c1).conf(&conf).run();
            if known_versions(suite, plugin)[0] != ALL_VERSIONS[0] {
                assert_error(&added, 1, "incompatible CNI versions");
                continue;
            }
            let result = added.expect_ok().json();
            if !(plugin == "loopback" && differs(suite, "loopback-old-results")) {
                assert!(result["ip4"]["ip"].is_string(), "{result}");
            }
            let deleted = call(suite, world, plugin, "DEL", c1).conf(&conf).run();
            deleted.expect_silent_ok();
        }
    });
}

/// Every plugin × every version × {ADD, CHECK, DEL, DEL again, GC, STATUS, VERSION}.
fn matrix(suite: &Suite) {
    for version in ALL_VERSIONS {
        each_plugin(|world, c1, plugin| {
            if known_versions(suite, plugin).contains(&version) {
                commands(suite, world, c1, (plugin, version));
            }
        });
    }
}

fn commands(suite: &Suite, world: &World, c1: &Netns, (plugin, version): (&str, &str)) {
    let conf = conf_of(world, plugin, version);
    let run = |command: &str, conf: &Conf| {
        let call = suite.plugin(plugin).command(command).conf(conf);
        call.attachment("c1", c1, ifname(plugin)).run()
    };
    let result = run("ADD", &conf).expect_ok().json();
    assert_eq!(result["cniVersion"], version);
    let with_result = conf.clone().prev_result(&result);
    let checks = version >= "0.4.0" && !(plugin == "portmap" && differs(suite, "check-ports"));
    if checks {
        run("CHECK", &with_result).expect_silent_ok();
    }
    let given = if version >= "0.4.0" {
        &with_result
    } else {
        &conf
    };
    if version >= "1.1.0" {
        run("STATUS", &conf).expect_silent_ok();
        let valid = conf.clone().valid_attachments(&[("c1", ifname(plugin))]);
        run("GC", &valid).expect_silent_ok();
        run("CHECK", &with_result).expect_silent_ok();
    }
    run("DEL", given).expect_silent_ok();
    run("DEL", given).expect_silent_ok();
    if version >= "1.1.0" {
        run("GC", &conf.clone().valid_attachments(&[])).expect_silent_ok();
    }
    run("VERSION", given).expect_ok();
    let left = world.snapshot().without("last_reserved_ip");
    let named = left.naming(&["c1", "10.82.0.2", "fd82::2", "8080"]);
    assert_eq!(named, Vec::<&str>::new(), "{plugin} {version}");
}

fn early_commands(suite: &Suite) {
    let late: &[&str] = if differs(suite, "gc-status") {
        &[]
    } else {
        &["GC", "STATUS"]
    };
    each_plugin(|world, c1, plugin| {
        for version in known_versions(suite, plugin) {
            let conf = conf_of(world, plugin, version);
            let mut early = Vec::new();
            if version < "0.4.0" {
                early.push("CHECK");
            }
            if version < "1.1.0" {
                early.extend(late);
            }
            for command in early {
                let call = call(suite, world, plugin, command, c1).conf(&conf);
                let text = format!("config version does not allow {command}");
                assert_error(&call.run(), 1, &text);
            }
        }
        if differs(suite, "gc-status") {
            for command in ["GC", "STATUS"] {
                let call = call(suite, world, plugin, command, c1);
                assert_error(&call.run(), 4, &format!("unknown CNI_COMMAND: {command}"));
            }
        }
    });
}

fn own_namespace(suite: &Suite) {
    let text = "plugin's netns and netns from CNI_NETNS should not be the same";
    for own in ["/run/netns/host", "/proc/self/ns/net"] {
        each_plugin(|world, c1, plugin| {
            if differs(suite, "own-namespace") {
                if plugin == "bandwidth" {
                    // Nothing there is called as the container's interface.
                    return;
                }
                call(suite, world, plugin, "ADD", c1)
                    .netns(own)
                    .run()
                    .expect_ok();
                return;
            }
            let before = world.snapshot();
            for command in ["ADD", "CHECK", "DEL"] {
                let call = call(suite, world, plugin, command, c1).netns(own);
                assert_error(&call.run(), 8, text);
            }
            before.assert_unchanged(&world.snapshot());
        });
    }
    // For plugins that are tested or started inside a container's namespace on purpose.
    for value in ["1", "TRUE"] {
        let world = World::new();
        let c1 = world.container("c1");
        let call = call(suite, &world, "loopback", "ADD", &c1).netns(world.host().path());
        call.env("CNI_NETNS_OVERRIDE", value).run().expect_ok();
    }
}

fn key_case(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let text = format!(
        r#"{{"CNIVERSION": "1.0.0", "Name": "n", "TYPE": "bridge", "Bridge": "br7", "ISGATEWAY": true,
            "RuntimeConfig": {{"MAC": "02:00:00:00:00:07", "IPs": ["10.82.0.7"]}},
            "Ipam": {{"Type": "host-local", "DATADIR": "{}", "Ranges": [[{{"Subnet": "10.82.0.0/24"}}]]}}}}"#,
        world.data_dir().display()
    );
    let added = call(suite, &world, "bridge", "ADD", &c1)
        .stdin(text)
        .run()
        .expect_ok();
    let result = added.json();
    assert_eq!(cidrs(&result), ["10.82.0.7/24"]);
    assert_eq!(result["ips"][0]["gateway"], "10.82.0.1");
    assert_eq!(result["interfaces"][0]["name"], "br7");
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
}

fn duplicate_keys(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let text = format!(
        r#"{{"cniVersion": "0.4.0", "cniVersion": "1.0.0", "name": "m", "name": "n", "type": "bridge",
            "bridge": "br6", "bridge": "br7",
            "ipam": {{"type": "host-local", "dataDir": "/nowhere", "dataDir": "{}", "subnet": "10.82.0.0/24"}}}}"#,
        world.data_dir().display()
    );
    let added = call(suite, &world, "bridge", "ADD", &c1)
        .stdin(text)
        .run()
        .expect_ok();
    assert_eq!(added.json()["cniVersion"], "1.0.0");
    assert_eq!(added.json()["interfaces"][0]["name"], "br7");
    assert!(world.data_dir().join("n/10.82.0.2").is_file());
}

fn null_and_unknown(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let keys = json!({
        "bridge": null, "mtu": null, "dns": null, "args": null, "runtimeConfig": null,
        "isGateway": null, "hairpinMode": null, "vlan": null, "prevResult": null,
        "capabilities": {"mac": true}, "frobnicate": {"deep": [1, null]}, "isDefaultGateway": false,
    });
    let conf = conf_of(&world, "bridge", VERSION).with(keys);
    let conf = conf.with_ipam(json!({"routes": null, "resolvConf": null, "frob": 1}));
    let result = call(suite, &world, "bridge", "ADD", &c1)
        .conf(&conf)
        .run()
        .expect_ok()
        .json();
    assert_eq!(result["interfaces"][0]["name"], "cni0");
    assert_eq!(cidrs(&result), ["10.82.0.2/24", "fd82::2/64"]);
}

fn wrong_types(suite: &Suite) {
    let rows = [
        ("bridge", json!({"mtu": "1400"})),
        ("bridge", json!({"mtu": 1400.5})),
        ("bridge", json!({"isGateway": "yes"})),
        ("bridge", json!({"bridge": 7})),
        ("bridge", json!({"ipam": "host-local"})),
        ("bridge", json!({"runtimeConfig": []})),
        ("portmap", json!({"snat": "yes"})),
        ("portmap", json!({"conditionsV4": "-s 10.0.0.0/8"})),
        ("portmap", json!({"conditionsV4": "-i"})),
        ("portmap", json!({"runtimeConfig": {"portMappings": {}}})),
        ("firewall", json!({"backend": 7})),
        ("firewall", json!({"ingressPolicy": ["same-bridge"]})),
        ("bandwidth", json!({"ingressRate": "8000000"})),
        (
            "host-local",
            json!({"ipam": {"type": "host-local", "ranges": {}}}),
        ),
        (
            "host-local",
            json!({"ipam": {"type": "host-local", "subnet": 10}}),
        ),
    ];
    for (plugin, keys) in rows {
        let world = World::new();
        let c1 = world.container("c1");
        let before = world.snapshot();
        let conf = conf_of(&world, plugin, VERSION).with(keys);
        let outcome = call(suite, &world, plugin, "ADD", &c1).conf(&conf).run();
        if differs(suite, "error-codes") {
            outcome.expect_any_error();
        } else {
            outcome.expect_error(6);
        }
        before.assert_unchanged(&world.snapshot());
    }
}

fn cni_args(suite: &Suite) {
    let code = if differs(suite, "error-codes") {
        999
    } else {
        4
    };
    for plugin in ["bridge", "host-local", "tuning"] {
        let world = World::new();
        let c1 = world.container("c1");
        let before = world.snapshot();
        let with = |args: &str| call(suite, &world, plugin, "ADD", &c1).args(args).run();
        assert_error(&with("FOO=1"), code, "FOO");
        for malformed in ["FOO", "IgnoreUnknown=1;", "IgnoreUnknown=1;A=B=C"] {
            assert_error(&with(malformed), code, "invalid pair");
        }
        assert_error(&with("IgnoreUnknown=perhaps;FOO=1"), code, "");
        // Names are of one case.
        assert_error(&with("ignoreunknown=1"), code, "ignoreunknown");
        assert_error(&with("IgnoreUnknown=false;FOO=1"), code, "FOO");
        before.assert_unchanged(&world.snapshot());
        let kubernetes = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
                          K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=8d7f";
        with(kubernetes).expect_ok();
    }
    let world = World::new();
    let c1 = world.container("c1");
    let loopback = call(suite, &world, "loopback", "ADD", &c1).args("rubbish");
    loopback.run().expect_ok();
}

fn result_shapes(suite: &Suite) {
    for version in known_versions(suite, "bridge") {
        let world = World::new();
        let c1 = world.container("c1");
        let conf = conf_of(&world, "bridge", version).with_ipam(json!({
            "routes": [{"dst": "192.0.2.0/24", "gw": "10.82.0.9"}],
        }));
        let result = Network::new(suite, conf).add("c1", &c1).result;
        let keys: Vec<_> = result
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected: &[&str] = match version {
            "0.1.0" | "0.2.0" => &["cniVersion", "dns", "ip4", "ip6"],
            "0.3.0" | "0.3.1" | "0.4.0" => &["cniVersion", "dns", "interfaces", "ips", "routes"],
            _ if differs(suite, "empty-dns") => {
                &["cniVersion", "dns", "interfaces", "ips", "routes"]
            }
            _ => &["cniVersion", "interfaces", "ips", "routes"],
        };
        assert_eq!(keys, expected, "{version}: {result}");
        assert_shape(version, &result);
    }
}

fn assert_shape(version: &str, result: &Value) {
    if matches!(version, "0.1.0" | "0.2.0") {
        let ip4 = json!({
            "ip": "10.82.0.2/24",
            "gateway": "10.82.0.1",
            "routes": [{"dst": "192.0.2.0/24", "gw": "10.82.0.9"}, {"dst": "0.0.0.0/0", "gw": "10.82.0.1"}],
        });
        assert_eq!(result["ip4"], ip4);
        let ip6 = json!({
            "ip": "fd82::2/64", "gateway": "fd82::1", "routes": [{"dst": "::/0", "gw": "fd82::1"}],
        });
        assert_eq!(result["ip6"], ip6);
        return;
    }
    let mut ips = json!([
        {"interface": 2, "address": "10.82.0.2/24", "gateway": "10.82.0.1"},
        {"interface": 2, "address": "fd82::2/64", "gateway": "fd82::1"},
    ]);
    if version < "1.0.0" {
        ips[0]["version"] = json!("4");
        ips[1]["version"] = json!("6");
    }
    assert_eq!(result["ips"], ips, "{version}");
    let keys = |interface: &Value| -> Vec<String> {
        interface.as_object().unwrap().keys().cloned().collect()
    };
    let interfaces = result["interfaces"].as_array().unwrap();
    let host_keys: &[&str] = match version {
        "1.1.0" => &["mac", "mtu", "name"],
        _ => &["mac", "name"],
    };
    assert_eq!(keys(&interfaces[1]), host_keys, "{version}");
    let container_keys = [host_keys, &["sandbox"]].concat();
    assert_eq!(keys(&interfaces[2]), container_keys, "{version}");
}
