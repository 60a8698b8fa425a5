use cni_cnm::sandbox::HostEnd;
use cni_plugin::Request;
use cni_types::{Attachment, Environment, Json, SpecVersion};

use super::*;

fn request() -> AttachmentRequest {
    let env = Environment {
        netns: "/run/netns/c1".into(),
        ..Environment::default()
    };
    AttachmentRequest {
        request: Request {
            env,
            stdin: Vec::new().into(),
            config: Json::Null,
            network: "pods".parse().unwrap(),
            version: SpecVersion::V1_0_0,
            deadline: None,
        },
        attachment: Attachment {
            network: "pods".parse().unwrap(),
            container_id: "c1".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        },
        netns: "/run/netns/c1".into(),
        netns_id: None,
    }
}

fn result() -> CniResult {
    let text = br#"{"cniVersion": "1.0.0",
        "interfaces": [{"name": "br0"}, {"name": "veth0"}, {"name": "eth0", "mac": "02:00:00:00:00:02",
            "sandbox": "/run/netns/c1"}],
        "ips": [{"interface": 2, "address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "10.7.0.0/16", "gw": "10.9.9.9"}]}"#;
    CniResult::from_json(&Json::parse(text).unwrap(), SpecVersion::V1_0_0).unwrap()
}

fn seen() -> Seen {
    Seen {
        up: true,
        mac: "02:00:00:00:00:02".into(),
        mtu: 1500,
        addresses: vec!["10.1.0.5/16".parse().unwrap()],
        routes: vec![
            ("10.1.0.0/16".parse().unwrap(), None),
            (
                "0.0.0.0/0".parse().unwrap(),
                Some("10.1.0.1".parse().unwrap()),
            ),
        ],
        host_end: Some(HostEnd {
            name: "veth0".into(),
            mac: String::new(),
            mtu: 1500,
            up: true,
            bridge: Some(("br0".into(), String::new())),
        }),
    }
}

fn end(seen: &mut Seen) -> &mut HostEnd {
    seen.host_end.as_mut().unwrap()
}

fn found(seen: &Seen) -> Vec<String> {
    let (result, request) = (result(), request());
    compare(seen, &result, &request)
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn what_is_as_it_was_made_passes_and_other_interfaces_routes_do_not_count() {
    assert_eq!(found(&seen()), [""; 0]);
}

#[test]
fn each_difference_is_named() {
    for (change, said) in [
        (
            Box::new(|seen: &mut Seen| seen.up = false) as Box<dyn Fn(&mut Seen)>,
            "check interface eth0: it is down",
        ),
        (
            Box::new(|seen: &mut Seen| seen.mac = "02:00:00:00:00:ff".into()),
            "check interface eth0: its MAC address is 02:00:00:00:00:ff, not 02:00:00:00:00:02",
        ),
        (
            Box::new(|seen: &mut Seen| {
                let _default = seen.routes.pop();
            }),
            "check interface eth0: route to 0.0.0.0/0 is missing",
        ),
        (
            Box::new(|seen: &mut Seen| seen.addresses.clear()),
            "check interface eth0: address 10.1.0.5/16 is missing",
        ),
        (
            Box::new(|seen: &mut Seen| seen.host_end = None),
            "check interface veth0 on the host: it is not the other end of the container's interface",
        ),
        (
            Box::new(|seen: &mut Seen| end(seen).up = false),
            "check interface veth0 on the host: it is down",
        ),
        (
            Box::new(|seen: &mut Seen| end(seen).bridge = None),
            "check interface veth0 on the host: it is not a port of br0",
        ),
        (
            Box::new(|seen: &mut Seen| end(seen).bridge = Some(("br1".into(), String::new()))),
            "check interface veth0 on the host: it is a port of br1, not of br0",
        ),
    ] {
        let mut seen = seen();
        change(&mut seen);
        assert_eq!(found(&seen), [said]);
    }
}
