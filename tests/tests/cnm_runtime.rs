//! `cnm-shim` as a real container runtime calls it: containerd, by the calls that kubelet makes, with
//! networks of a CNM driver.

use cni_testkit::{Conf, conf};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::Method;
use tenon_tests::cnm::shim::{DRIVER, SUBNET, SUBNET6, Shim};
use tenon_tests::containerd::Containerd;
use tenon_tests::image;

/// As `conf/71-cnm-driver.conflist`, of both families.
fn conflist(keys: Value) -> Value {
    let shim = conf::plugin("1.0.0", "cnm-shim").with(json!({
        "driver": DRIVER, "ipamDriver": DRIVER, "subnet": SUBNET, "subnetV6": SUBNET6,
        "removeNetworkWhenUnused": true,
        "capabilities": {"portMappings": true, "ips": true, "mac": true},
    }));
    conf::list("1.0.0", &[shim.with(keys)])
}

#[test]
fn pods_of_containerd_meet_through_a_driver() {
    let shim = Shim::new();
    let containerd = Containerd::start(&shim.world, shim.suite().bin_dir(), &conflist(json!({})));
    let cri = containerd.cri();
    cri.network_ready().unwrap();
    let pods = [containerd.pod("one", 0), containerd.pod("two", 0)];
    let ids = pods.each_ref().map(|pod| cri.run_pod(pod).unwrap());
    let status = cri.pod_status(&ids[1]).unwrap();
    assert_eq!(status.ips, ["10.77.0.3", "fd77::3"]);
    for ip in &status.ips {
        assert!(shim.world.host().ping(ip), "{ip}");
    }
    let container = cri.run_container(&ids[0], &pods[0], image::NAME).unwrap();
    let ping = ["ping", "-c", "1", "-W", "2", "10.77.0.3"];
    let (code, printed) = cri.exec(&container, &ping).unwrap();
    assert_eq!(code, 0, "{printed}");
    // kubelet calls everything twice, sometimes.
    for id in &ids {
        cri.stop_pod(id).unwrap();
        cri.stop_pod(id).unwrap();
        cri.remove_pod(id).unwrap();
        cri.remove_pod(id).unwrap();
    }
    assert_eq!(shim.driver.count(Method::DeleteEndpoint), 2);
    shim.assert_nothing_left();
}

/// The driver is away when a pod comes, and when one goes: kubelet sees why, and tries again.
#[test]
fn a_pod_waits_for_its_driver() {
    let shim = Shim::new();
    let timeout = Conf(json!({"timeout": 1}));
    let containerd = Containerd::start(&shim.world, shim.suite().bin_dir(), &conflist(timeout.0));
    let cri = containerd.cri();
    let pod = containerd.pod("web", 0);
    shim.driver.die();
    let error = cri.run_pod(&pod).unwrap_err();
    for word in [
        "network driver tenon",
        "Connection refused",
        "cnm-shim ping",
    ] {
        assert!(error.contains(word), "{error}");
    }
    shim.assert_nothing_left();

    shim.driver.revive();
    let id = cri.run_pod(&containerd.pod("web", 1)).unwrap();
    shim.driver.die();
    let error = cri.stop_pod(&id).unwrap_err();
    assert!(error.contains("network driver tenon"), "{error}");
    shim.driver.revive();
    cri.stop_pod(&id).unwrap();
    cri.remove_pod(&id).unwrap();
    shim.assert_nothing_left();
}

/// The namespaces are lost before kubelet stops the pod.
#[test]
fn a_pod_whose_namespace_is_lost_leaves_nothing() {
    let shim = Shim::new();
    let containerd = Containerd::start(&shim.world, shim.suite().bin_dir(), &conflist(json!({})));
    let cri = containerd.cri();
    let id = cri.run_pod(&containerd.pod("web", 0)).unwrap();
    containerd.lose_namespaces();
    cri.stop_pod(&id).unwrap();
    cri.remove_pod(&id).unwrap();
    shim.assert_nothing_left();
}
