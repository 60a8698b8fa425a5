//! Properties of the contract: names and addresses are read as they are printed, arithmetic has no edge,
//! and a result loses nothing on its way through a version that can say it.

#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use cni_types::{
    CniArgs, CniResult, ContainerId, Dns, IfName, Interface, IpCidr, IpConfig, Json, MacAddr,
    NetworkName, Route, SpecVersion,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What fails is kept where whoever runs this package's tests looks for it.
fn config() -> ProptestConfig {
    let file = "proptest-regressions/properties.txt";
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..ProptestConfig::default()
    }
}

/// Addresses anywhere, and those at the ends of everything. IPv4 in IPv6 is IPv4.
fn address() -> impl Strategy<Value = IpAddr> {
    let edge = prop::sample::select(vec![0, 1, u32::MAX - 1, u32::MAX]);
    let v4 = prop_oneof![any::<u32>(), edge].prop_map(|bits| Ipv4Addr::from_bits(bits).into());
    let edge = prop::sample::select(vec![0, 1, u128::MAX - 1, u128::MAX]);
    let v6 = prop_oneof![any::<u128>(), edge].prop_map(|bits| Ipv6Addr::from_bits(bits).into());
    prop_oneof![v4, v6].prop_map(|address: IpAddr| address.to_canonical())
}

/// Any prefix of any address; half of them as long or as short as it gets.
fn cidr() -> impl Strategy<Value = IpCidr> {
    let edge = prop::sample::select(vec![0_u8, 1, 30, 31, 32, 126, 127, 128]);
    (address(), prop_oneof![0..=128_u8, edge]).prop_map(|(address, prefix)| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        IpCidr::new(address, prefix.min(bits)).unwrap()
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z0-9./-]{0,12}".prop_map(String::from)]
}

fn interface() -> impl Strategy<Value = Interface> {
    (text(), text(), any::<u32>(), [text(), text(), text()]).prop_map(
        |(name, mac, mtu, [sandbox, socket_path, pci_id])| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
        },
    )
}

fn ip() -> impl Strategy<Value = IpConfig> {
    (option::of(0_usize..9), cidr(), option::of(address())).prop_map(
        |(interface, address, gateway)| IpConfig {
            interface,
            address,
            gateway,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    let numbers = (any::<[u32; 3]>(), any::<Option<u32>>(), any::<Option<u8>>());
    (cidr(), option::of(address()), numbers).prop_map(
        |(dst, gw, ([mtu, adv_mss, priority], table, scope))| Route {
            mtu,
            adv_mss,
            priority,
            table,
            scope,
            ..Route::via(dst, gw)
        },
    )
}

fn dns() -> impl Strategy<Value = Dns> {
    let list = || vec(text(), 0..3);
    (list(), text(), list(), list()).prop_map(|(nameservers, domain, search, options)| Dns {
        nameservers,
        domain,
        search,
        options,
    })
}

fn result() -> impl Strategy<Value = CniResult> {
    let lists = (vec(interface(), 0..4), vec(ip(), 0..5), vec(route(), 0..5));
    (lists, dns()).prop_map(|((interfaces, ips, routes), dns)| CniResult {
        interfaces,
        ips,
        routes,
        dns,
    })
}

/// What a version can say of a result: 0.2.0 has the first address of each family and routes that are
/// only a destination and a router; 0.3 and 0.4 know less of an interface.
fn sayable(version: SpecVersion, mut result: CniResult) -> CniResult {
    if version < SpecVersion::V1_0_0 {
        for Interface {
            mtu,
            socket_path,
            pci_id,
            ..
        } in &mut result.interfaces
        {
            *mtu = 0;
            socket_path.clear();
            pci_id.clear();
        }
    }
    if !version.lists_interfaces() {
        result.interfaces.clear();
        let first = |v6| result.ips.iter().find(move |ip| ip.address.is_ipv6() == v6);
        let firsts: Vec<_> = [first(false), first(true)]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let has = |v6| firsts.iter().any(|ip| ip.address.is_ipv6() == v6);
        let of = |v6| {
            result
                .routes
                .iter()
                .filter(move |route| route.dst.is_ipv6() == v6)
        };
        let routes = of(false)
            .filter(|_| has(false))
            .chain(of(true).filter(|_| has(true)));
        result.routes = routes
            .map(|route| Route::via(route.dst, route.gw))
            .collect();
        result.ips = firsts;
        for ip in &mut result.ips {
            ip.interface = None;
        }
    }
    result
}

fn read(text: &str, default: SpecVersion) -> CniResult {
    CniResult::from_json(&Json::parse(text.as_bytes()).unwrap(), default).unwrap()
}

/// What is read is printed in one way, and that is read as the same.
fn printed<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Result<(), TestCaseError>
where
    T::Err: Debug,
{
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        prop_assert_eq!(&printed.parse::<T>().unwrap(), &value);
        prop_assert_eq!(printed.parse::<T>().unwrap().to_string(), printed);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_result_of_what_a_version_can_say_comes_back_from_it(result in result()) {
        for version in SpecVersion::ALL {
            let said = sayable(*version, result.clone());
            match said.to_text(*version) {
                Ok(text) => prop_assert_eq!(read(&text, SpecVersion::V1_1_0), said, "{}", version),
                // Never less than there was: it is an error.
                Err(_) => prop_assert!(said.ips.is_empty() && !version.lists_interfaces()),
            }
        }
    }

    #[test]
    fn what_a_version_leaves_out_is_what_it_cannot_say(result in result()) {
        for version in SpecVersion::ALL {
            if let Ok(text) = result.to_text(*version) {
                prop_assert_eq!(read(&text, *version), sayable(*version, result.clone()), "{}", version);
            }
        }
    }

    #[test]
    fn a_result_is_the_same_through_any_chain_of_versions_that_can_say_it(
        result in result(), chain in vec(prop::sample::select(SpecVersion::ALL), 1..6),
    ) {
        let mut said = result;
        for version in &chain {
            said = sayable(*version, said);
        }
        let mut passed = said.clone();
        for version in &chain {
            let Ok(text) = passed.to_text(*version) else { return Ok(()) };
            passed = read(&text, *version);
        }
        prop_assert_eq!(passed, said);
    }

    #[test]
    fn an_address_with_its_prefix_is_read_as_it_is_printed(cidr in cidr()) {
        prop_assert_eq!(cidr.to_string().parse::<IpCidr>().unwrap(), cidr);
        let json = serde_json::to_string(&cidr).unwrap();
        prop_assert_eq!(serde_json::from_str::<IpCidr>(&json).unwrap(), cidr);
    }

    #[test]
    fn arithmetic_of_prefixes_is_that_of_numbers(cidr in cidr(), other in cidr()) {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let free = u32::from(cidr.bits() - cidr.prefix());
        let host = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        let (first, last) = (number(cidr.addr()) & !host, number(cidr.addr()) | host);
        prop_assert_eq!(number(cidr.network()), first);
        prop_assert_eq!(number(cidr.broadcast()), last);
        let same_family = cidr.is_ipv6() == other.is_ipv6();
        let inside = same_family && (first..=last).contains(&number(other.addr()));
        prop_assert_eq!(cidr.contains(other.addr()), inside);
        let apart = number(other.broadcast()) < first || number(other.network()) > last;
        prop_assert_eq!(cidr.overlaps(&other), same_family && !apart);
        prop_assert_eq!(cidr.is_default_route(), cidr.prefix() == 0 && number(cidr.addr()) == 0);
    }

    #[test]
    fn every_name_is_printed_as_it_is_read(text in prop_oneof![
        text(), "[a-zA-Z0-9_.-]{1,20}", "([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", "[0-9]\\.[0-9]\\.[0-9]",
    ]) {
        printed::<ContainerId>(&text)?;
        printed::<NetworkName>(&text)?;
        printed::<IfName>(&text)?;
        printed::<MacAddr>(&text)?;
        printed::<SpecVersion>(&text)?;
        printed::<IpCidr>(&text)?;
        let is_file_name = !text.contains(['/', '\0']) && !["", ".", ".."].contains(&text.as_str());
        prop_assert!(is_file_name || text.parse::<IfName>().is_err());
        prop_assert!(is_file_name || text.parse::<ContainerId>().is_err());
        prop_assert!(is_file_name || text.parse::<NetworkName>().is_err());
    }

    #[test]
    fn every_hardware_address_is_read_as_it_is_printed(bytes in any::<[u8; 6]>()) {
        let text = bytes.map(|byte| format!("{byte:02x}")).join(":");
        if let Ok(mac) = text.parse::<MacAddr>() {
            prop_assert_eq!(mac.to_string(), text);
        } else {
            prop_assert!(false, "{text}");
        }
    }

    #[test]
    fn the_last_of_the_known_arguments_counts(
        pairs in vec(("(IP|MAC|IgnoreUnknown|OTHER)", "[a-z0-9.:]{0,5}"), 0..6),
    ) {
        let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if let Ok(args) = CniArgs::parse(&text.join(";"), &["IP", "MAC"]) {
            for key in ["IP", "MAC"] {
                let last = pairs.iter().rev().find(|(name, _)| name == key);
                let last = last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
                prop_assert_eq!(args.get(key), last);
            }
        }
    }
}
