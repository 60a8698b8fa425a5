//! VLANs of the bridge plugin: what a container's port is in, who hears whom, the gateway's
//! interface. Kernels without VLAN filtering of bridges run the refusals only; scripts/test-vm runs
//! the rest, in a virtual machine whose kernel has it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use cni_testkit::{Conf, Fakes, Netns, Outcome, Runner, Snapshot, Suite, World, conf, skip};
use serde_json::{Value, json};
use tenon_tests::differences::differs;

/// Old and new forms of results, without and with CHECK: emulation makes every one count.
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const LATEST: &str = "1.1.0";
const BRIDGE: &str = "tenon0";
/// The name of `vlan` 100's gateway, as the reference makes it.
const GATEWAY: &str = "tenon0.100";
const SUBNET: &str = "10.77.0.0/24";
const GATEWAY_ADDRESS: &str = "10.77.0.1/24";

cni_testkit::suites! {
    a_port_is_in_its_vlan => |suite| port_is_in_its_vlan(suite);
    only_those_in_one_vlan_hear_each_other => |suite| isolation(suite);
    the_gateway_has_an_interface_of_its_own => |suite| gateway(suite);
    a_bridge_that_does_not_filter_is_left_so => |suite| bridge_without_filtering(suite);
    vlan_ids_out_of_range_are_refused => |suite| invalid_ids(suite);
}

/// Whether the kernel's bridges can filter VLANs, or else what it says.
fn vlan_filtering(world: &World) -> Result<(), String> {
    let words = "link add probe type bridge vlan_filtering 1".split(' ');
    let made = (world.host()).try_command("ip", &words.collect::<Vec<_>>());
    if made.code != 0 {
        return Err(made.stderr.trim().to_owned());
    }
    world.host().ip("link delete probe");
    Ok(())
}

/// A machine whose bridges filter VLANs, if the kernel can have them.
fn vlan_world() -> Option<World> {
    let world = World::new();
    let Err(why) = vlan_filtering(&world) else {
        return Some(world);
    };
    assert!(
        std::env::var_os("TENON_VM").is_none(),
        "the virtual machine's bridges do not filter VLANs: {why}"
    );
    skip(&format!(
        "bridges of this kernel do not filter VLANs ({why}); scripts/test-vm runs it"
    ));
    None
}

fn versions(suite: &Suite) -> &'static [&'static str] {
    let known = VERSIONS.len() - usize::from(differs(suite, "version-1.1.0"));
    VERSIONS.get(..known).unwrap()
}

/// A bridge of layer 2 with these keys.
fn layer2(version: &str, keys: Value) -> Conf {
    conf::bridge(version).without("isDefaultGateway").with(keys)
}

fn container_id(netns: &Netns) -> &str {
    netns.path().file_name().unwrap().to_str().unwrap()
}

/// A call with the time that emulation needs.
fn call(suite: &Suite, command: &str, netns: &Netns, conf: &Conf) -> Runner {
    let runner = suite.plugin("bridge").command(command).conf(conf);
    runner
        .attachment(container_id(netns), netns, "eth0")
        .timeout(Duration::from_secs(60))
}

fn add(suite: &Suite, netns: &Netns, conf: &Conf) -> Value {
    call(suite, "ADD", netns, conf).run().expect_ok().json()
}

fn del(suite: &Suite, netns: &Netns, conf: &Conf) {
    call(suite, "DEL", netns, conf).run().expect_silent_ok();
}

fn check(suite: &Suite, netns: &Netns, conf: &Conf, result: &Value) -> Outcome {
    let conf = conf.clone().prev_result(result);
    call(suite, "CHECK", netns, &conf).run()
}

/// The bridge's port of an attachment.
fn port(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap()
}

/// The VLANs of every port of every bridge, bridges themselves too: `100 PVID Egress Untagged`.
fn all_vlans(world: &World) -> BTreeMap<String, Vec<String>> {
    let text = world.host().command("bridge", &["-j", "vlan", "show"]);
    let ports: Vec<Value> = serde_json::from_str(&text).unwrap();
    let vlans = |port: &Value| {
        port["vlans"]
            .as_array()
            .unwrap()
            .iter()
            .map(vlan_line)
            .collect()
    };
    ports
        .iter()
        .map(|port| (port["ifname"].as_str().unwrap().to_owned(), vlans(port)))
        .collect()
}

fn vlan_line(vlan: &Value) -> String {
    let flags = vlan["flags"].as_array().into_iter().flatten();
    let words = flags.map(|flag| flag.as_str().unwrap().to_owned());
    let mut line: Vec<String> = vec![vlan["vlan"].to_string()];
    line.extend(words);
    line.join(" ")
}

fn vlans_of(world: &World, port: &str) -> Vec<String> {
    all_vlans(world).remove(port).unwrap_or_default()
}

fn access(vlan: u16) -> String {
    format!("{vlan} PVID Egress Untagged")
}

/// The host's namespace, VLANs included.
fn host_state(world: &World) -> (Snapshot, BTreeMap<String, Vec<String>>) {
    (Snapshot::of(world.host()), all_vlans(world))
}

/// Nothing changed since `before`, in no namespace, and no lease is held.
#[track_caller]
fn assert_nothing_left(
    world: &World,
    before: &(Snapshot, BTreeMap<String, Vec<String>>),
    netns: &Netns,
) {
    before.0.assert_unchanged(&Snapshot::of(world.host()));
    assert_eq!(before.1, all_vlans(world));
    assert_eq!(netns.link_names(), ["lo"]);
    let leases = world.snapshot();
    let id = container_id(netns);
    assert!(
        leases.naming(&[id]).is_empty(),
        "{:?}",
        leases.naming(&[id])
    );
}

fn port_is_in_its_vlan(suite: &Suite) {
    let Some(world) = vlan_world() else { return };
    for (number, version) in versions(suite).iter().enumerate() {
        let c1 = world.container(&format!("c{number}"));
        let conf = layer2(version, json!({"vlan": 100}));
        let result = add(suite, &c1, &conf);
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
        let mut wanted = vec![access(100)];
        if suite.is_reference() {
            // Before 1.8.0 the bridge's own VLAN was always kept.
            wanted.insert(0, "1 Egress Untagged".into());
        }
        assert_eq!(vlans_of(&world, port(&result)), wanted, "{version}");
        let bridge = world.host().link(BRIDGE).unwrap();
        assert_eq!(bridge["linkinfo"]["info_data"]["vlan_filtering"], 1);
        assert_eq!(
            vlans_of(&world, BRIDGE),
            [access(1)],
            "the bridge itself is in no VLAN"
        );

        if conf::CHECK_VERSIONS.contains(version) && !differs(suite, "check-layer-two") {
            check(suite, &c1, &conf, &result).expect_silent_ok();
        }
        del(suite, &c1, &conf);
        assert!(c1.link("eth0").is_none());
        assert!(world.host().link(port(&result)).is_none());
        del(suite, &c1, &conf);
    }
    assert_eq!(world.host().link_names(), ["lo", BRIDGE]);
}

fn isolation(suite: &Suite) {
    let Some(world) = vlan_world() else { return };
    let names = ["one", "two", "other"];
    let containers = names.map(|name| world.container(name));
    for (index, vlan) in [100, 100, 200].into_iter().enumerate() {
        add(
            suite,
            &containers[index],
            &layer2("1.0.0", json!({"vlan": vlan})),
        );
        containers[index].ip(&format!("address add 10.9.0.{}/24 dev eth0", index + 1));
    }
    assert!(containers[0].ping("10.9.0.2"), "no answer in the same VLAN");
    assert!(
        !containers[0].ping_within("10.9.0.3", 2),
        "heard from another VLAN"
    );
    assert!(
        !containers[2].ping_within("10.9.0.2", 2),
        "heard from another VLAN"
    );
}

fn gateway(suite: &Suite) {
    let Some(world) = vlan_world() else { return };
    let [c1, c2] = ["one", "two"].map(|name| world.container(name));
    let conf = conf::bridge("1.0.0")
        .with(json!({"vlan": 100}))
        .ipam(conf::host_local(&world, &[SUBNET]));
    let first = add(suite, &c1, &conf);
    assert_eq!(first["interfaces"].as_array().unwrap().len(), 4);
    assert_eq!(first["interfaces"][3]["name"], GATEWAY);
    let gateway = world.host().link(GATEWAY).unwrap();
    assert_eq!(first["interfaces"][3]["mac"], gateway["address"]);
    assert_eq!(world.host().addresses(), [GATEWAY_ADDRESS]);
    let address = &world.host().ip_json(&format!("address show dev {GATEWAY}"))[0];
    assert_eq!(address["addr_info"][0]["local"], "10.77.0.1");
    let gateway_port = gateway["link"].as_str().unwrap();
    let of_port = vlans_of(&world, gateway_port);
    assert!(of_port.contains(&access(100)), "{of_port:?}");
    assert!(suite.is_reference() || of_port.len() == 1, "{of_port:?}");

    let links = world.host().link_names().len();
    let second = add(suite, &c2, &conf);
    assert_eq!(second["interfaces"][3], first["interfaces"][3]);
    assert_eq!(
        world.host().link_names().len(),
        links + 1,
        "the second ADD made more than a port"
    );
    assert!(c1.ping("10.77.0.1"), "no answer from the gateway");
    assert!(c2.ping(first["ips"][0]["address"].as_str().unwrap()));
    assert!(
        world
            .host()
            .ping(second["ips"][0]["address"].as_str().unwrap())
    );

    // The reference fixes the bridge's MAC address only with an address on the bridge itself, and its
    // CHECK does not like that a second port has changed it.
    if !suite.is_reference() {
        check(suite, &c1, &conf, &first).expect_silent_ok();
    }
    for netns in [&c1, &c2] {
        del(suite, netns, &conf);
    }
    // As the bridge stays, so does the gateway.
    assert_eq!(world.host().link_names().len(), links - 1);
    assert_eq!(
        world.host().link(GATEWAY).unwrap()["address"],
        gateway["address"]
    );
}

/// As the reference does: an operator's bridge is not changed.
fn bridge_without_filtering(suite: &Suite) {
    let Some(world) = vlan_world() else { return };
    let c1 = world.container("one");
    world.host().ip(&format!(
        "link add {BRIDGE} address 02:00:00:00:77:01 up type bridge"
    ));
    let before = world.host().link(BRIDGE).unwrap();
    assert_eq!(before["linkinfo"]["info_data"]["vlan_filtering"], 0);
    let conf = layer2("1.0.0", json!({"vlan": 100}));
    let result = add(suite, &c1, &conf);
    let after = world.host().link(BRIDGE).unwrap();
    assert_eq!(after["linkinfo"]["info_data"]["vlan_filtering"], 0);
    assert_eq!(after["ifindex"], before["ifindex"]);
    assert!(vlans_of(&world, port(&result)).contains(&access(100)));
    del(suite, &c1, &conf);
    assert_eq!(world.host().link_names(), ["lo", BRIDGE]);
}

fn invalid_ids(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("one");
    let before = world.snapshot();
    for vlan in [4095, -1] {
        let outcome = call(suite, "ADD", &c1, &layer2("1.0.0", json!({"vlan": vlan}))).run();
        let error = outcome.expect_any_error();
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.contains(&format!("invalid VLAN ID {vlan}")), "{msg}");
    }
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn trunks_that_make_no_sense_are_refused_and_name_the_entry() {
    let world = World::new();
    let c1 = world.container("one");
    let before = world.snapshot();
    let both = "minID and maxID should be configured simultaneously";
    let cases = [
        (json!({"minID": 10}), format!("{both}, maxID is missing")),
        (json!({"maxID": 10}), format!("{both}, minID is missing")),
        (
            json!({"minID": 0, "maxID": 10}),
            "incorrect trunk minID parameter".into(),
        ),
        (
            json!({"minID": 4095, "maxID": 4095}),
            "incorrect trunk minID parameter".into(),
        ),
        (
            json!({"minID": 1, "maxID": 4095}),
            "incorrect trunk maxID parameter".into(),
        ),
        (
            json!({"minID": 1, "maxID": 0}),
            "incorrect trunk maxID parameter".into(),
        ),
        (
            json!({"minID": 11, "maxID": 10}),
            "minID is greater than maxID in trunk parameter".into(),
        ),
        (json!({"id": 0}), "incorrect trunk id parameter".into()),
        (json!({"id": 4095}), "incorrect trunk id parameter".into()),
    ];
    for (entry, words) in cases {
        let conf = layer2(LATEST, json!({"vlanTrunk": [{"id": 1}, entry]}));
        let error = call(&Suite::ours(), "ADD", &c1, &conf)
            .run()
            .expect_error(7);
        let msg = error["msg"].as_str().unwrap();
        assert!(
            msg.contains(&words) && msg.contains("vlanTrunk[1]"),
            "{msg}"
        );
        // Whatever was done to the config since the ADD.
        del(&Suite::ours(), &c1, &conf);
    }
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn a_port_is_in_the_vlans_that_are_configured() {
    let Some(world) = vlan_world() else { return };
    let trunk = json!([{"minID": 200, "maxID": 203}, {"id": 101}, {"id": 200}]);
    let tagged = ["101", "200", "201", "202", "203"].map(str::to_owned);
    let keep = "1 Egress Untagged".to_owned();
    let with_trunk = |native: &[String]| [native, &tagged[..]].concat();
    let cases = [
        (
            json!({"vlan": 100, "preserveDefaultVlan": true}),
            vec![keep.clone(), access(100)],
        ),
        (
            json!({"vlan": 100, "preserveDefaultVlan": false}),
            vec![access(100)],
        ),
        (json!({"vlan": 1}), vec![access(1)]),
        (json!({"vlan": 4094}), vec![access(4094)]),
        (json!({"vlanTrunk": trunk}), with_trunk(&[access(1)])),
        (
            json!({"vlan": 100, "vlanTrunk": trunk}),
            with_trunk(&[access(100)]),
        ),
        (
            json!({"vlan": 100, "vlanTrunk": trunk, "preserveDefaultVlan": true}),
            with_trunk(&[keep, access(100)]),
        ),
        // Nothing is asked for: the bridge's own VLAN.
        (json!({"vlan": 0, "vlanTrunk": []}), vec![access(1)]),
    ];
    for (number, (keys, wanted)) in cases.into_iter().enumerate() {
        let netns = world.container(&format!("c{number}"));
        let conf = layer2(LATEST, keys.clone());
        let result = add(&Suite::ours(), &netns, &conf);
        assert_eq!(vlans_of(&world, port(&result)), wanted, "{keys}");
        check(&Suite::ours(), &netns, &conf, &result).expect_silent_ok();
        del(&Suite::ours(), &netns, &conf);
    }
}

/// An operator's bridge may give its ports another VLAN than 1, or none.
#[test]
fn the_default_vlan_is_the_one_of_the_bridge() {
    let Some(world) = vlan_world() else { return };
    let cases = [(7, true, vec!["7 Egress Untagged".into(), access(100)])];
    let cases = cases
        .into_iter()
        .chain([(7, false, vec![access(100)]), (0, false, vec![access(100)])]);
    for (number, (default, keep, wanted)) in cases.enumerate() {
        let netns = world.container(&format!("c{number}"));
        let (bridge, keys) = (
            format!("br{number}"),
            json!({"vlan": 100, "preserveDefaultVlan": keep}),
        );
        world.host().ip(&format!(
            "link add {bridge} address 02:00:00:00:77:0{number} up type bridge vlan_filtering 1 vlan_default_pvid {default}"
        ));
        let conf = layer2(LATEST, keys).with(json!({"bridge": bridge}));
        let result = add(&Suite::ours(), &netns, &conf);
        assert_eq!(
            vlans_of(&world, port(&result)),
            wanted,
            "default {default}, kept: {keep}"
        );
        check(&Suite::ours(), &netns, &conf, &result).expect_silent_ok();
    }
}

#[test]
fn tagged_frames_pass_in_the_trunks_vlans_only() {
    let Some(world) = vlan_world() else { return };
    let [router, inside, outside] =
        ["router", "inside", "outside"].map(|name| world.container(name));
    let trunk = json!({"vlanTrunk": [{"minID": 101, "maxID": 110}]});
    add(&Suite::ours(), &router, &layer2(LATEST, trunk));
    for (index, (netns, vlan)) in [(&inside, 105), (&outside, 200)].into_iter().enumerate() {
        add(
            &Suite::ours(),
            netns,
            &layer2(LATEST, json!({"vlan": vlan})),
        );
        netns.ip(&format!("address add 10.9.{index}.2/24 dev eth0"));
        router.ip(&format!(
            "link add link eth0 name v{vlan} up type vlan id {vlan}"
        ));
        router.ip(&format!("address add 10.9.{index}.1/24 dev v{vlan}"));
    }
    assert!(router.ping("10.9.0.2"), "no answer in a VLAN of the trunk");
    assert!(
        !router.ping_within("10.9.1.2", 2),
        "heard from outside the trunk"
    );
}

#[test]
fn check_fails_when_the_vlans_were_altered() {
    let Some(world) = vlan_world() else { return };
    let c1 = world.container("one");
    let conf = layer2(
        LATEST,
        json!({"vlan": 100, "vlanTrunk": [{"minID": 200, "maxID": 202}]}),
    );
    let result = add(&Suite::ours(), &c1, &conf);
    let alterations = [
        ("del", "vid 100", "add", "vid 100 pvid untagged"),
        ("del", "vid 201", "add", "vid 201"),
        ("add", "vid 100 untagged", "add", "vid 100 pvid untagged"),
        ("add", "vid 100 pvid", "add", "vid 100 pvid untagged"),
        ("add", "vid 202 untagged", "add", "vid 202"),
        (
            "add",
            "vid 202 pvid",
            "add",
            "vid 202 ; vid 100 pvid untagged",
        ),
        // What ADD took away.
        ("add", "vid 1 untagged", "del", "vid 1"),
        // A way into a VLAN that was not asked for.
        ("add", "vid 300", "del", "vid 300"),
    ];
    let alter = |verb: &str, changes: &str| {
        for change in changes.split(" ; ") {
            let words = ["vlan", verb, "dev", port(&result)];
            let words: Vec<_> = words.into_iter().chain(change.split(' ')).collect();
            world.host().command("bridge", &words);
        }
    };
    let mut unnoticed = Vec::new();
    for (verb, change, inverse, original) in alterations {
        alter(verb, change);
        let outcome = check(&Suite::ours(), &c1, &conf, &result);
        if outcome.code == 0 {
            unnoticed.push(format!("{verb} {change}"));
        } else {
            let error = outcome.expect_error(103).to_string();
            assert!(error.contains("VLAN"), "{verb} {change}: {error}");
        }
        alter(inverse, original);
        check(&Suite::ours(), &c1, &conf, &result).expect_silent_ok();
    }
    assert_eq!(unnoticed, [""; 0]);
}

#[test]
fn check_fails_when_the_gateway_was_altered() {
    let Some(world) = vlan_world() else { return };
    let c1 = world.container("one");
    let conf = conf::bridge(LATEST)
        .with(json!({"vlan": 100}))
        .ipam(conf::host_local(&world, &[SUBNET]));
    let result = add(&Suite::ours(), &c1, &conf);
    let gateway = world.host().link(GATEWAY).unwrap();
    let port = gateway["link"].as_str().unwrap();
    let alterations = [
        (
            format!("bridge vlan del dev {port} vid 100"),
            format!("bridge vlan add dev {port} vid 100 pvid untagged"),
        ),
        (
            format!("bridge vlan add dev {port} vid 100 pvid"),
            format!("bridge vlan add dev {port} vid 100 pvid untagged"),
        ),
        (
            format!("ip address del {GATEWAY_ADDRESS} dev {GATEWAY}"),
            format!("ip address add {GATEWAY_ADDRESS} dev {GATEWAY}"),
        ),
        (
            format!("ip link set {GATEWAY} down"),
            format!("ip link set {GATEWAY} up"),
        ),
        (
            format!("ip link set {port} down"),
            format!("ip link set {port} up"),
        ),
    ];
    let run = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        world.host().command(words[0], &words[1..]);
    };
    let mut unnoticed = Vec::new();
    for (alteration, inverse) in alterations {
        run(&alteration);
        let outcome = check(&Suite::ours(), &c1, &conf, &result);
        if outcome.code == 0 {
            unnoticed.push(alteration);
        } else {
            outcome.expect_error(103);
        }
        run(&inverse);
        check(&Suite::ours(), &c1, &conf, &result).expect_silent_ok();
    }
    assert_eq!(unnoticed, [""; 0]);
}

#[test]
fn a_failed_add_leaves_nothing() {
    let Some(world) = vlan_world() else { return };
    let [c1, c2] = ["one", "two"].map(|name| world.container(name));
    let fakes = Fakes::new(&world);
    fakes.failing("broken-ipam", 123, "no");
    let good = conf::bridge(LATEST)
        .with(json!({"vlan": 100}))
        .ipam(conf::host_local(&world, &[SUBNET]));
    let broken = good.clone().ipam(json!({"type": "broken-ipam"}));
    // Not the address that the VLAN's gateway has.
    let other = good
        .clone()
        .ipam(conf::host_local(&world, &["10.78.0.0/24"]));
    let failing = |conf: &Conf| {
        let before = host_state(&world);
        let runner = call(&Suite::ours(), "ADD", &c2, conf);
        let error = runner.path_first(&fakes.dir()).run().expect_any_error();
        assert_nothing_left(&world, &before, &c2);
        error
    };
    failing(&broken);
    add(&Suite::ours(), &c1, &good);
    failing(&broken);
    let error = failing(&other.with_ipam(json!({"dataDir": world.dir().join("other")})));
    assert_eq!(error["code"], 101, "{error}");
}

/// What such a kernel says is part of the error, and the key that it cannot do.
#[test]
fn a_kernel_without_vlan_filtering_is_an_error_that_names_the_key() {
    let world = World::new();
    if vlan_filtering(&world).is_ok() {
        skip("bridges of this kernel filter VLANs; machines whose bridges do not run it");
        return;
    }
    let c1 = world.container("one");
    let before = host_state(&world);
    for (key, value) in [("vlan", json!(100)), ("vlanTrunk", json!([{"id": 100}]))] {
        let conf = conf::bridge(LATEST)
            .with(json!({key: value}))
            .ipam(conf::host_local(&world, &[SUBNET]));
        let error = call(&Suite::ours(), "ADD", &c1, &conf)
            .run()
            .expect_error(2);
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.starts_with(&format!("{key}: ")), "{msg}");
        let details = error["details"].as_str().unwrap();
        assert!(
            details.to_lowercase().contains("operation not supported"),
            "{details}"
        );
        assert_nothing_left(&world, &before, &c1);
        del(&Suite::ours(), &c1, &conf);
    }
}
