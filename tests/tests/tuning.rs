//! The tuning plugin: what it changes, what it tells of it, and that DEL changes it back.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::Path;

use cni_testkit::{ALL_VERSIONS, Conf, Netns, Outcome, Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Attached, Network, has_flag};

const VERSION: &str = "1.0.0";
const MAC: &str = "02:00:00:00:00:77";

cni_testkit::suites! {
    a_result_is_passed_on_in_every_version => |suite| pass_through(suite);
    each_link_value_is_set_checked_and_put_back => |suite| link_values(suite);
    the_transmit_queue_length_is_one_of_them => |suite| tx_queue_len(suite);
    values_that_are_right_already_are_left => |suite| right_already(suite);
    the_mac_address_comes_from_the_nearest_source => |suite| mac_sources(suite);
    arguments_beat_the_config => |suite| arguments(suite);
    the_result_tells_the_mac_address => |suite| result_mac(suite);
    sysctls_are_set_in_the_containers_namespace => |suite| sysctls(suite);
    sysctls_of_arguments_need_no_others => |suite| sysctls_of_arguments(suite);
    a_sysctl_can_be_of_the_attachments_interface => |suite| sysctl_of_interface(suite);
    equal_sysctl_keys_are_refused => |suite| equal_keys(suite);
    the_operator_can_restrict_sysctls => |suite| allow_list(suite);
    keys_that_lead_elsewhere_are_refused => |suite| keys_that_lead_elsewhere(suite);
    what_the_kernel_refuses_is_told_in_its_words => |suite| kernel_refuses(suite);
    what_makes_no_sense_is_refused => |suite| refusals(suite);
    check_finds_each_difference => |suite| check_differences(suite);
    check_compares_values_and_not_their_form => |suite| check_forms(suite);
    check_leaves_to_others_what_is_not_configured => |suite| check_others(suite);
    the_state_is_kept_where_the_config_says => |suite| data_dir(suite);
    a_failed_add_leaves_nothing => |suite| failed_add(suite);
    del_without_namespace_removes_the_state => |suite| no_namespace(suite);
    del_succeeds_whatever_is_gone => |suite| del_gone(suite);
}

/// A container with an interface that some plugin has made.
fn pod(world: &World) -> Netns {
    let c1 = world.container("c1");
    c1.ip("link add eth0 address 02:00:00:00:00:01 type veth peer name peer0");
    for words in [
        "link set peer0 up",
        "link set eth0 up",
        "addr add 10.91.0.2/24 dev eth0",
    ] {
        c1.ip(words);
    }
    c1
}

fn conf_of(c1: &Netns, keys: Value) -> Conf {
    let result = conf::result(VERSION, c1, "eth0", "10.91.0.2/24");
    conf::plugin(VERSION, "tuning")
        .with(keys)
        .prev_result(&result)
}

fn network<'a>(suite: &'a Suite, c1: &Netns, keys: Value) -> Network<'a> {
    Network::new(suite, conf_of(c1, keys))
}

fn state_file() -> &'static Path {
    Path::new("/run/cni/tuning/c1_eth0.json")
}

/// `address`, `mtu`, ... of `eth0`.
fn value(c1: &Netns, key: &str) -> Value {
    c1.link("eth0").unwrap()[key].clone()
}

/// A failure with that code (the reference knows only 999), and these words in it.
#[track_caller]
fn assert_error(suite: &Suite, outcome: &Outcome, code: u32, words: &[&str]) {
    let error = if differs(suite, "error-codes") {
        outcome.expect_any_error()
    } else {
        outcome.expect_error(code)
    };
    let text = format!("{} {}", error["msg"].as_str().unwrap(), error["details"]);
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{outcome}");
    }
}

/// A result of a version as some plugin in front of this one has printed it.
fn result_of(version: &str, c1: &Netns) -> Value {
    if version < "0.3.0" {
        return json!({
            "cniVersion": version, "dns": {"nameservers": ["10.91.0.1"]},
            "ip4": {"ip": "10.91.0.2/24", "gateway": "10.91.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "fd91::2/64"},
        });
    }
    let mut result = json!({
        "cniVersion": version,
        "dns": {"nameservers": ["10.91.0.1"], "search": ["a.example"]},
        "interfaces": [
            {"name": "br0", "mac": "02:00:00:00:00:09"},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": c1.path_str()},
        ],
        "ips": [
            {"address": "10.91.0.2/24", "gateway": "10.91.0.1", "interface": 1},
            {"address": "fd91::2/64", "interface": 1},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.91.0.1"}, {"dst": "fd92::/64"}],
    });
    if version < "1.0.0" {
        result["ips"][0]["version"] = json!("4");
        result["ips"][1]["version"] = json!("6");
    }
    if version >= "1.1.0" {
        result["interfaces"][1]["mtu"] = json!(1500);
        result["interfaces"][1]["pciID"] = json!("0000:00:1f.6");
        result["routes"][0]["scope"] = json!(0);
        result["routes"][0]["priority"] = json!(7);
    }
    result
}

fn pass_through(suite: &Suite) {
    let newest = usize::from(differs(suite, "version-1.1.0"));
    for version in &ALL_VERSIONS[..ALL_VERSIONS.len() - newest] {
        let world = World::new();
        let c1 = pod(&world);
        let before = result_of(version, &c1);
        for keys in [
            json!({}),
            json!({"sysctl": {"net.ipv4.ip_forward": "1"}, "promisc": true}),
        ] {
            let conf = conf::plugin(version, "tuning").with(keys);
            let network = Network::new(suite, conf.prev_result(&before));
            let attached = network.add("c1", &c1);
            assert_eq!(attached.result, before, "{version}");
            if *version >= "0.4.0" {
                attached.check_ok();
            }
            attached.del_ok();
            attached.del_ok();
        }
    }
}

fn link_values(suite: &Suite) {
    for (keys, shown, kept) in [
        (
            json!({"mac": MAC}),
            json!({"address": MAC}),
            json!({"mac": "02:00:00:00:00:01"}),
        ),
        (
            json!({"mtu": 1400}),
            json!({"mtu": 1400}),
            json!({"mtu": 1500}),
        ),
        (
            json!({"promisc": true}),
            json!({"promiscuity": 1}),
            json!({"promisc": false}),
        ),
        (
            json!({"allmulti": true}),
            json!({"allmulti": 1}),
            json!({"allmulti": false}),
        ),
    ] {
        let world = World::new();
        let c1 = pod(&world);
        let before = Snapshot::of(&c1);
        let attached = network(suite, &c1, keys).add("c1", &c1);
        for (key, expected) in shown.as_object().unwrap() {
            assert_eq!(&value(&c1, key), expected, "{key}");
        }
        let mut file: Value = serde_json::from_slice(&fs::read(state_file()).unwrap()).unwrap();
        file.as_object_mut().unwrap().remove("tenon");
        assert_eq!(file, kept, "the keys that either implementation reads");
        attached.check_ok();
        attached.del_ok();
        before.assert_unchanged(&Snapshot::of(&c1));
        assert!(!state_file().exists());
        attached.del_ok();
        before.assert_unchanged(&Snapshot::of(&c1));
    }
    // Both ways, and all at once.
    let world = World::new();
    let c1 = pod(&world);
    c1.ip("link set eth0 allmulticast on promisc on mtu 1300");
    let before = Snapshot::of(&c1);
    let keys = json!({"mac": MAC, "mtu": 1400, "promisc": true, "allmulti": false});
    let attached = network(suite, &c1, keys).add("c1", &c1);
    assert_eq!(
        (value(&c1, "address"), value(&c1, "mtu")),
        (json!(MAC), json!(1400))
    );
    assert!(has_flag(&c1, "eth0", "PROMISC") && !has_flag(&c1, "eth0", "ALLMULTI"));
    attached.check_ok();
    attached.del_ok();
    before.assert_unchanged(&Snapshot::of(&c1));
}

fn tx_queue_len(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    // `ip` does not show an empty one.
    let shown = || value(&c1, "txqlen").as_u64().unwrap_or(0);
    let before = shown();
    for packets in [0, 77] {
        let attached = network(suite, &c1, json!({"txQLen": packets})).add("c1", &c1);
        if differs(suite, "new-tuning-keys") {
            assert_eq!(shown(), before);
            return;
        }
        assert_eq!(shown(), packets);
        attached.check_ok();
        c1.ip("link set eth0 txqlen 78");
        assert_error(
            suite,
            &attached.check(),
            103,
            &["transmit queue length of eth0", "78"],
        );
        attached.del_ok();
        assert_eq!(shown(), before);
    }
}

fn right_already(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let before = Snapshot::of(&c1);
    let keys = json!({"mac": "02-00-00-00-00-01", "mtu": 1500, "allmulti": false});
    let attached = network(suite, &c1, keys).add("c1", &c1);
    before.assert_unchanged(&Snapshot::of(&c1));
    attached.del_ok();
    before.assert_unchanged(&Snapshot::of(&c1));
    assert!(!state_file().exists());
}

fn mac_sources(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let keys = |value: Value| conf_of(&c1, json!({"mac": "02:00:00:00:00:11"})).with(value);
    let runtime = json!({"runtimeConfig": {"mac": "02:00:00:00:00:33"}});
    let args = json!({"args": {"cni": {"mac": "02:00:00:00:00:44"}}});
    let env = "IgnoreUnknown=1;K8S_POD_NAME=web-0;MAC=02:00:00:00:00:22";
    for (conf, cni_args, last) in [
        (keys(json!({})), "", "11"),
        (keys(json!({})), env, "22"),
        (keys(runtime.clone()), env, "33"),
        (keys(runtime).with(args), env, "44"),
    ] {
        let attached = Network::new(suite, conf).args(cni_args).add("c1", &c1);
        assert_eq!(value(&c1, "address"), format!("02:00:00:00:00:{last}"));
        attached.check_ok();
        attached.del_ok();
        assert_eq!(value(&c1, "address"), "02:00:00:00:00:01");
    }
}

fn arguments(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let keys = json!({
        "mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true,
        "sysctl": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "77"},
        "args": {"cni": {
            "mac": "", "mtu": 1300, "promisc": false, "allmulti": false,
            "sysctl": {"net.core.somaxconn": "78"},
        }},
    });
    let attached = network(suite, &c1, keys).add("c1", &c1);
    assert_eq!(value(&c1, "address"), "02:00:00:00:00:01");
    assert_eq!(value(&c1, "mtu"), 1300);
    assert!(!has_flag(&c1, "eth0", "PROMISC") && !has_flag(&c1, "eth0", "ALLMULTI"));
    assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "1");
    assert_eq!(c1.sysctl("net/core/somaxconn"), "78");
    attached.check_ok();
    attached.del_ok();
}

/// A host's interface can have the name that the container's has.
fn result_mac(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let mut result = result_of(VERSION, &c1);
    result["interfaces"][0]["name"] = json!("eth0");
    let conf = conf::plugin(VERSION, "tuning").with(json!({"mac": MAC}));
    let attached = Network::new(suite, conf.prev_result(&result)).add("c1", &c1);
    result["interfaces"][1]["mac"] = json!(MAC);
    if differs(suite, "tuning-result") {
        result["interfaces"][0]["mac"] = json!(MAC);
    }
    assert_eq!(attached.result, result);
    attached.check_ok();
    attached.del_ok();
}

fn sysctls(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let (dots, slashes) = (
        "net.ipv4.conf.all.log_martians",
        "net/ipv4/conf/eth0/rp_filter",
    );
    let keys = json!({"sysctl": {dots: "1", slashes: "2", "net.core.somaxconn": "77"}});
    let paths = [
        "net/ipv4/conf/all/log_martians",
        slashes,
        "net/core/somaxconn",
    ];
    let values = |netns: &Netns| paths.map(|path| netns.sysctl(path));
    let (before, host) = (values(&c1), values_of_host(&world));
    let attached = network(suite, &c1, keys).add("c1", &c1);
    assert_eq!(values(&c1), ["1", "2", "77"]);
    assert_eq!(values_of_host(&world), host);
    attached.check_ok();
    attached.del_ok();
    if differs(suite, "tuning-sysctls") {
        assert_eq!(values(&c1), ["1", "2", "77"]);
    } else {
        assert_eq!(values(&c1), before);
        assert!(!state_file().exists());
    }
    attached.del_ok();
}

fn values_of_host(world: &World) -> [String; 2] {
    ["net/ipv4/conf/all/log_martians", "net/core/somaxconn"].map(|path| world.host().sysctl(path))
}

fn sysctls_of_arguments(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let keys = json!({"args": {"cni": {"sysctl": {"net.ipv4.ip_forward": "1"}}}});
    let network = network(suite, &c1, keys);
    if differs(suite, "tuning-names") {
        assert_ne!(network.try_add("c1", &c1).code, 0);
        return;
    }
    network.add("c1", &c1).check_ok();
    assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "1");
}

/// An interface name can have dots in it.
fn sysctl_of_interface(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    c1.ip("link add eth0.5 type veth peer name peer5");
    let path = "net/ipv4/conf/eth0.5/rp_filter";
    let before = c1.sysctl(path);
    for key in [
        "net.ipv4.conf.IFNAME.rp_filter",
        "net/ipv4/conf/IFNAME/rp_filter",
        "net/ipv4/conf/eth0.5/rp_filter",
        "net.ipv4.conf.eth0/5.rp_filter",
    ] {
        let network = network(suite, &c1, json!({"sysctl": {key: "2"}}));
        let call = network.call("ADD").attachment("c1", &c1, "eth0.5");
        let literal = key.contains("eth0");
        let unknown = if literal {
            "tuning-names"
        } else {
            "new-tuning-keys"
        };
        if differs(suite, unknown) {
            assert_error(suite, &call.run(), 110, &["rp_filter"]);
            continue;
        }
        let attached = network.add_at("c1", &c1, "eth0.5");
        assert_eq!(c1.sysctl(path), "2", "{key}");
        attached.check_ok();
        attached.del_ok();
        assert_eq!(c1.sysctl(path), before);
    }
}

fn equal_keys(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let (key, words) = (
        "net.ipv4.ip_forward",
        "duplicated sysctl keys are not allowed",
    );
    let add = |sysctl: &str| {
        let text = conf_of(&c1, json!({"sysctl": "HERE"})).to_string();
        let call = network(suite, &c1, json!({})).call_for("ADD", "c1", &c1);
        call.stdin(text.replace("\"HERE\"", sysctl)).run()
    };
    let outcome = add(&format!(r#"{{"{key}": "0", "{key}": "1"}}"#));
    if differs(suite, "new-tuning-keys") {
        outcome.expect_ok();
        return;
    }
    assert_error(suite, &outcome, 7, &[words, key]);
    let slashes = key.replace('.', "/");
    let outcome = add(&format!(r#"{{"{key}": "0", "{slashes}": "1"}}"#));
    assert_error(suite, &outcome, 7, &[words, key, &slashes]);
    assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "0");
    add(&format!(r#"{{"{key}": "1", "{slashes}": "1"}}"#)).expect_ok();
    assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "1");
}

fn allow_list(suite: &Suite) {
    let world = World::new();
    world.shadow("/etc");
    let c1 = pod(&world);
    let list = Path::new("/etc/cni/tuning/allowlist.conf");
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    let add = |key: &str| network(suite, &c1, json!({"sysctl": {key: "1"}})).try_add("c1", &c1);
    let (allowed, refused) = ("net.ipv4.conf.IFNAME.log_martians", "net.ipv4.ip_forward");
    fs::write(
        list,
        "^net\\.ipv4\\.conf\\.[A-Z]+\\.log_martians$\n\n net.core \n",
    )
    .unwrap();
    if differs(suite, "new-tuning-keys") {
        add(refused).expect_ok();
        return;
    }
    add(allowed).expect_ok();
    let words = "Sysctl net.ipv4.ip_forward is not allowed. Only the following sysctls are allowed: \
                 [^net\\.ipv4\\.conf\\.[A-Z]+\\.log_martians$ net.core]";
    assert_error(suite, &add(refused), 7, &[words]);
    // As it is written; arguments too.
    assert_error(
        suite,
        &add("net.ipv4.conf.eth0.log_martians"),
        7,
        &["not allowed"],
    );
    let keys = json!({"args": {"cni": {"sysctl": {refused: "1"}}}});
    let outcome = network(suite, &c1, keys).try_add("c1", &c1);
    assert_error(suite, &outcome, 7, &[words]);
    assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "0");

    fs::write(list, "net\n(\n").unwrap();
    assert_error(
        suite,
        &add(allowed),
        7,
        &["/etc/cni/tuning/allowlist.conf:2", "\"(\"", "group"],
    );
    fs::write(list, "").unwrap();
    assert_error(suite, &add(allowed), 7, &["are allowed: []"]);
    // What is no sysctl needs no permission; DEL and CHECK look at what is there.
    network(suite, &c1, json!({"mtu": 1400}))
        .add("c1", &c1)
        .check_ok();
    fs::remove_file(list).unwrap();
    add(refused).expect_ok();
}

fn keys_that_lead_elsewhere(suite: &Suite) {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let world = World::new();
    let c1 = pod(&world);
    let before = Snapshot::of(&c1);
    for key in [
        "kernel.hostname",
        "kernel/hostname",
        "vm.swappiness",
        "",
        "net",
        "/proc/sys/kernel/hostname",
    ] {
        let outcome = network(suite, &c1, json!({"sysctl": {key: "tuned"}})).try_add("c1", &c1);
        let words = format!("invalid net sysctl key: {key:?}");
        assert_error(suite, &outcome, 7, &[&words]);
    }
    for key in [
        "net/../kernel/hostname",
        "../kernel/hostname",
        "net/ipv4/../../kernel/hostname",
    ] {
        let outcome = network(suite, &c1, json!({"sysctl": {key: "tuned"}})).try_add("c1", &c1);
        assert_error(suite, &outcome, 7, &["kernel"]);
    }
    before.assert_unchanged(&Snapshot::of(&c1));
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        hostname
    );
}

fn kernel_refuses(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    for (keys, words) in [
        (
            json!({"sysctl": {"net.ipv4.no_such": "1"}}),
            ["no_such", "o such file or directory"],
        ),
        (
            json!({"sysctl": {"net.ipv4.conf.eth9.rp_filter": "1"}}),
            ["eth9", "o such file"],
        ),
        (
            json!({"sysctl": {"net.ipv4.ip_forward": "x"}}),
            ["ip_forward", "nvalid argument"],
        ),
        (
            json!({"sysctl": {"net.ipv4.ip_default_ttl": "0"}}),
            ["ip_default_ttl", "nvalid argument"],
        ),
        (
            json!({"sysctl": {"net.ipv4": "1"}}),
            ["net/ipv4", "s a directory"],
        ),
        (json!({"mtu": 100_000}), ["", "nvalid argument"]),
    ] {
        let outcome = network(suite, &c1, keys).try_add("c1", &c1);
        assert_error(suite, &outcome, 110, &words);
    }
    if !differs(suite, "error-codes") {
        let outcome = network(suite, &c1, json!({"mtu": 100_000})).try_add("c1", &c1);
        assert_error(suite, &outcome, 110, &["failed to set MTU of eth0"]);
    }
}

fn refusals(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let before = Snapshot::of(&c1);
    let with = |keys: Value| network(suite, &c1, keys).try_add("c1", &c1);
    assert_error(
        suite,
        &with(json!({"mac": "zz"})),
        7,
        &["invalid args zz for MAC addr"],
    );
    assert_error(
        suite,
        &with(json!({"mtu": "1400"})),
        6,
        &["failed to load netconf", "mtu"],
    );
    assert_error(
        suite,
        &with(json!({"sysctl": {"net.x": 1}})),
        6,
        &["failed to load netconf", "sysctl"],
    );
    for result in [Value::Null, json!("gone")] {
        let conf = conf_of(&c1, json!({"mtu": 1400}));
        let conf = if result.is_null() {
            conf.prev_result(&result)
        } else {
            conf.without("prevResult")
        };
        let attached = Network::new(suite, conf);
        for command in ["ADD", "CHECK"] {
            let outcome = attached.call_for(command, "c1", &c1).run();
            assert_error(suite, &outcome, 7, &["Required prevResult missing"]);
        }
        attached.call_for("DEL", "c1", &c1).run().expect_silent_ok();
    }
    let missing = network(suite, &c1, json!({"mtu": 1400}));
    let outcome = missing.call("ADD").attachment("c1", &c1, "eth9").run();
    assert_error(
        suite,
        &outcome,
        102,
        &["failed to get \"eth9\": Link not found"],
    );
    let outcome = missing.call("CHECK").attachment("c1", &c1, "eth9").run();
    assert_error(suite, &outcome, 103, &["Cannot find container link eth9"]);
    let args = missing.clone().args("FOO=1");
    assert_error(suite, &args.try_add("c1", &c1), 4, &["FOO"]);
    if !differs(suite, "mac-checked") {
        assert_error(
            suite,
            &with(json!({"mac": "01:00:5e:00:00:01"})),
            7,
            &["mac", "01:00:5e"],
        );
        assert_error(suite, &with(json!({"mtu": -1})), 7, &["mtu", "-1"]);
        assert_error(suite, &with(json!({"txQLen": -1})), 7, &["txQLen", "-1"]);
    }
    before.assert_unchanged(&Snapshot::of(&c1));
}

fn check_differences(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let keys = json!({
        "mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true,
        "sysctl": {"net.ipv4.ip_forward": "1"},
    });
    let attached = network(suite, &c1, keys).add("c1", &c1);
    attached.check_ok();
    for (change, back, words) in [
        (
            "address 02:00:00:00:00:78",
            "address 02:00:00:00:00:77",
            "Ethernet of eth0 is 02:00:00:00:00:77, current value is 02:00:00:00:00:78",
        ),
        (
            "mtu 1300",
            "mtu 1400",
            "MTU of eth0 is 1400, current value is 1300",
        ),
        ("promisc off", "promisc on", "promisc"),
        (
            "allmulticast off",
            "allmulticast on",
            "all-multicast mode of eth0 is",
        ),
    ] {
        c1.ip(&format!("link set eth0 {change}"));
        assert_error(suite, &attached.check(), 103, &[words]);
        c1.ip(&format!("link set eth0 {back}"));
        attached.check_ok();
    }
    c1.set_sysctl("net/ipv4/ip_forward", "0");
    let words = "configured value of /proc/sys/net/ipv4/ip_forward is 1, current value is 0";
    assert_error(suite, &attached.check(), 103, &[words]);
    if !differs(suite, "tuning-check") {
        // All at once.
        c1.ip("link set eth0 mtu 1300");
        assert_error(
            suite,
            &attached.check(),
            103,
            &["MTU of eth0", "ip_forward"],
        );
    }
    c1.set_sysctl("net/ipv4/ip_forward", "1");
    c1.ip("link del eth0");
    assert_error(
        suite,
        &attached.check(),
        103,
        &["Cannot find container link eth0"],
    );
}

/// The kernel shows some values in another form than they were given in.
fn check_forms(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    for keys in [
        json!({"sysctl": {"net.ipv4.tcp_rmem": "4096  87380 6291456"}}),
        json!({"sysctl": {"net.ipv4.ip_local_reserved_ports": "8080,8081,8082,9148"}}),
        json!({"sysctl": {"net.ipv4.conf.all.log_martians": "0x1"}}),
        json!({"mac": "02-00-00-00-00-77"}),
        json!({"mac": "0200.0000.007A"}),
    ] {
        let attached = network(suite, &c1, keys.clone()).add("c1", &c1);
        if differs(suite, "tuning-check") {
            assert_error(suite, &attached.check(), 103, &["current value is"]);
        } else {
            attached.check_ok();
        }
        attached.del_ok();
    }
}

/// Somebody listens on the interface.
fn check_others(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let attached = network(suite, &c1, json!({"mtu": 1400})).add("c1", &c1);
    c1.ip("link set eth0 promisc on allmulticast on address 02:00:00:00:00:78");
    if differs(suite, "tuning-check") {
        assert_error(suite, &attached.check(), 103, &["promisc"]);
    } else {
        attached.check_ok();
    }
    attached.del_ok();
}

fn data_dir(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let dir = world.dir().join("deep/state");
    let attached = network(suite, &c1, json!({"mtu": 1400, "dataDir": dir})).add("c1", &c1);
    let file = dir.join("c1_eth0.json");
    assert!(file.is_file() && !state_file().exists());
    let mode = Snapshot::empty().tree(&file);
    assert!(mode.lines()[0].contains(" 0600 "), "{mode:?}");
    attached.del_ok();
    assert!(!file.exists());
    assert_eq!(value(&c1, "mtu"), 1500);
}

/// The last of several changes cannot be made.
fn failed_add(suite: &Suite) {
    let link = json!({"mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 7});
    let sysctl = json!({"net.core.somaxconn": "77", "net.ipv4.conf.all.log_martians": "1",
        "net.ipv4.ip_forward": "1", "net.ipv4.conf.eth0.rp_filter": "x"});
    let refused = json!({"net.ipv4.conf.eth0.rp_filter": "x"});
    for keys in [
        json!({"sysctl": sysctl}),
        Conf(link.clone()).with(json!({"sysctl": refused})).0,
        Conf(link).with(json!({"mtu": 100_000})).0,
    ] {
        let world = World::new();
        let c1 = pod(&world);
        let picture = || {
            let sysctls = [
                "net/core/somaxconn",
                "net/ipv4/conf/all/log_martians",
                "net/ipv4/conf/eth0/forwarding",
            ]
            .map(|path| c1.sysctl(path));
            (Snapshot::of(&c1), sysctls, state_file().exists())
        };
        let before = picture();
        let outcome = network(suite, &c1, keys).try_add("c1", &c1);
        assert_error(suite, &outcome, 110, &["nvalid argument"]);
        if differs(suite, "failed-add") {
            // What it has changed by then depends on chance.
            continue;
        }
        before.0.assert_unchanged(&picture().0);
        assert_eq!(picture(), before);
    }
}

fn no_namespace(suite: &Suite) {
    for how in ["", "/run/netns/missing", "/run/tenon-test/plain"] {
        let world = World::new();
        let c1 = pod(&world);
        world.file("plain", "");
        let keys = json!({"mtu": 1400, "sysctl": {"net.ipv4.ip_forward": "1"}});
        let attached = network(suite, &c1, keys).add("c1", &c1);
        assert!(state_file().exists());
        drop(c1);
        attached.with_netns(how).del_ok();
        assert_eq!(
            state_file().exists(),
            differs(suite, "tuning-state"),
            "{how}"
        );
        attached.with_netns(how).with_result(Value::Null).del_ok();
    }
}

fn del_gone(suite: &Suite) {
    let world = World::new();
    let c1 = pod(&world);
    let never_added = network(suite, &c1, json!({"mtu": 1400}));
    let before = Snapshot::of(&c1);
    never_added
        .call_for("DEL", "c1", &c1)
        .run()
        .expect_silent_ok();
    before.assert_unchanged(&Snapshot::of(&c1));
    // The interface is gone already.
    let keys = json!({"mtu": 1400, "sysctl": {"net.ipv4.conf.eth0.rp_filter": "2"}});
    let attached = network(suite, &c1, keys).add("c1", &c1);
    c1.ip("link del eth0");
    attached.del_ok();
    assert_eq!(state_file().exists(), differs(suite, "tuning-state"));
    attached.with_result(Value::Null).del_ok();
    // The config makes no sense any more.
    let edit =
        |conf: Conf| conf.with(json!({"mtu": "many", "sysctl": {"kernel.x": "1"}, "mac": 7}));
    let edited: Attached<'_> = attached.of(&attached.network().edited(edit));
    if differs(suite, "families-of-old-versions") {
        edited.del().expect_any_error();
    } else {
        edited.del_ok();
        edited.with_result(json!("rubbish")).del_ok();
    }
}
