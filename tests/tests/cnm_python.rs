//! The peers written in Python, by themselves: two namespaces meet through the driver, a real
//! controller gets on with it, and the judge tells right requests from wrong ones.

use cni_testkit::World;
use serde_json::{Value, json};
use tenon_tests::cnm::controller::{Controller, id};
use tenon_tests::cnm::driver::{Driver, Method};
use tenon_tests::cnm::python::{Kuryr, PythonDriver};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::http::Client;

const POOL: &str = "10.74.0.0/24";
const GATEWAY: &str = "10.74.0.1/24";

#[test]
fn two_namespaces_meet_through_the_python_driver() {
    let world = World::new();
    let Some(driver) = PythonDriver::start(&world, "pyveth") else {
        return;
    };
    let before = world.snapshot();
    let controller = Controller::new(driver.client());
    let network = id("net");
    controller.create_network(&network, POOL, GATEWAY);
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let first = controller.attach(&world, &network, &c1, "10.74.0.2/24");
    let second = controller.attach(&world, &network, &c2, "10.74.0.3/24");
    assert!(c1.ping("10.74.0.3"));
    assert!(c2.ping("10.74.0.1"));
    controller.detach(&world, &first, &c1);
    controller.detach(&world, &second, &c2);
    controller.delete_network(&network);
    driver.assert_empty();
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn the_python_driver_knows_every_key() {
    let world = World::new();
    let Some(driver) = PythonDriver::start(&world, "pyveth") else {
        return;
    };
    let controller = Controller::new(driver.client());
    let body = json!({"NetworkID": id("net"), "EndpointID": id("e")});
    let mut more = body.clone();
    more["Sandbox"] = json!("x");
    for (method, body, text) in [
        (Method::Leave, more, "unexpected keyword argument 'Sandbox'"),
        (
            Method::Join,
            body,
            "missing 1 required positional argument: 'SandboxKey'",
        ),
    ] {
        let answer = controller.call(method, &body);
        let said = answer.json()["Err"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(text), "{method}: {}", answer.text());
    }
    let checked = controller.ok(Method::GwAllocCheck, &json!({"Options": {}}));
    assert_eq!(checked, json!({"SkipIPv4": false, "SkipIPv6": true}));
}

#[test]
fn a_real_controller_gets_on_with_the_python_driver() {
    let world = World::new();
    let Some(driver) = PythonDriver::start(&world, "pyveth") else {
        return;
    };
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("net", "pyveth", POOL);
    engine.run("one", "net");
    engine.run("two", "net");
    let endpoint = engine.endpoint("two", "net");
    assert!(engine.ping("one", endpoint["IPAddress"].as_str().unwrap()));
    engine.remove("one");
    engine.remove("two");
    engine.remove_network("net");
    driver.assert_empty();
}

/// What dockerd sends, with IPv6 and without, is right to the judge.
#[test]
fn the_judge_agrees_with_a_real_controller() {
    let Some(kuryr) = Kuryr::start() else {
        return;
    };
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let pools = json!([
        {"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.128/25"},
        {"Subnet": "fd77::/64", "Gateway": "fd77::1"},
    ]);
    let ipam = json!({"Driver": "tenon", "Config": pools});
    let body = json!({"Name": "net", "Driver": "tenon", "EnableIPv6": true, "IPAM": ipam});
    engine.create_network_with(&body);
    engine.run("one", "net");
    engine.remove("one");
    engine.remove_network("net");
    driver.assert_empty();
    assert!(driver.count(Method::Join) == 1, "{:?}", driver.calls());
    assert_eq!(kuryr.complaints(&driver.requests()), Vec::<String>::new());
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let Some(kuryr) = Kuryr::start() else {
        return;
    };
    let ids = |network: &str| json!({"NetworkID": network, "EndpointID": id("e")});
    assert_eq!(kuryr.validate(Method::Leave, &ids(&id("net"))), Ok(()));
    assert_eq!(kuryr.validate(Method::Activate, &Value::Null), Ok(()));
    let error = kuryr.validate(Method::Leave, &ids("net")).unwrap_err();
    assert!(
        error.starts_with("NetworkDriver.Leave: NetworkID: 'net' is not valid"),
        "{error}"
    );
    let mut join = ids(&id("net"));
    let error = kuryr.validate(Method::Join, &join).unwrap_err();
    assert!(error.contains("'SandboxKey' is a required"), "{error}");
    join["SandboxKey"] = json!("/run/netns/c1");
    let error = kuryr.validate(Method::Join, &join).unwrap_err();
    assert!(error.contains("SandboxKey: '/run/netns/c1'"), "{error}");
    let short = json!({"AddressSpace": "a", "Pool": "10.0.0.0/24"});
    let error = kuryr.validate(Method::RequestPool, &short).unwrap_err();
    assert!(error.contains("'V6' is a required property"), "{error}");
}

/// The test driver's own ids have the form that the judge wants.
#[test]
fn pools_of_the_test_driver_have_kuryrs_form() {
    let Some(kuryr) = Kuryr::start() else {
        return;
    };
    let _world = World::new();
    let driver = Driver::named("tenon").start();
    let controller = Controller::new(Client::unix(driver.socket()));
    let body =
        json!({"AddressSpace": "a", "Pool": POOL, "SubPool": "", "Options": null, "V6": false});
    let pool = controller.ok(Method::RequestPool, &body);
    let body = json!({"PoolID": pool["PoolID"], "Address": "", "Options": null});
    controller.ok(Method::RequestAddress, &body);
    assert_eq!(kuryr.complaints(&driver.requests()), Vec::<String>::new());
}
