//! A pod's network through containerd, by the calls that kubelet makes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::time::Duration;

use cni_testkit::{Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::containerd::Containerd;
use tenon_tests::cri::Pod;
use tenon_tests::image;
use tenon_tests::limits::{Look, ifbs};
use tenon_tests::ports::{self, HOST, Listener, OUTSIDE, PROTOCOLS};
use tenon_tests::throughput::{assert_rate, measure};

const V4: &str = "10.66.0.0/24";
const V6: &str = "fd66::/64";

cni_testkit::suites! {
    a_pod_comes_and_goes => |suite| pod_comes_and_goes(suite, "1.0.0", &[V4]);
    a_pod_of_an_old_conflist => |suite| pod_comes_and_goes(suite, "0.3.1", &[V4]);
    a_pod_has_both_families => |suite| pod_comes_and_goes(suite, "1.0.0", &[V4, V6]);
    pods_reach_each_other_and_restart => |suite| pods_reach_each_other(suite);
    a_pod_without_an_address_fails_whole => |suite| pod_without_an_address(suite);
    a_pod_whose_namespace_is_lost_leaves_nothing => |suite| pod_whose_namespace_is_lost(suite);
    a_pod_has_ports_and_limits => |suite| pod_with_ports_and_limits(suite);
    ports_and_limits_go_without_a_namespace => |suite| ports_and_limits_without_namespace(suite);
}

/// A bridge with masquerading: what a conflist for containerd usually has.
fn conflist(world: &World, version: &str, subnets: &[&str]) -> Value {
    let ipam = conf::host_local(world, subnets);
    conf::list(
        version,
        &[conf::bridge(version)
            .with(json!({"ipMasq": true}))
            .ipam(ipam)],
    )
}

/// One pod, with every call twice, as kubelet may; then its successor.
fn pod_comes_and_goes(suite: &Suite, version: &str, subnets: &[&str]) {
    let world = World::new();
    let conflist = conflist(&world, version, subnets);
    let containerd = Containerd::start(&world, suite.bin_dir(), &conflist);
    let cri = containerd.cri();
    cri.network_ready().unwrap();

    for attempt in 0..2 {
        let id = cri.run_pod(&containerd.pod("web", attempt)).unwrap();
        let status = cri.pod_status(&id).unwrap();
        assert!(status.ready);
        assert_eq!(status.ips.len(), subnets.len(), "{status:?}");
        for ip in &status.ips {
            assert!(world.host().ping(ip), "no answer from {ip}");
        }
        assert_eq!(veths(&world).len(), 1);
        assert_eq!(
            results(),
            [
                format!("cni-loopback-{id}-lo"),
                format!("{}-{id}-eth0", conf::NETWORK)
            ]
        );

        stop_and_remove_twice(&containerd, &id);
        assert_nothing_left(&world, &id, &status.ips);
    }
}

fn stop_and_remove_twice(containerd: &Containerd, id: &str) {
    stop_and_remove_twice_of(containerd, id, 0);
}

/// Of some pods, `others` of which stay.
fn stop_and_remove_twice_of(containerd: &Containerd, id: &str, others: usize) {
    let cri = containerd.cri();
    cri.stop_pod(id).unwrap();
    cri.stop_pod(id).unwrap();
    assert!(!cri.pod_status(id).unwrap().ready);
    cri.remove_pod(id).unwrap();
    cri.remove_pod(id).unwrap();
    assert_eq!(cri.pods().unwrap().len(), others);
}

/// The bridge, its gateway address and the index of the last lease stay by design; a name, an
/// address or a rule of the pod must not.
fn assert_nothing_left(world: &World, id: &str, ips: &[String]) {
    assert_eq!(veths(world), Vec::<String>::new());
    assert_eq!(results(), Vec::<String>::new());
    assert_eq!(traces(world, id, ips), Vec::<String>::new());
}

/// Facts about the host that name the pod.
fn traces(world: &World, id: &str, ips: &[String]) -> Vec<String> {
    let words: Vec<_> = ips.iter().map(String::as_str).chain([id]).collect();
    let after = world.snapshot().without("last_reserved_ip");
    after
        .naming(&words)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn veths(world: &World) -> Vec<String> {
    let mut names = world.host().link_names();
    names.retain(|name| name != "lo" && name != "tenon0");
    names
}

/// The files of libcni's result cache.
fn results() -> Vec<String> {
    let entries = fs::read_dir("/var/lib/cni/results").into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Two pods, a container in each; then one pod is replaced as kubelet does it after its sandbox has
/// died: the old one stopped, the new one made, the old one removed.
fn pods_reach_each_other(suite: &Suite) {
    let world = World::new();
    let conflist = conflist(&world, "1.0.0", &[V4]);
    let containerd = Containerd::start(&world, suite.bin_dir(), &conflist);
    let cri = containerd.cri();
    let pods = [containerd.pod("one", 0), containerd.pod("two", 0)];
    let ids = pods.each_ref().map(|pod| cri.run_pod(pod).unwrap());
    let container = cri.run_container(&ids[0], &pods[0], image::NAME).unwrap();
    let reaches = |ip: &str| {
        let (code, printed) = cri
            .exec(&container, &["ping", "-c", "1", "-W", "2", ip])
            .unwrap();
        assert_eq!(code, 0, "{printed}");
    };
    let second = cri.pod_status(&ids[1]).unwrap().ips;
    reaches(&second[0]);

    cri.stop_pod(&ids[1]).unwrap();
    let replaced = cri.run_pod(&containerd.pod("two", 1)).unwrap();
    cri.remove_pod(&ids[1]).unwrap();
    let third = cri.pod_status(&replaced).unwrap().ips;
    assert_ne!(third, second, "the address is used again at once");
    reaches(&third[0]);
    assert_eq!(traces(&world, &ids[1], &second), Vec::<String>::new());

    for id in [&ids[0], &replaced] {
        cri.stop_pod(id).unwrap();
        cri.remove_pod(id).unwrap();
    }
    assert_nothing_left(&world, &replaced, &third);
}

/// The second pod on a network of one address: kubelet sees why, and nothing stays behind.
fn pod_without_an_address(suite: &Suite) {
    let world = World::new();
    let range = json!([[{"subnet": V4, "rangeStart": "10.66.0.9", "rangeEnd": "10.66.0.9"}]]);
    let ipam = json!({"type": "host-local", "dataDir": world.data_dir(), "ranges": range});
    let conflist = conf::list("1.0.0", &[conf::bridge("1.0.0").ipam(ipam)]);
    let containerd = Containerd::start(&world, suite.bin_dir(), &conflist);
    let cri = containerd.cri();
    let id = cri.run_pod(&containerd.pod("first", 0)).unwrap();
    let before = world.snapshot();

    let error = cri.run_pod(&containerd.pod("second", 0)).unwrap_err();
    assert!(error.contains("no IP addresses available"), "{error}");
    before.assert_unchanged(&world.snapshot());
    assert_eq!(cri.pod_status(&id).unwrap().ips, ["10.66.0.9"]);
    stop_and_remove_twice(&containerd, &id);
}

/// A node's namespaces can be gone before kubelet stops a pod. containerd then calls DEL without
/// `CNI_NETNS`, and the plugins have only `prevResult` and their own records.
fn pod_whose_namespace_is_lost(suite: &Suite) {
    let world = World::new();
    let containerd = Containerd::start(
        &world,
        suite.bin_dir(),
        &conflist(&world, "1.0.0", &[V4, V6]),
    );
    let cri = containerd.cri();
    let id = cri.run_pod(&containerd.pod("web", 0)).unwrap();
    let ips = cri.pod_status(&id).unwrap().ips;
    containerd.lose_namespaces();

    cri.stop_pod(&id).unwrap();
    cri.remove_pod(&id).unwrap();
    wait_for("the pod's end", Duration::from_secs(10), || {
        veths(&world).is_empty()
    });
    if suite.is_reference() {
        // The reference's bridge returns after the IPAM's DEL when CNI_NETNS is empty.
        assert!(
            traces(&world, &id, &ips)
                .iter()
                .all(|line| line.starts_with("nft "))
        );
        assert_ne!(traces(&world, &id, &ips), Vec::<String>::new());
    } else {
        assert_nothing_left(&world, &id, &ips);
    }
}

/// Bits per second, as [`limited`] asks for them.
const INGRESS: u32 = 100_000_000;
const EGRESS: u32 = 150_000_000;

/// containerd asks for bursts of 2^32 bits: 512 MiB. And what queues hold besides.
const BURST: usize = (512 << 20) + (4 << 20);

/// What a conflist for Kubernetes chains behind its bridge.
fn chained(world: &World) -> Value {
    let portmap = conf::plugin("1.0.0", "portmap");
    let bandwidth = conf::plugin("1.0.0", "bandwidth");
    let keys = json!({"ipMasq": true, "hairpinMode": true});
    let ipam = conf::host_local(world, &[V4, V6]);
    conf::list(
        "1.0.0",
        &[
            conf::bridge("1.0.0").with(keys).ipam(ipam),
            portmap.with(json!({"capabilities": {"portMappings": true}})),
            bandwidth.with(json!({"capabilities": {"bandwidth": true}})),
        ],
    )
}

/// A pod whose containers have a `hostPort`, and whose manifest has kubelet's annotations.
fn limited(containerd: &Containerd) -> Pod {
    Pod {
        ports: PROTOCOLS.map(|protocol| (protocol, 8080, 80)).to_vec(),
        annotations: vec![
            ("kubernetes.io/ingress-bandwidth", "100M"),
            ("kubernetes.io/egress-bandwidth", "150M"),
        ],
        ..containerd.pod("limited", 0)
    }
}

fn pod_with_ports_and_limits(suite: &Suite) {
    let world = World::new();
    suite.alone_in(&world);
    let outside = ports::outside(&world);
    let containerd = Containerd::start(&world, suite.bin_dir(), &chained(&world));
    let cri = containerd.cri();
    let neighbour = cri.run_pod(&containerd.pod("neighbour", 0)).unwrap();
    let beside = containerd.netns(&world, "neighbour", &neighbour);
    let before = Look::at(&world);

    let id = cri.run_pod(&limited(&containerd)).unwrap();
    let ips = cri.pod_status(&id).unwrap().ips;
    let pod = containerd.netns(&world, "limited", &id);
    let listener = Listener::new(&pod, 80);
    for (host, own) in HOST.iter().zip(OUTSIDE) {
        let at = format!("{host}:8080");
        assert_eq!(listener.sees_both(&outside, &at), own);
        for inside in [world.host(), &pod, &beside] {
            listener.sees_both(inside, &at);
        }
    }
    listener.sees_both(world.host(), "127.0.0.1:8080");
    assert_rate(INGRESS, || measure(world.host(), &pod, &ips[0], BURST));
    assert_rate(EGRESS, || measure(&pod, world.host(), "192.0.2.1", BURST));

    stop_and_remove_twice_of(&containerd, &id, 1);
    listener.sees_nobody("tcp", &outside, "192.0.2.1:8080");
    assert_eq!(ifbs(world.host()), Vec::<String>::new());
    assert_eq!(traces(&world, &id, &ips), Vec::<String>::new());
    if !suite.is_reference() {
        // The reference keeps its shared chains, and `route_localnet`.
        before.assert_unchanged(&Look::at(&world));
    }
}

/// As [`pod_whose_namespace_is_lost`].
fn ports_and_limits_without_namespace(suite: &Suite) {
    let world = World::new();
    let containerd = Containerd::start(&world, suite.bin_dir(), &chained(&world));
    let cri = containerd.cri();
    let id = cri.run_pod(&limited(&containerd)).unwrap();
    let ips = cri.pod_status(&id).unwrap().ips;
    assert_eq!(ifbs(world.host()).len(), 1);
    containerd.lose_namespaces();
    cri.stop_pod(&id).unwrap();
    cri.remove_pod(&id).unwrap();
    wait_for("the pod's end", Duration::from_secs(10), || {
        veths(&world).is_empty()
    });
    if !suite.is_reference() {
        assert_nothing_left(&world, &id, &ips);
        assert_eq!(world.host().command("nft", &["list", "ruleset"]), "");
    }
}
