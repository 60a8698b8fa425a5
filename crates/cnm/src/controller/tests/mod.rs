//! The controller against a world in memory.

mod fake;
mod mend;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cni_types::{Attachment, ErrorCode, ToCniError};

use self::fake::{FAULTS, Fault, World};
use super::spec::{
    EndpointIds, EndpointSpec, Existing, FamilySpec, IpamSpec, Limits, NetworkSpec, SandboxSpec,
};
use super::*;
use crate::error::Method;
use crate::sandbox::plan::DefaultRoute;
use crate::store::attachment_key;
use crate::wire::network::{EndpointInterface, PortBinding};

struct Bench {
    world: World,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            world: World::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A controller as each process has its own.
    fn controller(&self) -> Controller {
        let world = &self.world;
        let store = Store::new(self.dir.path().join("cnm-shim"));
        Controller::new(store, world.clone(), world.clone(), world.clone())
    }

    fn connect(&self, endpoint: &EndpointSpec) -> Outcome<Connected> {
        self.connect_to(&network(), endpoint)
    }

    fn connect_to(&self, network: &NetworkSpec, endpoint: &EndpointSpec) -> Outcome<Connected> {
        let controller = self.controller();
        controller.clear(&network.id(), &endpoint.attachment, limits())?;
        controller.connect(network, endpoint, limits())
    }

    fn disconnect(&self, policy: Policy) -> Departure {
        let controller = self.controller();
        let (id, attachment) = (network().id(), attachment("c1"));
        let _lock = controller.lock(&attachment, limits().total).unwrap();
        controller
            .disconnect(&id, &attachment, policy, limits())
            .unwrap()
    }

    /// Files of the store, but for those of networks that are ready.
    fn records(&self) -> Vec<String> {
        let controller = self.controller();
        let store = controller.store();
        let mut found = Vec::new();
        for network in store.networks().unwrap().into_iter().flatten() {
            if !network.ready {
                found.push(format!("network {:?}", network.owed));
            }
            for endpoint in store.endpoints(&network.id).unwrap() {
                found.push(format!("endpoint {:?}", endpoint.unwrap().owed));
            }
            for garbage in store.garbage(&network.id).unwrap() {
                found.push(format!("garbage {:?}", garbage.unwrap().owed));
            }
        }
        found
    }
}

fn limits() -> Limits {
    Limits::within(Duration::from_secs(30))
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        network: "pods".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn network() -> NetworkSpec {
    let driver = DriverRef::named("mock");
    NetworkSpec {
        name: "n1".into(),
        ipam: Some(IpamSpec {
            driver: driver.clone(),
            options: BTreeMap::from([("io".into(), "1".into())]),
        }),
        driver,
        options: BTreeMap::from([("o1".into(), "v1".into())]),
        enable_ipv6: false,
        internal: false,
        v4: FamilySpec {
            subnet: Some("10.77.0.0/24".parse().unwrap()),
            ..FamilySpec::default()
        },
        v6: FamilySpec::default(),
        existing: Existing::IfGlobal,
    }
}

fn endpoint() -> EndpointSpec {
    EndpointSpec {
        attachment: attachment("c1"),
        sandbox: SandboxSpec {
            path: "/run/netns/c1".into(),
            id: None,
            key: None,
        },
        mac: None,
        wanted: Vec::new(),
        given: Vec::new(),
        routes: Vec::new(),
        options: BTreeMap::from([("x".into(), "y".into())]),
        ports: vec![PortBinding {
            proto: 6,
            port: 80,
            host_port: 8080,
            host_port_end: 8080,
            ..PortBinding::default()
        }],
        default_route: DefaultRoute::IfNone,
        ids: EndpointIds::Derived,
    }
}

/// What a real dockerd 20.10 calls, in its order.
const ATTACH: [&str; 7] = [
    "IpamDriver.RequestAddress",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.Join",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.EndpointOperInfo",
    "",
];
const CREATE: [&str; 6] = [
    "NetworkDriver.GetCapabilities",
    "IpamDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.RequestPool",
    "IpamDriver.RequestAddress",
    "NetworkDriver.CreateNetwork",
];
const DETACH: [&str; 4] = [
    "NetworkDriver.RevokeExternalConnectivity",
    "NetworkDriver.Leave",
    "NetworkDriver.DeleteEndpoint",
    "IpamDriver.ReleaseAddress",
];
const DELETE: [&str; 3] = [
    "IpamDriver.ReleaseAddress",
    "IpamDriver.ReleasePool",
    "NetworkDriver.DeleteNetwork",
];

fn attach() -> &'static [&'static str] {
    &ATTACH[..6]
}

const REMOVE_NETWORK: Policy = Policy {
    on_driver_down: OnDriverDown::Keep,
    remove_network: true,
    takes_back: false,
};

const REMOVE_NOTHING: Policy = Policy {
    remove_network: false,
    ..REMOVE_NETWORK
};

const TAKE_BACK: Policy = Policy {
    takes_back: true,
    ..REMOVE_NOTHING
};

#[test]
fn calls_come_in_dockers_order_with_dockers_words() {
    let bench = Bench::new();
    bench.world.0.borrow_mut().requires_mac = true;
    let connected = bench.connect(&endpoint()).unwrap();
    assert_eq!(bench.world.calls(), [&CREATE, attach()].concat());
    assert_eq!(connected.addresses, ["10.77.0.12/24".parse().unwrap()]);
    assert_eq!(connected.gateway(false), Some("10.77.0.1".parse().unwrap()));

    let bodies = std::mem::take(&mut bench.world.0.borrow_mut().bodies);
    let (nid, eid) = (network().id(), connected.record.id.clone());
    let ports = serde_json::json!({
        "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
        "com.docker.network.portmap": [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "",
            "HostPort": 8080, "HostPortEnd": 8080}]});
    let mut with_own = ports.clone();
    with_own["x"] = "y".into();
    let owned = |owner: &str, key: &str, value: &str| serde_json::json!({key: value, "com.docker.network.endpoint.name": owner});
    let expected = serde_json::json!([
        {"AddressSpace": "mlocal", "Pool": "10.77.0.0/24", "SubPool": "", "Options": {"io": "1"},
            "V6": false},
        {"PoolID": "pool-10.77.0.0/24", "Address": "",
            "Options": owned(nid.as_str(), "RequestAddressType", "com.docker.network.gateway")},
        {"NetworkID": nid, "Options": {"com.docker.network.enable_ipv6": false,
            "com.docker.network.generic": {"o1": "v1"}},
            "IPv4Data": [{"AddressSpace": "mlocal", "Gateway": "10.77.0.1/24",
                "Pool": "10.77.0.0/24"}],
            "IPv6Data": []},
        {"PoolID": "pool-10.77.0.0/24", "Address": "",
            "Options": owned(eid.as_str(), "com.docker.network.endpoint.macaddress",
                "02:42:00:00:00:07")},
        {"NetworkID": nid, "EndpointID": eid, "Interface": {"Address": "10.77.0.12/24",
            "AddressIPv6": "", "MacAddress": "02:42:00:00:00:07"}, "Options": with_own},
        {"NetworkID": nid, "EndpointID": eid, "SandboxKey": "/run/netns/c1", "Options": ports},
        {"NetworkID": nid, "EndpointID": eid, "Options": ports},
    ]);
    assert_eq!(serde_json::Value::from(bodies[3..10].to_vec()), expected);

    let departure = bench.disconnect(REMOVE_NETWORK);
    assert!(departure.down.is_none() && departure.notes.is_empty());
    assert_eq!(bench.world.calls(), [&DETACH[..], &DELETE[..]].concat());
    assert_eq!(bench.world.left(), [""; 0]);
    assert!(!bench.disconnect(REMOVE_NETWORK).found, "a second time");
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[test]
fn a_second_endpoint_finds_the_network_and_the_last_takes_it_along() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench.world.calls();
    let second = EndpointSpec {
        attachment: attachment("c2"),
        ..endpoint()
    };
    bench.connect(&second).unwrap();
    assert_eq!(bench.world.calls(), attach());
    bench.disconnect(REMOVE_NETWORK);
    assert_eq!(bench.world.calls(), DETACH, "there is another");
    let controller = bench.controller();
    controller
        .disconnect(
            &network().id(),
            &second.attachment,
            REMOVE_NETWORK,
            limits(),
        )
        .unwrap();
    assert_eq!(bench.world.left(), [""; 0]);
}

/// Whoever was to remove it with its last endpoint may have been stopped between the two.
#[test]
fn a_removal_without_an_endpoint_takes_an_unused_network_along_that_is_to_go() {
    let bench = Bench::new();
    let second = EndpointSpec {
        attachment: attachment("c2"),
        ..endpoint()
    };
    bench.connect(&endpoint()).unwrap();
    bench.connect(&second).unwrap();
    bench.disconnect(REMOVE_NOTHING);
    bench.world.calls();
    assert!(!bench.disconnect(REMOVE_NETWORK).found);
    assert_eq!(bench.world.calls(), [""; 0], "there is another");
    let controller = bench.controller();
    let gone = controller.disconnect(
        &network().id(),
        &second.attachment,
        REMOVE_NOTHING,
        limits(),
    );
    assert!(gone.unwrap().found);
    bench.world.calls();
    bench.disconnect(REMOVE_NOTHING);
    assert_eq!(bench.world.calls(), [""; 0], "it is to stay");
    bench.disconnect(REMOVE_NETWORK);
    assert_eq!(bench.world.calls(), DELETE);
    assert_eq!(bench.world.left(), [""; 0]);
}

/// An ADD can still fail when its endpoint is complete: nobody may hear of it.
#[test]
fn an_endpoint_that_is_taken_back_takes_the_network_along_that_was_made_for_it() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench.disconnect(TAKE_BACK);
    assert_eq!(bench.world.left(), [""; 0]);
    bench.connect(&endpoint()).unwrap();
    let second = EndpointSpec {
        attachment: attachment("c2"),
        ..endpoint()
    };
    bench.connect(&second).unwrap();
    bench.world.calls();
    bench.disconnect(TAKE_BACK);
    assert_eq!(bench.world.calls(), DETACH, "there is another");
}

/// The methods that a first ADD calls, but for those whose failure does not matter.
const FALLIBLE: [Method; 10] = [
    Method::GetCapabilities,
    Method::IpamGetCapabilities,
    Method::GetDefaultAddressSpaces,
    Method::RequestPool,
    Method::RequestAddress,
    Method::CreateNetwork,
    Method::CreateEndpoint,
    Method::Join,
    Method::ProgramExternalConnectivity,
    Method::EndpointOperInfo,
];

/// Whatever goes wrong with whichever call, once: a DEL leaves nothing.
#[test]
fn every_failure_of_every_call_is_taken_back() {
    for ready in [false, true] {
        for method in FALLIBLE {
            for fault in FAULTS {
                one_failure_is_taken_back(ready, method, fault);
            }
        }
    }
}

fn one_failure_is_taken_back(ready: bool, method: Method, fault: Fault) {
    let bench = Bench::new();
    if ready {
        // The network is there already, with another endpoint that goes again.
        bench.connect(&endpoint()).unwrap();
        bench.disconnect(Policy::default());
    }
    let before = bench.world.left();
    bench.world.fault(method, fault);
    let mut endpoint = endpoint();
    endpoint.sandbox.key = Some("/keys/c1".into());
    let connected = catch_unwind(AssertUnwindSafe(|| bench.connect(&endpoint)));
    let case = format!("{method} {fault:?}, network ready: {ready}");
    let harmless = method == Method::EndpointOperInfo
        && !matches!(fault, Fault::KilledBefore | Fault::KilledAfter);
    let never_called = bench.world.0.borrow().fault.is_some();
    bench.world.recover();
    let succeeded = matches!(connected, Ok(Ok(_)));
    assert_eq!(succeeded, harmless || never_called, "{case}");

    // Only what has succeeded makes a network that stays.
    let policy = if ready {
        Policy::default()
    } else {
        REMOVE_NETWORK
    };
    bench.disconnect(if succeeded { policy } else { Policy::default() });
    if ready {
        assert_eq!(bench.world.left(), before, "{case}");
    } else {
        let unknown = ["pool pool-10.77.0.0/24"];
        let lost_pool = method == Method::RequestPool
            && matches!(fault, Fault::Unanswered | Fault::KilledAfter);
        let expected = if lost_pool { &unknown[..] } else { &[] };
        assert_eq!(bench.world.left(), expected, "{case}");
    }
    assert_eq!(bench.records(), [""; 0], "{case}");
    bench.connect(&endpoint).expect(&case);
}

/// Killed before or after whichever call of a removal: the next one finishes it, though a strict driver
/// refuses to do anything twice.
#[test]
fn a_removal_that_is_killed_is_finished_by_the_next() {
    for method in DETACH.iter().chain(&DELETE[1..]) {
        for fault in [Fault::KilledBefore, Fault::KilledAfter] {
            let bench = Bench::new();
            bench.connect(&endpoint()).unwrap();
            bench.world.fault(method_named(method), fault);
            let killed = catch_unwind(AssertUnwindSafe(|| bench.disconnect(REMOVE_NETWORK)));
            assert!(killed.is_err(), "{method} {fault:?}");
            bench.disconnect(REMOVE_NETWORK);
            assert_eq!(bench.world.left(), [""; 0], "{method} {fault:?}");
            assert_eq!(bench.records(), [""; 0], "{method} {fault:?}");
        }
    }
}

fn method_named(name: &str) -> Method {
    let all = [
        Method::RevokeExternalConnectivity,
        Method::Leave,
        Method::DeleteEndpoint,
        Method::ReleaseAddress,
        Method::ReleasePool,
        Method::DeleteNetwork,
    ];
    all.into_iter().find(|one| one.as_str() == name).unwrap()
}

/// A driver that is gone when an ADD fails is asked again by the DEL.
#[test]
fn a_driver_that_stays_down_is_owed_until_it_comes_back() {
    for fault in [Fault::NotSent, Fault::Lost, Fault::Unanswered] {
        let bench = Bench::new();
        bench.connect(&endpoint()).unwrap();
        bench.world.fault_for_ever(Method::Leave, fault);
        let departure = bench.disconnect(Policy::default());
        let down = departure.down.expect("the driver is down");
        assert_eq!(down.code(), ErrorCode::TRY_AGAIN);
        assert_eq!(bench.world.0.borrow().addresses.len(), 2, "{fault:?}");
        assert_eq!(bench.records().len(), 1);
        bench.world.recover();
        bench.world.calls();
        assert!(bench.disconnect(REMOVE_NETWORK).down.is_none());
        assert_eq!(bench.world.left(), [""; 0], "{fault:?}");
    }
}

#[test]
fn what_is_leaked_on_purpose_is_collected_later() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench.world.fault_for_ever(Method::Leave, Fault::NotSent);
    let leak = Policy {
        on_driver_down: OnDriverDown::Leak,
        ..Policy::default()
    };
    let departure = bench.disconnect(leak);
    assert!(departure.down.is_none() && departure.notes.len() == 1);
    bench.world.recover();
    // The next one of the same attachment is of another generation.
    let next = bench.connect(&endpoint());
    assert_eq!(next.unwrap().record.generation, 1);
    bench.disconnect(Policy::default());
    let collected = bench
        .controller()
        .collect(None, |_| true, REMOVE_NETWORK, limits())
        .unwrap();
    assert_eq!((collected.garbage, collected.failures.len()), (1, 0));
    assert_eq!(bench.world.left(), [""; 0]);
    assert_eq!(bench.records(), [""; 0]);
}

/// A driver that answers with an error is not asked again by the runtime, but by GC.
#[test]
fn an_answered_error_of_a_removal_becomes_garbage() {
    for method in [
        Method::RevokeExternalConnectivity,
        Method::Leave,
        Method::DeleteEndpoint,
        Method::ReleaseAddress,
    ] {
        let bench = Bench::new();
        bench.connect(&endpoint()).unwrap();
        bench.world.calls();
        bench.world.fault(method, Fault::Refused);
        let departure = bench.disconnect(Policy::default());
        assert!(departure.down.is_none());
        assert_eq!(departure.notes.len(), 1, "{method}");
        assert_eq!(bench.world.calls(), DETACH, "{method}: the rest is tried");
        assert_eq!(bench.records().len(), 1, "{method}");
        let collected = bench
            .controller()
            .collect(None, |_| true, REMOVE_NETWORK, limits())
            .unwrap();
        assert_eq!(collected.failures, [""; 0], "{method}");
        assert_eq!(bench.world.left(), [""; 0], "{method}");
        assert_eq!(bench.records(), [""; 0], "{method}");
    }
}

/// OVN's refuses to take an endpoint out of a sandbox that it is not in, in words of its own.
#[test]
fn an_endpoint_that_was_deleted_is_left_once_more_and_no_more() {
    for method in [Method::RevokeExternalConnectivity, Method::Leave] {
        let bench = Bench::new();
        bench.connect(&endpoint()).unwrap();
        bench.world.fault_for_ever(method, Fault::Refused);
        bench.disconnect(Policy::default());
        assert_eq!(bench.records().len(), 1, "{method}");
        bench.world.calls();
        let collected = bench
            .controller()
            .collect(None, |_| true, Policy::default(), limits())
            .unwrap();
        assert_eq!(collected.failures, [""; 0], "{method}");
        assert_eq!(bench.world.calls(), [method.as_str()]);
        assert_eq!(bench.records(), [""; 0], "{method}");
    }
}

/// OVN's says for ever that it cannot delete what it has deleted.
#[test]
fn what_is_refused_for_ever_is_given_up() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench
        .world
        .fault_for_ever(Method::DeleteEndpoint, Fault::Refused);
    bench.disconnect(Policy::default());
    let collect = || {
        let controller = bench.controller();
        let collected = controller.collect(None, |_| true, Policy::default(), limits());
        collected.unwrap().failures
    };
    for refusal in 2..=10 {
        assert_eq!(collect().len(), 1, "{refusal}");
        assert_eq!(bench.records().len(), 1, "{refusal}");
    }
    let told = collect();
    assert!(told[1].contains("given up after 10 refusals"), "{told:?}");
    assert_eq!(bench.records(), [""; 0]);
}

#[test]
fn a_driver_that_does_not_answer_is_never_given_up() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench.world.fault_for_ever(Method::Leave, Fault::NotSent);
    let leak = Policy {
        on_driver_down: OnDriverDown::Leak,
        ..Policy::default()
    };
    bench.disconnect(leak);
    for _silence in 0..20 {
        let controller = bench.controller();
        let collected = controller.collect(None, |_| true, Policy::default(), limits());
        assert_eq!(collected.unwrap().failures.len(), 1);
    }
    assert_eq!(bench.records().len(), 1);
}

/// A driver that was started anew without its memory knows nothing of the endpoint.
#[test]
fn a_driver_without_memory_is_believed_the_second_time() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    {
        let mut state = bench.world.0.borrow_mut();
        state.endpoints.clear();
        state.joined.clear();
        state.programmed.clear();
        state.networks.clear();
    }
    assert!(bench.disconnect(Policy::default()).down.is_none());
    assert_eq!(bench.records().len(), 1, "it may have been a mistake");
    let collected = bench
        .controller()
        .collect(None, |_| true, REMOVE_NETWORK, limits())
        .unwrap();
    assert_eq!(collected.failures, [""; 0]);
    assert_eq!(bench.records(), [""; 0]);
    assert_eq!(bench.world.left(), [""; 0]);
}

#[test]
fn a_driver_may_fill_in_and_must_not_replace() {
    let bench = Bench::new();
    let reply = |interface| crate::wire::network::CreateEndpointReply { interface };
    bench.world.0.borrow_mut().endpoint_reply = reply(EndpointInterface {
        mac_address: "02:00:00:00:00:09".into(),
        ..EndpointInterface::default()
    });
    let connected = bench.connect(&endpoint()).unwrap();
    assert_eq!(connected.record.mac, "02:00:00:00:00:09");
    bench.disconnect(Policy::default());
    bench.world.calls();

    bench.world.0.borrow_mut().endpoint_reply = reply(EndpointInterface {
        address: "10.77.0.99/24".into(),
        ..EndpointInterface::default()
    });
    let error = bench.connect(&endpoint()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DRIVER);
    let words = super::debts::in_words(&error);
    assert!(words.contains("Cannot be modified"), "{words}");
    bench.disconnect(Policy::default());
    let expected = [
        "IpamDriver.RequestAddress",
        "NetworkDriver.CreateEndpoint",
        "NetworkDriver.DeleteEndpoint",
        "IpamDriver.ReleaseAddress",
    ];
    assert_eq!(bench.world.calls(), expected);
}

#[test]
fn endpoints_may_come_with_their_addresses_or_get_them_from_the_driver() {
    let bench = Bench::new();
    let without_ipam = NetworkSpec {
        ipam: None,
        ..network()
    };
    let given = EndpointSpec {
        given: vec!["10.77.0.50/24".parse().unwrap()],
        ..endpoint()
    };
    let connected = bench.connect_to(&without_ipam, &given).unwrap();
    assert_eq!(connected.addresses, given.given);
    let calls = bench.world.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("Ipam")),
        "{calls:?}"
    );
    bench.disconnect(REMOVE_NETWORK);

    bench.world.0.borrow_mut().endpoint_reply.interface.address = "10.77.0.60/24".into();
    let connected = bench.connect_to(&without_ipam, &endpoint()).unwrap();
    assert_eq!(connected.addresses, ["10.77.0.60/24".parse().unwrap()]);
}

#[test]
fn a_network_that_exists_is_used_only_if_it_may_be_another_nodes() {
    let nid = network().id().to_string();
    for (scope, existing, works) in [
        ("local", Existing::IfGlobal, false),
        ("global", Existing::IfGlobal, true),
        ("local", Existing::Tolerate, true),
        ("global", Existing::Fail, false),
    ] {
        let bench = Bench::new();
        {
            let mut state = bench.world.0.borrow_mut();
            state.scope = scope;
            state.networks.insert(nid.clone());
        }
        let spec = NetworkSpec {
            existing,
            ..network()
        };
        let connected = bench.connect_to(&spec, &endpoint());
        assert_eq!(connected.is_ok(), works, "{scope} {existing:?}");
        bench.disconnect(REMOVE_NETWORK);
        // It is somebody else's, and stays.
        assert_eq!(bench.world.left(), [format!("network {nid}")]);
    }
}

#[test]
fn a_changed_network_is_made_anew_unless_it_is_in_use() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    let mut changed = network();
    changed.options.insert("o2".into(), "v2".into());
    let other = EndpointSpec {
        attachment: attachment("c2"),
        ..endpoint()
    };
    let error = bench.connect_to(&changed, &other).unwrap_err();
    assert_eq!(error.code(), ErrorCode::IN_USE);
    bench.disconnect(Policy::default());
    bench.world.calls();
    bench.connect_to(&changed, &other).unwrap();
    assert_eq!(
        bench.world.calls(),
        [&DELETE[..], &CREATE, attach()].concat()
    );
}

#[test]
fn a_second_add_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    let before = bench.world.left();
    bench.world.calls();
    let error = bench.connect(&endpoint()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::IN_USE);
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.world.left(), before);
}

/// What is written of an endpoint says that the network was made for it.
#[test]
fn a_network_goes_of_whose_first_endpoint_nothing_can_be_written() {
    let bench = Bench::new();
    let records = bench.dir.path().join("cnm-shim/networks");
    let records = records.join(network().id().as_str()).join("endpoints");
    let key = attachment_key(&attachment("c1"));
    // A directory where the record is written before it gets its name.
    std::fs::create_dir_all(records.join(format!(".{key}.json.new"))).unwrap();
    let error = bench.connect(&endpoint()).unwrap_err().to_string();
    assert!(error.contains("failed to write"), "{error}");
    assert!(error.contains(&key), "{error}");
    let made = "NetworkDriver.CreateNetwork".to_owned();
    assert!(bench.world.calls().contains(&made));
    assert_eq!(bench.world.left(), [""; 0]);
    assert_eq!(bench.records(), [""; 0]);
}

#[test]
fn gc_removes_what_is_not_valid_and_of_this_network() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    let (pods, other) = ("pods".parse().unwrap(), "other".parse().unwrap());
    let controller = bench.controller();
    let collect = |network, valid| {
        controller
            .collect(
                Some((network, &super::tests::network().id())),
                |_| valid,
                Policy::default(),
                limits(),
            )
            .unwrap()
            .endpoints
    };
    assert_eq!(collect(&other, false), 0);
    assert_eq!(collect(&pods, true), 0);
    assert_eq!(collect(&pods, false), 1);
    assert_eq!(bench.records(), [""; 0]);
    assert!(bench.world.0.borrow().endpoints.is_empty());
}

/// A network that another configuration has made goes by that one's wish.
#[test]
fn gc_leaves_the_networks_of_others_alone() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    bench.disconnect(Policy::default());
    let collect = |name: &str| {
        let (pods, of) = ("pods".parse().unwrap(), NetworkId::derive(name));
        let controller = bench.controller();
        let collected = controller.collect(Some((&pods, &of)), |_| false, REMOVE_NETWORK, limits());
        collected.unwrap()
    };
    assert_eq!(collect("n2").networks, 0);
    assert_ne!(bench.world.left(), [""; 0]);
    assert_eq!(collect("n1").networks, 1);
    assert_eq!(bench.world.left(), [""; 0]);
}

/// What is on a network is found without the network's own record.
#[test]
fn a_lost_network_record_hides_no_endpoint() {
    let bench = Bench::new();
    bench.connect(&endpoint()).unwrap();
    let dir = bench.dir.path().join("cnm-shim/networks");
    let dir = dir.join(network().id().as_str());
    std::fs::remove_file(dir.join("network.json")).unwrap();
    let controller = bench.controller();
    let collected = controller.collect(None, |_| false, REMOVE_NETWORK, limits());
    let collected = collected.unwrap();
    assert_eq!((collected.endpoints, collected.failures.len()), (1, 0));
    assert!(bench.world.0.borrow().endpoints.is_empty());
    assert!(!dir.exists());
}

/// Docker has one path for each sandbox, however many networks it is on.
#[test]
fn the_path_for_drivers_goes_with_the_last_endpoint() {
    let bench = Bench::new();
    let mut both = [endpoint(), endpoint()];
    both[1].attachment.ifname = "eth1".parse().unwrap();
    for endpoint in &mut both {
        endpoint.sandbox.key = Some("/keys/c1".into());
        bench.connect(endpoint).unwrap();
    }
    for (endpoint, stays) in both.iter().zip([true, false]) {
        let controller = bench.controller();
        let (id, attachment) = (network().id(), &endpoint.attachment);
        let ended = controller.disconnect(&id, attachment, REMOVE_NETWORK, limits());
        assert_eq!(ended.unwrap().notes, [""; 0]);
        let left = bench.world.left();
        assert_eq!(left.contains(&"key /keys/c1".to_owned()), stays, "{left:?}");
    }
    assert_eq!(bench.world.left(), [""; 0]);
}

#[test]
fn an_address_can_be_asked_for() {
    let bench = Bench::new();
    let wanting = |address: &str| EndpointSpec {
        wanted: vec![address.parse().unwrap()],
        ..endpoint()
    };
    let connected = bench.connect(&wanting("10.77.0.42")).unwrap();
    assert_eq!(connected.addresses, ["10.77.0.42/24".parse().unwrap()]);
    let taken = EndpointSpec {
        attachment: attachment("c2"),
        ..wanting("10.77.0.42")
    };
    // Whoever has the address keeps it.
    bench.connect(&taken).unwrap_err();
    bench
        .controller()
        .disconnect(
            &network().id(),
            &taken.attachment,
            Policy::default(),
            limits(),
        )
        .unwrap();
    assert!(
        bench
            .world
            .left()
            .contains(&"address 10.77.0.42".to_owned())
    );
    let no_such_family = EndpointSpec {
        attachment: attachment("c3"),
        ..wanting("fd00::5")
    };
    let error = bench.connect(&no_such_family).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_CONFIG);
}
