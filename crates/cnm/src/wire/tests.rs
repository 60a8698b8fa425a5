//! What a real dockerd 20.10 sends, and what real drivers answer.

use serde_json::json;

use super::network::*;
use super::*;
use crate::wire::ipam;

fn value(text: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(text).unwrap()
}

#[test]
fn requests_have_exactly_dockers_keys() {
    let network = CreateNetworkRequest {
        network_id: "N".into(),
        options: Options::from([
            (label::ENABLE_IPV6.into(), Json::Bool(false)),
            (
                label::GENERIC.into(),
                Json::Object(vec![("o1".into(), Json::String("v1".into()))]),
            ),
        ]),
        ipv4_data: vec![IpamData {
            address_space: "mlocal".into(),
            pool: "10.77.0.0/24".into(),
            gateway: "10.77.0.1/24".into(),
            ..IpamData::default()
        }],
        ipv6_data: Vec::new(),
    };
    assert_eq!(
        value(&network),
        json!({"NetworkID": "N",
            "Options": {"com.docker.network.enable_ipv6": false, "com.docker.network.generic": {"o1": "v1"}},
            "IPv4Data": [{"AddressSpace": "mlocal", "Gateway": "10.77.0.1/24", "Pool": "10.77.0.0/24"}],
            "IPv6Data": []})
    );
    let endpoint = CreateEndpointRequest {
        network_id: "N".into(),
        endpoint_id: "E".into(),
        interface: EndpointInterface {
            address: "10.77.0.2/24".into(),
            ..EndpointInterface::default()
        },
        options: Options::new(),
    };
    assert_eq!(
        value(&endpoint),
        json!({"NetworkID": "N", "EndpointID": "E", "Options": {},
            "Interface": {"Address": "10.77.0.2/24", "AddressIPv6": "", "MacAddress": ""}})
    );
    let pool = ipam::RequestPoolRequest {
        address_space: "mlocal".into(),
        pool: "10.77.0.0/24".into(),
        ..ipam::RequestPoolRequest::default()
    };
    assert_eq!(
        value(&pool),
        json!({"AddressSpace": "mlocal", "Pool": "10.77.0.0/24", "SubPool": "", "Options": null, "V6": false})
    );
}

#[test]
fn replies_are_read_as_go_reads_them() {
    let join: JoinReply = decode(
        br#"{"interfacename": {"SrcName": "tmp1", "DSTPREFIX": "eth"}, "Gateway": null,
             "StaticRoutes": [{"Destination": "10.0.0.0/8", "RouteType": 1}], "More": 1}"#,
    )
    .unwrap();
    assert_eq!(join.interface_name.src_name, "tmp1");
    assert_eq!(join.interface_name.dst_prefix, "eth");
    assert_eq!(join.static_routes[0].route_type, CONNECTED);
    for empty in [
        r#"{"Interface": null}"#,
        r#"{"Interface": {}}"#,
        "{}",
        "null",
    ] {
        let reply: CreateEndpointReply = decode(empty.as_bytes()).unwrap();
        assert_eq!(reply, CreateEndpointReply::default(), "{empty}");
    }
}

#[test]
fn the_first_of_two_documents_counts() {
    let twice = br#"{"Err": "no such network"}{"Err": "again"}"#;
    let reply: ErrorReply = decode(twice).unwrap();
    assert_eq!(reply.text(), Some("no such network"));
    let ipam: ErrorReply = decode(br#"{"error": "pool is full"} trailing"#).unwrap();
    assert_eq!(ipam.text(), Some("pool is full"));
    assert!(decode::<ErrorReply>(b"").is_err());
    assert!(decode::<ErrorReply>(b"<html>").is_err());
    assert_eq!(decode::<ErrorReply>(b"null").unwrap().text(), None);
}
