//! Half an upgrade of whole chains: what the reference's plugins have added for a container of podman or
//! nerdctl, ours find as it should be, and take away.
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
use tenon_tests::network::{bare, cidrs};
use tenon_tests::ports::{self, HOST, Listener, OUTSIDE, PROTOCOLS};

/// Docker's FORWARD, which is what the firewall plugin is for.
const DROP: [&str; 3] = ["-P", "FORWARD", "DROP"];

fn list(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn chains_that_the_reference_added_are_checked_and_removed() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for file in ["20-podman.conflist", "30-nerdctl.conflist"] {
        for gone in [false, true] {
            let (world, list) = (World::new(), list(file));
            world.host().command("iptables", &DROP);
            let _outside = ports::outside(&world);
            let c1 = world.container("c1");
            let of = |suite| Attachment::new(suite, &list, "c1", &c1).capabilities(ports());
            let result = of(&reference).add();
            let listener = Listener::new(&c1, 80);
            let at = format!("{}:8080", HOST[0]);
            listener.sees_both(world.host(), &at);
            assert!(c1.ping(OUTSIDE[0]), "{file}: no way out");
            of(&ours).check(&result);
            if gone {
                of(&ours).without_netns().del(&result);
            } else {
                of(&ours).del(&result);
            }
            listener.sees_nobody("tcp", world.host(), &at);
            let left = world.snapshot().tree("/var/lib/cni".as_ref());
            let left = left.without("last_reserved_ip");
            let words = ["c1", &address_of(&result), "8080"];
            assert_eq!(left.naming(&words), Vec::<&str>::new(), "{file}");
        }
    }
}

fn ports() -> Value {
    let port = |protocol| json!({"hostPort": 8080, "containerPort": 80, "protocol": protocol});
    json!({"portMappings": PROTOCOLS.map(port)})
}

fn address_of(result: &Value) -> String {
    bare(&cidrs(result)[0])
}
