//! cnm-shim's `engine` backend with a real dockerd: its containers on its networks, and back.

use std::net::TcpStream;
use std::time::Duration;

use cni_testkit::{Snapshot, Suite, World, require, wait_for};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Method, RemovedAt, Route};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::network::{addresses_of, cidrs, route_to};
use tenon_tests::shim::{Before, Shim, records, sorted_links};

#[test]
fn a_container_is_joined_to_a_second_network_and_back() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network("second", "bridge", "10.72.0.0/24");
    let id = engine.run("one", "first");
    engine.run("two", "second");
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);

    let shim = Shim::new(&dockerd, "second");
    let joined = shim.add("one", "net1");
    assert_eq!(sorted_links(&netns), ["eth0", "lo", "net1"]);
    let cidr = cidrs(&joined.result).remove(0);
    assert_eq!(addresses_of(&netns, "net1"), std::slice::from_ref(&cidr));
    let endpoint = engine.endpoint("one", "second");
    assert_eq!(joined.address(), endpoint["IPAddress"].as_str().unwrap());
    let shown = engine.network("second")["Containers"][&id].clone();
    assert_eq!(shown["IPv4Address"], cidr);
    let interfaces = joined.result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 3);
    let inside = &interfaces[2];
    assert_eq!(inside["name"], "net1");
    assert_eq!(inside["mac"], endpoint["MacAddress"]);
    assert_eq!(inside["sandbox"], dockerd.netns_path("one"));
    for end in &interfaces[..2] {
        let link = world.host().link(end["name"].as_str().unwrap()).unwrap();
        assert_eq!(link["address"], end["mac"]);
    }
    assert_eq!(joined.result["ips"][0]["gateway"], "10.72.0.1");
    assert_eq!(joined.result["ips"][0]["interface"], 2);
    // Docker's resolver knows who is on the network.
    let resolver = engine.exec("one", &["cat", "/etc/resolv.conf"]).text;
    assert!(resolver.contains("nameserver 127.0.0.11"), "{resolver}");
    assert!(engine.ping("one", "two"));
    assert!(engine.ping("two", "one"));
    joined.check().expect_silent_ok();
    assert_eq!(records().len(), 1);

    joined.del_ok();
    joined.del_ok();
    assert_eq!(engine.endpoint("one", "second"), Value::Null);
    assert!(records().is_empty());
    before.assert_unchanged(&world, &netns);
}

#[test]
fn a_container_on_none_gets_its_first_network_and_goes_back() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let ipam = json!({"Config": [{"Subnet": "10.71.0.0/24"}, {"Subnet": "fd71::/64"}]});
    let dual = json!({"Name": "dual", "Driver": "bridge", "EnableIPv6": true, "IPAM": ipam});
    engine.create_network_with(&dual);
    engine.run("one", "none");
    engine.run("two", "dual");
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);
    let shim = Shim::new(&dockerd, "dual");
    // Docker counts on: the second time, its name for the link is another one.
    for again in [false, true] {
        let joined = shim.add("one", "eth0");
        assert_eq!(sorted_links(&netns), ["eth0", "lo"]);
        let alternative = netns.link("eth0").unwrap()["altnames"].clone();
        let expected = if again { json!(["eth1"]) } else { Value::Null };
        assert_eq!(alternative, expected);
        assert_eq!(cidrs(&joined.result).len(), 2);
        assert_eq!(addresses_of(&netns, "eth0"), cidrs(&joined.result));
        assert_eq!(route_to(&netns, "default", "")["gateway"], "10.71.0.1");
        let routes = joined.result["routes"].as_array().unwrap();
        let default = |dst: &str| routes.iter().find(|route| route["dst"] == dst).unwrap();
        assert_eq!(default("0.0.0.0/0")["gw"], "10.71.0.1");
        assert_eq!(default("::/0")["gw"], "fd71::1");
        assert!(engine.ping("one", "two"));
        let two = engine.endpoint("two", "dual")["GlobalIPv6Address"].clone();
        assert!(netns.ping(two.as_str().unwrap()));
        joined.check().expect_silent_ok();
        joined.del_ok();
        assert!(engine.endpoint("one", "none").is_object());
        assert_eq!(engine.endpoint("one", "dual"), Value::Null);
        before.assert_unchanged(&world, &netns);
    }
}

/// Docker disconnects a renamed link, which it finds by the alternative name: its driver does not
/// remove it.
#[test]
fn docker_finds_what_was_renamed() {
    let world = World::new();
    let _driver = Driver::named("tenon")
        .style(|style| style.removed_at = RemovedAt::Never)
        .start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network_with(&json!({"Name": "second", "Driver": "tenon",
        "IPAM": {"Driver": "tenon", "Config": [{"Subnet": "10.77.0.0/24"}]}}));
    engine.run("one", "first");
    let netns = dockerd.netns("one");
    let before = Snapshot::of(&netns).without("nft");
    let shim = Shim::new(&dockerd, "second");
    let joined = shim.add("one", "net1");
    assert_eq!(engine.disconnect("second", "one").status, 200);
    before.assert_unchanged(&Snapshot::of(&netns).without("nft"));
    joined.check().expect_error(103);
    joined.del_ok();
    assert!(records().is_empty());
}

/// Another plugin has given the container its first interface, and Docker, which does not know, would
/// call its own the same.
#[test]
fn a_container_that_has_an_interface_of_another_plugin() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("red", "bridge", "10.71.0.0/24");
    engine.run("one", "none");
    let netns = dockerd.netns("one");
    netns.ip("link add eth0 type veth peer name end");
    netns.ip("addr add 192.0.2.1/24 dev eth0");
    netns.ip("link set eth0 up");
    let before = Before::of(&world, &netns);
    let shim = Shim::new(&dockerd, "red");
    let joined = shim.add("one", "net1");
    assert_eq!(sorted_links(&netns), ["end", "eth0", "lo", "net1"]);
    assert_eq!(addresses_of(&netns, "net1"), cidrs(&joined.result));
    assert_eq!(addresses_of(&netns, "eth0"), ["192.0.2.1/24"]);
    joined.check().expect_silent_ok();
    joined.del_ok();
    before.assert_unchanged(&world, &netns);
    assert!(engine.endpoint("one", "none").is_object());
}

#[test]
fn two_attachments_of_one_container_at_once() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.run("one", "none");
    let netns = dockerd.netns("one");
    let shims = [(71, "first"), (72, "second"), (73, "third")].map(|(third, name)| {
        engine.create_network(name, "bridge", &format!("10.{third}.0.0/24"));
        Shim::new(&dockerd, name).named(name)
    });
    let before = Before::of(&world, &netns);
    let calls = shims.each_ref().map(|shim| {
        let ifname = shim.conf.0["network"].as_str().unwrap();
        shim.call_for("ADD", "one", ifname)
    });
    let results = std::thread::scope(|scope| {
        let running = calls.each_ref().map(|call| scope.spawn(|| call.run()));
        running.map(|one| one.join().unwrap().expect_ok().json())
    });
    assert_eq!(sorted_links(&netns), ["first", "lo", "second", "third"]);
    for (shim, result) in shims.iter().zip(&results) {
        let name = shim.conf.0["network"].as_str().unwrap();
        assert_eq!(addresses_of(&netns, name), cidrs(result));
    }
    let dels = shims.each_ref().map(|shim| {
        let ifname = shim.conf.0["network"].as_str().unwrap();
        shim.call_for("DEL", "one", ifname)
    });
    std::thread::scope(|scope| {
        for call in &dels {
            scope.spawn(|| call.run().expect_silent_ok());
        }
    });
    assert!(engine.endpoint("one", "none").is_object());
    before.assert_unchanged(&world, &netns);
}

#[test]
fn a_network_is_made_when_it_is_needed_and_goes_when_it_is_not() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.run("one", "none");
    engine.run("two", "none");
    let netns = dockerd.netns("one");
    // Docker switches it on with the first network that has IPv6, for good.
    world.host().set_sysctl("net/ipv6/conf/all/forwarding", "1");
    let before = Before::of(&world, &netns);
    let keys = json!({
        "driver": "bridge", "subnet": "10.74.0.0/16", "ipRange": "10.74.5.0/24",
        "gateway": "10.74.0.9", "auxAddresses": {"printer": "10.74.5.1"}, "subnetV6": "fd74::/64",
        "options": {"com.docker.network.driver.mtu": 1400}, "removeNetworkWhenUnused": true,
    });
    let shim = Shim::new(&dockerd, "made").with(keys);
    shim.call("STATUS")
        .conf(&shim.newest())
        .run()
        .expect_silent_ok();
    let one = shim.add("one", "eth0");
    let network = engine.network("made");
    assert_eq!(
        network["Labels"],
        json!({"tenon.cnm-shim.network": "tenon-net"})
    );
    assert_eq!(network["EnableIPv6"], true);
    assert_eq!(network["IPAM"]["Config"][0]["IPRange"], "10.74.5.0/24");
    assert!(one.address().starts_with("10.74.5."), "{}", one.result);
    assert_eq!(one.result["ips"][0]["gateway"], "10.74.0.9");
    assert_eq!(netns.link("eth0").unwrap()["mtu"], 1400);
    let two = shim.add("two", "eth0");
    one.del_ok();
    assert_eq!(engine.network("made")["Id"], network["Id"]);
    // A container that does not run is on it as well.
    engine.create("three", "made");
    two.del_ok();
    assert_eq!(engine.network("made")["Id"], network["Id"]);
    engine.remove("three");
    shim.gc(&[]).expect_silent_ok();
    let gone = engine.request("GET", "/networks/made", &Value::Null);
    assert_eq!(gone.status, 404);
    before.assert_unchanged(&world, &netns);

    // Of that name there is one by somebody else now.
    engine.create_network("made", "bridge", "10.75.0.0/24");
    let error = shim.try_add("one", "eth0").expect_error(7);
    assert!(
        error["msg"].as_str().unwrap().contains("enableIPv6"),
        "{error}"
    );
    shim.gc(&[]).expect_silent_ok();
    engine.network("made");
}

#[test]
fn wishes_that_docker_heeds() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("alpha", "bridge", "10.71.0.0/24");
    engine.create_network("beta", "bridge", "10.72.0.0/24");
    engine.run("one", "beta");
    let shim = Shim::new(&dockerd, "alpha").with(json!({
        "isDefaultGateway": true,
        "dns": {"nameservers": ["10.71.0.53"]},
        "runtimeConfig": {"ips": ["10.71.0.77/24"]},
        "cniVersion": "1.1.0",
    }));
    // Docker gives the default route to the network whose name comes first.
    let joined = shim.add("one", "net1");
    assert_eq!(cidrs(&joined.result), ["10.71.0.77/24"]);
    assert_eq!(joined.result["dns"]["nameservers"], json!(["10.71.0.53"]));
    assert_eq!(joined.result["interfaces"][2]["mtu"], 1500);
    assert_eq!(
        route_to(&dockerd.netns("one"), "default", "")["dev"],
        "net1"
    );
    joined.del_ok();
}

/// A driver that is a program, with Docker as its controller: routes and a prefix of its own, and a
/// link that it leaves to the controller.
#[test]
fn a_network_of_a_remote_driver() {
    let world = World::new();
    let driver = Driver::named("tenon")
        .style(|style| {
            "cali".clone_into(&mut style.dst_prefix);
            style.routes = vec![Route::via("10.9.0.0/16", "10.77.0.9")];
        })
        .start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.run("one", "none");
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);
    let shim = Shim::new(&dockerd, "remote").with(json!({
        "driver": "tenon", "ipamDriver": "tenon", "subnet": "10.77.0.0/24",
        "options": {"o1": "v1"}, "endpointOptions": {"x": 1}, "removeNetworkWhenUnused": true,
    }));
    let joined = shim.add("one", "eth0");
    assert_eq!(netns.link("eth0").unwrap()["altnames"], json!(["cali0"]));
    assert_eq!(addresses_of(&netns, "eth0"), cidrs(&joined.result));
    let routes = joined.result["routes"].as_array().unwrap();
    let told = routes.iter().find(|route| route["dst"] == "10.9.0.0/16");
    assert_eq!(told.unwrap()["gw"], "10.77.0.9");
    assert!(netns.ping("10.77.0.1"));
    let asked = driver.last(Method::CreateEndpoint).json();
    assert_eq!(asked["Options"]["x"], "1");
    let made = driver.last(Method::CreateNetwork).json();
    assert_eq!(made["Options"]["com.docker.network.generic"]["o1"], "v1");
    joined.check().expect_silent_ok();
    joined.del_ok();
    driver.assert_empty();
    before.assert_unchanged(&world, &netns);
}

/// `portmap` and `tuning` of the reference plugins, chained behind.
#[test]
fn others_plugins_go_on_with_the_result() {
    require("iptables");
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("web", "bridge", "10.71.0.0/24");
    engine.run("one", "none");
    let shim = Shim::new(&dockerd, "web");
    let joined = shim.add("one", "eth0");
    world.host().set_sysctl("net/ipv4/ip_forward", "1");
    let said = engine.exec("one", &["httpd", "-p", "80", "-h", "/"]);
    assert_eq!(said.code, 0, "{}", said.text);

    let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let keys = json!({"type": "portmap", "runtimeConfig": {"portMappings": mappings}});
    let reference = Suite::reference();
    let chained = |plugin: &str, command: &str, keys: &Value| {
        let conf = joined.conf().with(keys.clone());
        let call = joined.call(command).conf(&conf);
        dockerd.beside(call.of(reference.bin_dir(), plugin)).run()
    };
    let mapped = chained("portmap", "ADD", &keys).expect_ok().json();
    assert_eq!(mapped["ips"], joined.result["ips"]);
    let connects = || {
        let address = "10.71.0.1:8080".parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    };
    wait_for("the mapped port", Duration::from_secs(5), connects);
    let sysctls = json!({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}});
    chained("tuning", "ADD", &sysctls).expect_ok();
    let netns = dockerd.netns("one");
    assert_eq!(netns.sysctl("net/ipv4/conf/eth0/log_martians"), "1");
    joined.check().expect_silent_ok();
    chained("tuning", "DEL", &sysctls).expect_ok();
    chained("portmap", "DEL", &keys).expect_ok();
    assert!(!connects());
    joined.del_ok();
}

/// The configuration of kubernetes/contrib's `to_docker`, as it was written in 2016, with its plugin
/// replaced.
#[test]
fn the_config_of_to_docker_still_works() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("mynet", "bridge", "10.71.0.0/24");
    engine.run("pod", "none");
    let suite = Suite::ours();
    let bin = world.dir().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(suite.bin_dir().join("cnm-shim"), bin.join("c2d")).unwrap();
    let shim = Shim::c2d(&dockerd, &bin);
    let netns = dockerd.netns("pod");
    let before = Snapshot::of(world.host());
    let joined = shim.add("pod", "eth0");
    let expected = json!({
        "cniVersion": "0.1.0",
        "ip4": {
            "ip": "10.71.0.2/24",
            "gateway": "10.71.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.71.0.1"}],
        },
        "dns": {},
    });
    assert_eq!(joined.result, expected);
    assert_eq!(addresses_of(&netns, "eth0"), ["10.71.0.2/24"]);
    joined.del_ok();
    assert!(engine.endpoint("pod", "none").is_object());
    before.assert_unchanged(&Snapshot::of(world.host()));
    for text in ["0.1", "0.9"] {
        let other = shim
            .conf
            .clone()
            .with(json!({"cniVersion": text, "type": "cnm-shim"}));
        let error = shim.call("DEL").conf(&other);
        let error = error.container_id("pod").ifname("eth0").run();
        error.expect_error(1);
    }
}
