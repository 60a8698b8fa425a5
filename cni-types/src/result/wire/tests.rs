use super::*;
use serde_json::{Value, json};

fn doc(value: &Value) -> Json {
    Json::parse(value.to_string().as_bytes()).unwrap()
}

fn written(result: &CniResult, version: SpecVersion) -> Value {
    serde_json::from_str(&result.to_text(version).unwrap()).unwrap()
}

/// A dual-stack result of `bridge` with every key of 1.1.0.
fn full() -> CniResult {
    CniResult::from_json(
        &doc(&json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "cni0", "mac": "02:00:00:00:00:01", "mtu": 1500},
                {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x",
                 "socketPath": "/s", "pciID": "0000:00:01.0"}],
            "ips": [
                {"interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
                {"interface": 1, "address": "2001:db8::3/64"},
                {"address": "10.9.0.1/16"}],
            "routes": [
                {"dst": "0.0.0.0/0"},
                {"dst": "::/0", "gw": "2001:db8::1", "mtu": 1400, "advmss": 1300, "priority": 5,
                 "table": 0, "scope": 253}],
            "dns": {"nameservers": ["10.1.2.1"], "domain": "d", "search": ["s"], "options": ["o"]}
        })),
        SpecVersion::LATEST,
    )
    .unwrap()
}

#[test]
fn listed_versions_read_what_they_write() {
    for version in SpecVersion::ALL
        .iter()
        .copied()
        .filter(|version| version.lists_interfaces())
    {
        let text = written(&full(), version);
        let again = CniResult::from_json(&doc(&text), SpecVersion::V0_1_0).unwrap();
        assert_eq!(written(&again, version), text, "{version}");
    }
    let same = CniResult::from_json(
        &full().to_json(SpecVersion::V1_1_0).unwrap(),
        SpecVersion::V0_1_0,
    );
    assert_eq!(same.unwrap(), full());
}

#[test]
fn zero_table_and_scope_are_kept_and_other_zeros_left_out() {
    let text = written(&full(), SpecVersion::V1_1_0);
    assert_eq!(text["routes"][0], json!({"dst": "0.0.0.0/0"}));
    assert_eq!(text["routes"][1]["table"], 0);
}

#[test]
fn version_0_4_adds_the_ip_version_and_reduces_interfaces() {
    let text = written(&full(), SpecVersion::V0_4_0);
    assert_eq!(
        text["ips"][0],
        json!({"version": "4", "interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"})
    );
    assert_eq!(text["ips"][1]["version"], "6");
    assert_eq!(
        text["interfaces"][1],
        json!({"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"})
    );
    assert_eq!(text["routes"][1]["mtu"], 1400);
}

#[test]
fn version_0_2_keeps_the_first_address_of_each_family() {
    assert_eq!(
        written(&full(), SpecVersion::V0_2_0),
        json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "2001:db8::3/64", "routes": [{"dst": "::/0", "gw": "2001:db8::1"}]},
            "dns": {"nameservers": ["10.1.2.1"], "domain": "d", "search": ["s"], "options": ["o"]}
        })
    );
    assert_eq!(
        CniResult::default().to_text(SpecVersion::V0_1_0),
        Err(ResultError::NoAddress)
    );
}

#[test]
fn a_family_result_becomes_a_list() {
    let old = doc(&written(&full(), SpecVersion::V0_2_0));
    let result = CniResult::from_json(&old, SpecVersion::LATEST).unwrap();
    assert!(result.interfaces.is_empty());
    let ips: Vec<_> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
    assert_eq!(ips, ["10.1.2.3/24", "2001:db8::3/64"]);
    assert_eq!(result.routes.len(), 2);
}

#[test]
fn empty_parts_are_left_out() {
    assert_eq!(
        written(&CniResult::default(), SpecVersion::V1_0_0),
        json!({"cniVersion": "1.0.0"})
    );
    assert_eq!(
        written(&CniResult::default(), SpecVersion::V0_3_1),
        json!({"cniVersion": "0.3.1", "dns": {}})
    );
}

#[test]
fn the_text_is_indented_by_four_and_ends_without_newline() {
    let text = CniResult::default().to_text(SpecVersion::V1_1_0).unwrap();
    assert_eq!(text, "{\n    \"cniVersion\": \"1.1.0\"\n}");
}

#[test]
fn a_prev_result_of_another_family_is_refused() {
    let old = doc(&written(&full(), SpecVersion::V0_4_0));
    assert!(CniResult::from_prev_result(&old, SpecVersion::V0_3_0).is_ok());
    let error = CniResult::from_prev_result(&old, SpecVersion::V1_0_0).unwrap_err();
    assert!(matches!(
        error,
        ResultError::OtherFamily {
            found: SpecVersion::V0_4_0,
            ..
        }
    ));
    let mut unversioned = old;
    unversioned.remove("cniVersion");
    assert!(CniResult::from_prev_result(&unversioned, SpecVersion::V1_0_0).is_ok());
}

#[test]
fn null_and_mapped_addresses_are_read_as_go_reads_them() {
    assert_eq!(
        CniResult::from_json(&Json::Null, SpecVersion::LATEST).unwrap(),
        CniResult::default()
    );
    let mapped = json!({"cniVersion": "1.0.0", "ips": [
        {"address": "::ffff:10.0.0.2/120", "gateway": "::ffff:10.0.0.1", "interface": -1},
        {"address": "10.0.0.3/24", "gateway": ""}]});
    let result = CniResult::from_json(&doc(&mapped), SpecVersion::LATEST).unwrap();
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(result.ips[0].gateway, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(
        (result.ips[0].interface, result.ips[1].gateway),
        (Some(usize::MAX), None)
    );
}

#[test]
fn rubbish_is_refused_with_its_path() {
    let bad = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.3"}]});
    let Err(ResultError::Decode(error)) = CniResult::from_json(&doc(&bad), SpecVersion::LATEST)
    else {
        panic!("accepted");
    };
    assert_eq!(
        error.to_string(),
        "ips[0].address: invalid CIDR address: 10.0.0.3"
    );
    let unknown = json!({"cniVersion": "9.9.9"});
    assert!(matches!(
        CniResult::from_json(&doc(&unknown), SpecVersion::LATEST),
        Err(ResultError::Version(_))
    ));
}
