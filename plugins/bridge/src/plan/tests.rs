use super::*;
use crate::config::{Addressing, Masquerade, PortConfig, Vlans};

fn config(gateway: Gateway) -> BridgeConfig {
    BridgeConfig {
        bridge: "cni0".parse().unwrap(),
        promiscuous: false,
        mtu: None,
        gateway,
        force_address: false,
        masquerade: Masquerade::Off,
        port: PortConfig {
            hairpin: false,
            isolated: false,
            spoof_check: false,
            vlans: Vlans::default(),
        },
        mac: None,
        detect_duplicates: false,
        addressing: Addressing::LayerTwo,
        dns: None,
    }
}

fn cidr(text: &str) -> IpCidr {
    text.parse().unwrap()
}

fn ipam(addresses: &[&str]) -> CniResult {
    let ips = addresses.iter().map(|text| {
        let (address, gateway) = text.split_once(' ').unwrap_or((text, ""));
        IpConfig {
            interface: None,
            address: cidr(address),
            gateway: gateway.parse().ok(),
        }
    });
    CniResult {
        ips: ips.collect(),
        ..CniResult::default()
    }
}

fn texts(cidrs: &[IpCidr]) -> Vec<String> {
    cidrs.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_gateway_addresses_stay_as_they_are() {
    let plan = address(&config(Gateway::No), ipam(&["10.1.2.3/24"])).unwrap();
    assert_eq!(plan.ips[0].interface, Some(2));
    assert_eq!(
        (plan.ips[0].gateway, plan.gateways.len(), plan.routes.len()),
        (None, 0, 0)
    );
    assert!(matches!(
        address(&config(Gateway::No), ipam(&[])),
        Err(BridgeError::NoAddress)
    ));
}

#[test]
fn a_missing_gateway_is_the_subnets_first_address() {
    let plan = address(
        &config(Gateway::Yes),
        ipam(&["10.1.2.3/24", "2001:db8::5/64", "10.9.0.9/16 10.9.0.254"]),
    )
    .unwrap();
    assert_eq!(
        texts(&plan.gateways),
        ["10.1.2.1/24", "2001:db8::1/64", "10.9.0.254/16"]
    );
    assert_eq!(plan.ips[1].gateway, Some("2001:db8::1".parse().unwrap()));
    assert!(plan.routes.is_empty());
    assert!(matches!(
        address(&config(Gateway::Yes), ipam(&["10.1.2.3/32"])),
        Err(BridgeError::NoGateway(_))
    ));
}

#[test]
fn a_default_route_is_added_once_for_each_family() {
    let given = ipam(&["10.1.2.3/24", "10.2.2.3/24", "2001:db8::5/64"]);
    let plan = address(&config(Gateway::Default), given.clone()).unwrap();
    let routes: Vec<_> = plan
        .routes
        .iter()
        .map(|route| format!("{} {}", route.dst, route.gw.unwrap()))
        .collect();
    assert_eq!(routes, ["0.0.0.0/0 10.1.2.1", "::/0 2001:db8::1"]);

    let own = Route::via(
        IpCidr::default_route(false),
        Some("10.1.2.9".parse().unwrap()),
    );
    let plan = address(
        &config(Gateway::Default),
        CniResult {
            routes: vec![own.clone()],
            ..given.clone()
        },
    )
    .unwrap();
    assert_eq!(plan.routes[0], own);
    assert_eq!(plan.routes.len(), 2);

    let silent = Route::via(IpCidr::default_route(false), None);
    let plan = address(
        &config(Gateway::Default),
        CniResult {
            routes: vec![silent],
            ..given
        },
    )
    .unwrap();
    assert_eq!(
        plan.routes.len(),
        3,
        "a default route without a router does not count, as in the reference"
    );
}

#[test]
fn routes_without_a_router_use_the_first_gateway_of_their_family() {
    let plan = address(
        &config(Gateway::No),
        ipam(&[
            "2001:db8::5/64 2001:db8::1",
            "10.1.2.3/24",
            "10.2.2.3/24 10.2.2.1",
        ]),
    )
    .unwrap();
    let router = |dst: &str| {
        plan.router_of(&Route::via(cidr(dst), None))
            .map(|ip| ip.to_string())
    };
    assert_eq!(router("192.168.0.0/16").as_deref(), Some("10.2.2.1"));
    assert_eq!(router("fd00::/8").as_deref(), Some("2001:db8::1"));
    let on_link = Route {
        scope: Some(253),
        ..Route::via(cidr("192.168.0.0/16"), None)
    };
    assert_eq!(plan.router_of(&on_link), None);
}

#[test]
fn the_configs_dns_replaces_the_ipams() {
    let given = CniResult {
        dns: Dns {
            domain: "ipam".into(),
            ..Dns::default()
        },
        ..ipam(&["10.1.2.3/24"])
    };
    let mut config = config(Gateway::No);
    assert_eq!(address(&config, given.clone()).unwrap().dns.domain, "ipam");
    config.dns = Some(Dns::default());
    assert!(address(&config, given).unwrap().dns.is_empty());
}

#[test]
fn gateway_addresses_follow_the_references_rules() {
    use GatewayChange::{Add, Remove};
    let bridge = "cni0".parse().unwrap();
    let plan = |has: &[&str], wanted: &[&str], force| {
        let list = |texts: &[&str]| texts.iter().map(|text| cidr(text)).collect::<Vec<_>>();
        gateway_changes(&bridge, &list(has), &list(wanted), force)
    };
    let ok = |has, wanted, force| plan(has, wanted, force).unwrap();
    assert_eq!(ok(&[], &["10.0.0.1/24"], false), [Add(cidr("10.0.0.1/24"))]);
    assert_eq!(ok(&["10.0.0.1/24"], &["10.0.0.1/24"], false), []);
    assert!(plan(&["10.9.0.1/24"], &["10.0.0.1/24"], false).is_err());
    assert_eq!(
        ok(&["10.9.0.1/24"], &["10.0.0.1/24"], true),
        [Remove(cidr("10.9.0.1/24")), Add(cidr("10.0.0.1/24"))]
    );
    assert_eq!(
        ok(&["2001:db8:1::1/64"], &["2001:db8:2::1/64"], false),
        [Add(cidr("2001:db8:2::1/64"))]
    );
    assert!(plan(&["2001:db8::2/64"], &["2001:db8::1/64"], false).is_err());
    assert_eq!(ok(&["2001:db8::2/64"], &["2001:db8::1/64"], true).len(), 2);
    // Both are wanted: the second does not chase the first away.
    assert_eq!(
        ok(&["10.0.0.1/24"], &["10.0.0.1/24", "10.1.0.1/24"], false),
        [Add(cidr("10.1.0.1/24"))]
    );
    let error = plan(&["10.9.0.1/24"], &["10.0.0.1/24"], false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bridge \"cni0\" already has an IP address different from 10.0.0.1/24"
    );
}
