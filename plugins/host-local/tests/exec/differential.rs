//! The reference and ours, given the same calls: the same answers and the same files.
//!
//! Intended differences, each in the plugin's README: error codes (the reference's are all 999),
//! `details`, an empty `dns` from 1.0.0 on (the reference's older releases print it), and the cases
//! of the module `intended`.

use std::collections::BTreeMap;

use cni_testkit::Suite;
use serde_json::{Value, json};

use crate::fixture::{Leases, call, ours};

/// One call: command, container, `CNI_ARGS`, and keys beside `ipam`.
type Call = (&'static str, &'static str, &'static str, Value);

fn add(id: &'static str) -> Call {
    ("ADD", id, "", json!({}))
}

fn del(id: &'static str) -> Call {
    ("DEL", id, "", json!({}))
}

fn check(id: &'static str) -> Call {
    ("CHECK", id, "", json!({}))
}

#[derive(Debug, PartialEq)]
enum Answer {
    Result(Value),
    Nothing,
    Refusal(String),
}

/// What a suite answers to each call, and the files at the end.
fn play(
    suite: &Suite,
    version: &str,
    ipam: &Value,
    before: &[(&str, &str)],
    calls: &[Call],
) -> (Vec<Answer>, BTreeMap<String, String>) {
    let leases = Leases::new();
    for (name, content) in before {
        leases.write(name, content);
    }
    let answers = calls.iter().map(|(command, id, args, keys)| {
        let mut conf = leases.conf(version, ipam);
        conf.as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        let outcome = call(suite, command, id, &conf).args(args).run();
        if outcome.code == 0 && outcome.stdout.is_empty() {
            return Answer::Nothing;
        }
        let mut json = outcome.json();
        if outcome.code != 0 {
            return Answer::Refusal(json["msg"].as_str().unwrap().to_owned());
        }
        if json["dns"] == json!({}) && version.starts_with('1') {
            json.as_object_mut().unwrap().remove("dns");
        }
        Answer::Result(json)
    });
    let answers = answers.collect();
    (answers, leases.files())
}

fn assert_same(ipam: &Value, before: &[(&str, &str)], calls: &[Call]) {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let calls: Vec<Call> = calls
            .iter()
            .filter(|(command, ..)| *command != "CHECK" || matches!(version, "0.4.0" | "1.0.0"))
            .cloned()
            .collect();
        let theirs = play(&Suite::reference(), version, ipam, before, &calls);
        let ours = play(&ours(), version, ipam, before, &calls);
        assert_eq!(ours, theirs, "{version} {ipam} {calls:?}");
    }
}

fn ranges(sets: &Value) -> Value {
    json!({"ranges": sets})
}

#[test]
fn the_life_of_leases() {
    let calls = [
        add("a"),
        add("b"),
        check("a"),
        add("a"),
        del("a"),
        check("a"),
        add("c"),
        del("nobody"),
        add("d"),
        add("e"),
        add("f"),
        add("g"),
        add("h"),
        del("b"),
        add("i"),
        del("b"),
    ];
    for sets in [
        json!([[{"subnet": "10.0.0.0/29"}]]),
        json!([[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/125"}]]),
        json!([[{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/29", "rangeStart": "10.0.1.4"}]]),
        json!([[{"subnet": "10.0.0.0/28", "rangeStart": "10.0.0.0", "rangeEnd": "10.0.0.15", "gateway": "10.0.0.7"}]]),
        json!([[{"subnet": "2001:DB8:0:0:1::/125", "gateway": "2001:db8:0:0:1::3"}]]),
        json!([[{"subnet": "255.255.255.248/29", "rangeEnd": "255.255.255.255"}]]),
    ] {
        assert_same(&ranges(&sets), &[], &calls);
    }
}

#[test]
fn every_key_of_a_config() {
    let resolv = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &resolv,
        "# x\nnameserver 1.1.1.1 x\ndomain a b\nsearch c d\noptions e\nrubbish\n",
    )
    .unwrap();
    for ipam in [
        json!({"subnet": "10.0.0.0/24"}),
        json!({"SubNet": "10.0.0.0/24", "rangestart": "10.0.0.9", "RANGEEND": "10.0.0.20", "gateWay": "10.9.9.9"}),
        json!({"subnet": "10.0.0.0/24", "ranges": [[{"subnet": "fd00::/64"}]]}),
        json!({"rangeStart": "10.0.0.9", "ranges": [[{"subnet": "10.0.0.0/24"}]]}),
        json!({"subnet": "10.0.0.0/24", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.0.0.7"}]}),
        json!({"subnet": "10.0.0.0/24", "routes": [], "ranges": null, "unknown": {"x": 1}}),
        json!({"subnet": "10.0.0.0/24", "resolvConf": resolv.path()}),
        json!({"subnet": "10.0.0.0/24", "gateway": "", "rangeStart": "", "rangeEnd": ""}),
        json!({"subnet": "10.0.0.0/24", "gateway": "fd00::1"}),
        json!({"subnet": "10.0.0.0/24", "gateway": "::ffff:10.0.0.9"}),
    ] {
        assert_same(&ipam, &[], &[add("a"), check("a"), add("b"), del("a")]);
    }
}

#[test]
fn runtime_ranges_and_requested_addresses() {
    let ipam = ranges(&json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]));
    let runtime = |value: Value| json!({"runtimeConfig": value});
    let with_args = |value: Value| json!({"args": {"cni": value}});
    for call in [
        (
            "ADD",
            "a",
            "",
            runtime(json!({"ips": ["10.0.0.50/24", "fd00::50"]})),
        ),
        ("ADD", "a", "", with_args(json!({"ips": ["10.0.0.51"]}))),
        ("ADD", "a", "IP=10.0.0.52", json!({})),
        (
            "ADD",
            "a",
            "IP=10.0.0.52/8;IgnoreUnknown=true;FOO=x",
            json!({}),
        ),
        (
            "ADD",
            "a",
            "IP=10.0.0.52",
            with_args(json!({"ips": ["fd00::9"]})),
        ),
        ("ADD", "a", "IP=10.0.0.1", json!({})),
        ("ADD", "a", "IP=::ffff:10.0.0.60", json!({})),
        (
            "ADD",
            "a",
            "",
            runtime(json!({"ips": ["10.0.0.50", "10.0.0.50"]})),
        ),
        ("ADD", "a", "", runtime(json!({"ips": []}))),
    ] {
        // Afterwards the rotation goes on from what was asked for.
        assert_same(&ipam, &[], &[call.clone(), call, add("b"), del("a")]);
    }
    let ipam = ranges(&json!([[{"subnet": "10.0.0.0/24"}]]));
    let v6 = runtime(json!({"ipRanges": [[{"subnet": "fd00::/64", "rangeStart": "fd00::7"}]]}));
    assert_same(&ipam, &[], &[("ADD", "a", "", v6)]);
    let upper =
        json!({"RuntimeConfig": {"IPRanges": [[{"Subnet": "fd00::/64"}]], "IPs": ["fd00::99"]}});
    assert_same(&ipam, &[], &[("ADD", "a", "", upper)]);
}

#[test]
fn refusals_have_the_same_words() {
    for sets in [
        json!([]),
        json!([[]]),
        json!([null]),
        json!([[{"subnet": "10.0.0.0/32"}]]),
        json!([[{"subnet": "fd00::/128"}]]),
        json!([[{"subnet": "10.0.0.9/24"}]]),
        json!([[{"subnet": "fd00::9/64"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.0"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.0"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "9.0.0.8"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeStart": "fd00::"}]]),
        json!([[{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.0"}]]),
        json!([[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]),
        json!([[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/8"}]]),
        json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.0/25"}]]),
        json!([[{"subnet": "fd00::/64"}], [{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.128/25"}]]),
        json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.1.0/24"}]]),
        json!([[{"subnet": "10.0.0"}]]),
    ] {
        assert_same(&ranges(&sets), &[], &[add("a")]);
    }
    let ipam = ranges(&json!([[{"subnet": "10.0.0.0/24"}]]));
    let ask = (
        "ADD",
        "a",
        "",
        json!({"runtimeConfig": {"ips": ["10.0.0.7"]}}),
    );
    assert_same(&ipam, &[("10.0.0.7", "x\r\neth0")], &[ask]);
}

/// Here the reference turns its rotation before it finds out; ours does not begin.
#[test]
fn requests_that_no_set_can_meet() {
    let ipam = ranges(&json!([[{"subnet": "10.0.0.0/24"}]]));
    for ips in [
        json!(["10.9.9.9"]),
        json!(["fd00::1"]),
        json!(["10.0.0.0"]),
        json!(["10.0.0.255"]),
    ] {
        let calls = [
            ("ADD", "a", "", json!({"runtimeConfig": {"ips": ips}})),
            check("a"),
        ];
        let (theirs, mut their_files) = play(&Suite::reference(), "1.0.0", &ipam, &[], &calls);
        let (ours, our_files) = play(&ours(), "1.0.0", &ipam, &[], &calls);
        assert_eq!(ours, theirs);
        their_files.remove("last_reserved_ip.0");
        assert_eq!(our_files, their_files);
    }
}

#[test]
fn directories_as_others_left_them() {
    let ipam = ranges(&json!([[{"subnet": "10.0.0.0/29"}]]));
    for before in [
        &[("10.0.0.2", "a")][..],
        &[("10.0.0.2", "a\n")],
        &[("10.0.0.2", " a\r\neth0 \n"), ("10.0.0.3", "a\r\neth1")],
        &[("10.0.0.2", "a\r\neth0"), ("10.0.0.3", "a")],
        &[("last_reserved_ip.0", "10.0.0.4")],
        &[("last_reserved_ip.0", "10.0.0.6")],
        &[("last_reserved_ip.0", "rubbish")],
        &[("last_reserved_ip.0", "10.0.0.1")],
        &[("last_reserved_ip.0", "10.0.0.7")],
        &[("last_reserved_ip.0", "")],
        &[("notes", "a note"), ("10.0.0.x", "a\r\neth9")],
    ] {
        for calls in [
            &[add("a")][..],
            &[check("a"), del("a"), check("a"), add("a")],
        ] {
            assert_same(&ipam, before, calls);
        }
    }
}

/// What ours does otherwise, on purpose.
mod intended {
    use super::*;

    type Played = (Vec<Answer>, BTreeMap<String, String>);

    fn theirs(ipam: &Value, before: &[(&str, &str)], calls: &[Call]) -> Played {
        play(&Suite::reference(), "1.0.0", ipam, before, calls)
    }

    fn ours(ipam: &Value, before: &[(&str, &str)], calls: &[Call]) -> Played {
        play(&crate::fixture::ours(), "1.0.0", ipam, before, calls)
    }

    fn refuses(played: &Played) -> bool {
        matches!(played.0[0], Answer::Refusal(_))
    }

    fn two_sets() -> Value {
        ranges(&json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}]]))
    }

    #[test]
    fn point_to_point_subnets_work() {
        for subnet in ["10.0.0.0/31", "fd00::/127"] {
            let ipam = ranges(&json!([[{"subnet": subnet}]]));
            assert!(refuses(&theirs(&ipam, &[], &[add("a")])));
            assert!(!refuses(&ours(&ipam, &[], &[add("a")])));
        }
    }

    #[test]
    fn the_whole_of_ipv4_works() {
        let ipam = ranges(&json!([[{"subnet": "0.0.0.0/0"}]]));
        assert!(refuses(&theirs(&ipam, &[], &[add("a")])));
        assert!(ours(&ipam, &[], &[add("a")]).1.contains_key("0.0.0.2"));
    }

    #[test]
    fn a_start_after_the_default_end_is_refused() {
        let ipam = ranges(&json!([[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.255"}]]));
        let two = [add("a"), add("b")];
        assert!(
            theirs(&ipam, &[], &two).1.contains_key("10.0.1.0"),
            "left its subnet"
        );
        assert!(refuses(&ours(&ipam, &[], &two)));
    }

    #[test]
    fn del_does_not_care_what_else_the_config_says() {
        let ipam = ranges(&json!([[{"subnet": "10.0.0.9/24"}]]));
        let held = [("10.0.0.2", "a\r\neth0")];
        assert!(refuses(&theirs(&ipam, &held, &[del("a")])));
        let freed = (vec![Answer::Nothing], BTreeMap::new());
        assert_eq!(ours(&ipam, &held, &[del("a")]), freed);
    }

    #[test]
    fn a_file_that_a_crash_left_empty_is_free() {
        let ipam = ranges(&json!([[{"subnet": "10.0.0.0/30"}]]));
        assert!(refuses(&theirs(&ipam, &[("10.0.0.2", "")], &[add("a")])));
        assert!(!refuses(&ours(&ipam, &[("10.0.0.2", "")], &[add("a")])));
    }

    #[test]
    fn a_failed_add_takes_back_only_what_it_took() {
        let held = [("10.1.0.5", "a\r\neth0")];
        assert!(
            !theirs(&two_sets(), &held, &[add("a")])
                .1
                .contains_key("10.1.0.5")
        );
        assert!(
            ours(&two_sets(), &held, &[add("a")])
                .1
                .contains_key("10.1.0.5")
        );
    }

    #[test]
    fn del_removes_the_old_form_only_where_the_new_one_is_missing() {
        // The reference looks once for each set, and the second time the new form is gone.
        let both = [("10.0.0.5", "a\r\neth0"), ("10.0.0.6", "a")];
        assert!(theirs(&two_sets(), &both, &[del("a")]).1.is_empty());
        assert!(
            ours(&two_sets(), &both, &[del("a")])
                .1
                .contains_key("10.0.0.6")
        );
    }

    #[test]
    fn only_addresses_name_leases() {
        let named = [("backup", "a\r\neth0")];
        assert!(theirs(&two_sets(), &named, &[del("a")]).1.is_empty());
        assert!(
            ours(&two_sets(), &named, &[del("a")])
                .1
                .contains_key("backup")
        );
    }

    #[test]
    fn the_gateway_of_a_sister_range_is_nobodys_address() {
        let ipam = ranges(&json!([[
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.11", "rangeEnd": "10.0.0.12"},
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.20", "rangeEnd": "10.0.0.20",
                "gateway": "10.0.0.11"},
        ]]));
        assert!(theirs(&ipam, &[], &[add("a")]).1.contains_key("10.0.0.11"));
        assert!(ours(&ipam, &[], &[add("a")]).1.contains_key("10.0.0.12"));
    }
}
