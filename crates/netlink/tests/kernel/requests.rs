//! Batches, dumps and refusals.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cni_netlink::{Cause, Change, Dad, LinkId, NetNs, Socket, add_address, delete_link, set_up};

use crate::{Pair, bridge, cidr, new_netns, words};

#[test]
fn a_batch_goes_on_behind_a_failure_and_says_so() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let changes = [
        add_address(&eth0, cidr("10.1.0.1/24"), Dad::Skip),
        add_address(&eth0, cidr("10.1.0.1/24"), Dad::Skip),
        add_address(&eth0, cidr("10.1.0.2/24"), Dad::Skip),
    ];
    let error = pair.container.send_all(&changes).unwrap_err();
    assert_eq!(error.index, 1);
    assert_eq!(error.done, [true, false, true]);
    assert!(error.error.is_exists());
    assert_eq!(
        error.to_string(),
        "failed to add address 10.1.0.1/24 dev eth0"
    );
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        words(&error.error)
    );
    assert_eq!(changes[2].to_string(), "add address 10.1.0.2/24 dev eth0");
    assert!(pair.container.send_each(&[]).is_empty());
}

#[test]
fn many_requests_get_all_their_acknowledgements() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let adds: Vec<Change> = (0..2000)
        .map(|n| {
            add_address(
                &eth0,
                cidr(&format!("10.1.{}.{}/16", n / 250, n % 250 + 1)),
                Dad::Skip,
            )
        })
        .collect();
    pair.container.send_all(&adds).unwrap();
    let v4 = |socket: &Socket| {
        let all = socket.addresses(Some(&eth0)).unwrap();
        all.iter().filter(|one| !one.cidr.is_ipv6()).count()
    };
    assert_eq!(v4(&pair.container), 2000);
}

#[test]
fn a_dump_is_whole_while_links_come_and_go() {
    let pair = Pair::new();
    let steady: Vec<LinkId> = (0..60)
        .map(|n| bridge(&pair.host, &format!("steady{n}")))
        .collect();
    let stop = AtomicBool::new(false);
    let noisy = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let noisy = noisy;
            while !stop.load(Ordering::Relaxed) {
                let made = bridge(&noisy, "noise");
                noisy.request(&delete_link(&made)).unwrap();
            }
        });
        let mut whole = 0;
        for _ in 0..40 {
            match pair.host.links() {
                Ok(links) => {
                    assert!(
                        steady
                            .iter()
                            .all(|one| links.iter().any(|link| link.id() == *one))
                    );
                    whole += 1;
                }
                Err(error) => assert!(matches!(error.cause, Cause::Interrupted), "{error:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(whole > 0);
    });
    assert_eq!(
        pair.host.links().unwrap().len(),
        61,
        "the socket is still in step"
    );
}

/// Runs this test again inside a namespace, as root without any capability.
#[test]
fn without_privilege_the_error_says_what_is_needed() {
    const INSIDE: &str = "CNI_NETLINK_TEST_WITHOUT_CAPABILITIES";
    const NAME: &str = "requests::without_privilege_the_error_says_what_is_needed";
    if std::env::var_os(INSIDE).is_none() {
        let again = || {
            Command::new("setpriv")
                .arg("--bounding-set=-all")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", NAME])
                .env(INSIDE, "1")
                .output()
                .unwrap()
        };
        let output = new_netns().run(again).unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let lo = LinkId::new(1, "lo");
    let error = Socket::open().unwrap().request(&set_up(&lo)).unwrap_err();
    assert_eq!(error.to_string(), "failed to set up link lo");
    assert_eq!(words(&error), "Operation not permitted");
    assert!(error.hint().unwrap().contains("CAP_NET_ADMIN"));
    let error = NetNs::current().unwrap().socket().unwrap_err();
    assert!(
        error.to_string().starts_with("failed to enter netns"),
        "{error}"
    );
}
