use cni_cnm::sandbox::{HostEnd, Placed};
use cni_cnm::store::record::{EndpointRecord, LinkRecord};
use serde_json::json;

use super::*;

fn record() -> EndpointRecord {
    let attachment = json!({"network": "pods", "containerId": "c1", "ifname": "eth0"});
    serde_json::from_value(
        json!({"id": "e", "network": "n", "driver": {"name": "weave"},
        "attachment": attachment}),
    )
    .unwrap()
}

fn placed() -> Placed {
    Placed {
        link: LinkRecord {
            src_name: "tmp0".into(),
            name: "eth0".into(),
            index: 4,
            mac: "02:00:00:00:00:02".into(),
        },
        mtu: 1400,
        host_end: Some(HostEnd {
            up: true,
            name: "vethwl1".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1400,
            bridge: Some(("weave".into(), "02:00:00:00:00:0b".into())),
        }),
        routes: vec![
            ("169.254.1.1/32".parse().unwrap(), None),
            (
                "0.0.0.0/0".parse().unwrap(),
                Some("169.254.1.1".parse().unwrap()),
            ),
        ],
    }
}

fn connected(placed: Option<Placed>) -> Connected {
    Connected {
        record: record(),
        addresses: vec![
            "10.1.0.5/16".parse().unwrap(),
            "fd00::5/64".parse().unwrap(),
        ],
        gateways: vec!["169.254.1.1".parse().unwrap()],
        placed,
    }
}

fn text(connected: &Connected, given: &Given, dns: Option<&Dns>) -> serde_json::Value {
    let result = plan(&Attached {
        connected,
        given,
        sandbox: Path::new("/run/netns/c1"),
        dns,
        tells_mtu: true,
    });
    let text = result.to_text(cni_types::SpecVersion::V1_1_0).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn interfaces_are_listed_from_the_host_to_the_container() {
    let dns = Dns {
        domain: "example.org".into(),
        ..Dns::default()
    };
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "weave", "mac": "02:00:00:00:00:0b"},
            {"name": "vethwl1", "mac": "02:00:00:00:00:01", "mtu": 1400},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1400, "sandbox": "/run/netns/c1"}],
        "ips": [
            {"interface": 2, "address": "10.1.0.5/16", "gateway": "169.254.1.1"},
            {"interface": 2, "address": "fd00::5/64"}],
        "routes": [
            {"dst": "169.254.1.1/32", "scope": 253},
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        "dns": {"domain": "example.org"},
    });
    let connected = connected(Some(placed()));
    assert_eq!(text(&connected, &Given::default(), Some(&dns)), expected);
}

#[test]
fn a_driver_that_moves_nothing_has_no_interface() {
    let result = text(&connected(None), &Given::default(), None);
    assert_eq!(result.get("interfaces"), None);
    assert_eq!(result["ips"][0].get("interface"), None);
}

fn ipam(text: &str) -> Result<Given, CniError> {
    let doc = cni_types::Json::parse(text.as_bytes()).unwrap();
    let result = CniResult::from_json(&doc, cni_types::SpecVersion::V1_0_0).unwrap();
    Given::of(&result)
}

#[test]
fn an_ipam_plugin_gives_addresses_gateways_routes_and_name_servers() {
    let given = ipam(
        r#"{"cniVersion": "1.0.0", "ips": [{"address": "fd00::7/64", "gateway": "fd00::1"},
            {"address": "10.1.0.7/16", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "10.9.0.0/16"}, {"dst": "10.8.0.0/16", "gw": "10.1.0.9"}],
            "dns": {"nameservers": ["10.1.0.53"]}}"#,
    )
    .unwrap();
    let addresses: Vec<String> = given.addresses().iter().map(IpCidr::to_string).collect();
    assert_eq!(addresses, ["10.1.0.7/16", "fd00::7/64"]);
    let routers: Vec<_> = given
        .routes
        .iter()
        .map(|(_, gw)| gw.unwrap().to_string())
        .collect();
    assert_eq!(routers, ["10.1.0.1", "10.1.0.9"]);
    let mut connected = connected(Some(placed()));
    connected.gateways.clear();
    let result = text(&connected, &given, None);
    assert_eq!(
        result["ips"][0]["gateway"], "10.1.0.1",
        "the driver told none"
    );
    assert_eq!(result["dns"]["nameservers"][0], "10.1.0.53");
}

#[test]
fn an_endpoint_has_one_address_of_each_family() {
    let two = r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.7/16"},
        {"address": "10.2.0.7/16"}]}"#;
    assert!(ipam(two).unwrap_err().msg.contains("10.2.0.7/16"));
    let none = r#"{"cniVersion": "1.0.0"}"#;
    assert_eq!(ipam(none).unwrap_err().code, ErrorCode::DELEGATE);
}
