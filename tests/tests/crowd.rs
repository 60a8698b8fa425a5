//! The default chains of podman and nerdctl on a host with rules of others: containers get their
//! traffic, and nothing of the others' is another than before.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::Path;

use cni_testkit::{Suite, World};
use serde_json::{Value, json};
use tenon_tests::conflist::Attachment;
use tenon_tests::crowd::{self, Rules};
use tenon_tests::network::{bare, cidrs};
use tenon_tests::ports::{self, HOST, Listener, PROTOCOLS};

/// A conflist of `conf/`, with both families.
fn list(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name);
    let mut list: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let ipam = &mut list["plugins"][0]["ipam"];
    let ranges = ipam["ranges"].as_array_mut().unwrap();
    ranges.push(json!([{"subnet": "fd95::/64"}]));
    if let Some(routes) = ipam["routes"].as_array_mut() {
        routes.push(json!({"dst": "::/0"}));
    }
    list
}

fn ports() -> Value {
    let port = |protocol| json!({"hostPort": 8081, "containerPort": 80, "protocol": protocol});
    json!({"portMappings": PROTOCOLS.map(port)})
}

#[test]
fn rules_of_others_are_byte_for_byte_as_before() {
    for file in [
        "10-containerd.conflist",
        "20-podman.conflist",
        "30-nerdctl.conflist",
    ] {
        let (world, suite, list) = (World::new(), Suite::ours(), list(file));
        let _outside = ports::outside(&world);
        crowd::fill(world.host());
        let before = Rules::of(world.host());
        assert!(before.0.len() > 900, "{before:?}");
        let netns = ["c1", "c2"].map(|name| world.container(name));
        let chains = [("c1", &netns[0]), ("c2", &netns[1])]
            .map(|(id, netns)| Attachment::new(&suite, &list, id, netns));
        let first = chains[0].clone().capabilities(ports());
        let results = [first.add(), chains[1].add()];
        first.check(&results[0]);
        assert_ne!(Rules::of(world.host()), before, "{file}");
        let listener = Listener::new(&netns[0], 80);
        listener.sees_both(world.host(), "127.0.0.1:8081");
        // Docker's policy is to forward nothing: that is what the firewall plugin is for.
        let mut plugins = list["plugins"].as_array().unwrap().iter();
        if plugins.any(|plugin| plugin["type"] == "firewall") {
            for (host, from) in HOST
                .iter()
                .flat_map(|host| netns.iter().map(move |c| (host, c)))
            {
                listener.sees_both(from, &format!("{host}:8081"));
            }
        }
        first.del(&results[0]);
        chains[1].del(&results[1]);
        before.assert_same(&Rules::of(world.host()), file);
    }
}

/// A failed ADD, and DEL without a namespace, leave them alone too.
#[test]
fn rules_of_others_outlive_what_goes_wrong() {
    let (world, suite) = (World::new(), Suite::ours());
    crowd::fill(world.host());
    let before = Rules::of(world.host());
    let mut list = list("20-podman.conflist");
    // The last plugin fails; a runtime then calls DEL of all.
    list["plugins"][3]["sysctl"] = json!({"net.no.such": "1"});
    let c1 = world.container("c1");
    let chain = Attachment::new(&suite, &list, "c1", &c1).capabilities(ports());
    let mut result = Value::Null;
    let plugins = list["plugins"].as_array().unwrap();
    for plugin in &plugins[..3] {
        result = chain.call("ADD", plugin, &result).expect_ok().json();
    }
    chain.call("ADD", &plugins[3], &result).expect_any_error();
    let address = bare(&cidrs(&result)[0]);
    let added = Rules::of(world.host());
    assert!(added.0.iter().any(|line| line.contains(&address)));
    drop(c1);
    let gone = world.container("gone");
    let gone_chain = Attachment::new(&suite, &list, "c1", &gone).capabilities(ports());
    for _twice in 0..2 {
        gone_chain.del(&Value::Null);
    }
    before.assert_same(&Rules::of(world.host()), "DEL without a namespace");
}
