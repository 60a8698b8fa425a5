//! The reference and ours at once on one directory.

use std::collections::BTreeSet;
use std::thread;

use cni_testkit::Suite;
use serde_json::json;

use crate::fixture::{Leases, call, ours};

/// Eight workers, every other one with the reference, add and delete until a /25 is nearly full.
#[test]
fn both_implementations_share_a_directory_without_giving_an_address_twice() {
    let leases = Leases::new();
    let conf = leases.conf("1.0.0", &json!({"ranges": [[{"subnet": "10.0.0.0/25"}]]}));
    let work = |worker: usize| {
        let suites = [ours(), Suite::reference()];
        let mut kept = Vec::new();
        for n in 0..20 {
            let id = format!("c{worker}-{n}");
            let suite = &suites[(worker + n) % 2];
            let added = call(suite, "ADD", &id, &conf).run().expect_ok().json();
            let address = added["ips"][0]["address"].as_str().unwrap().to_owned();
            if n % 3 == 0 {
                // Each deletes what the other one added.
                let other = &suites[(worker + n + 1) % 2];
                let _ok = call(other, "DEL", &id, &conf).run().expect_silent_ok();
            } else {
                let other = &suites[(worker + n + 1) % 2];
                let _ok = call(other, "CHECK", &id, &conf).run().expect_silent_ok();
                kept.push(address);
            }
        }
        kept
    };
    let kept: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let different: BTreeSet<String> = kept
        .iter()
        .map(|address| address.replace("/25", ""))
        .collect();
    assert_eq!(different.len(), kept.len(), "an address was given twice");
    assert_eq!(
        leases.addresses().into_iter().collect::<BTreeSet<_>>(),
        different
    );
}
