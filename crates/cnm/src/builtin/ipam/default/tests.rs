use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use cni_ipam::lock_file;
use cni_types::ErrorCode;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::Cause;
use crate::wire::label;

struct Fixture {
    data: TempDir,
    ipam: DefaultIpam,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Why a call failed, as the controller finds it.
fn cause(error: &DriverError) -> &CniError {
    match &error.cause {
        Cause::Failed(error) => error.downcast_ref().expect("a CniError"),
        other => panic!("{other:?}"),
    }
}

impl Fixture {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let ipam = DefaultIpam::new(&data.path().join("ipam"), || {
            Ok(vec!["172.17.0.0/16".parse().unwrap()])
        });
        Self { data, ipam }
    }

    fn try_pool(&self, pool: &str, sub_pool: &str) -> Outcome<String> {
        let request = ipam::RequestPoolRequest {
            address_space: "LocalDefault".into(),
            pool: pool.into(),
            sub_pool: sub_pool.into(),
            v6: pool.contains(':'),
            options: None,
        };
        let reply = self.ipam.request_pool(&request, soon())?;
        assert!(
            reply
                .pool_id
                .starts_with(&format!("LocalDefault/{}", reply.pool))
        );
        Ok(reply.pool_id)
    }

    fn pool(&self, pool: &str) -> String {
        self.try_pool(pool, "").unwrap()
    }

    fn release_pool(&self, pool_id: &str) {
        let pool_id = pool_id.to_owned();
        let request = ipam::ReleasePoolRequest { pool_id };
        self.ipam.release_pool(&request, soon()).unwrap();
    }

    fn request(&self, pool_id: &str, address: &str, options: &[(&str, &str)]) -> Outcome<String> {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let request = ipam::RequestAddressRequest {
            pool_id: pool_id.into(),
            address: address.into(),
            options: (!options.is_empty()).then_some(options),
        };
        let reply = self.ipam.request_address(&request, soon())?;
        Ok(reply.address)
    }

    fn next(&self, pool_id: &str) -> String {
        self.request(pool_id, "", &[]).unwrap()
    }

    fn of_endpoint(&self, pool_id: &str, name: &str) -> String {
        self.request(pool_id, "", &[(label::ENDPOINT_NAME, name)])
            .unwrap()
    }

    fn gateway(&self, pool_id: &str, address: &str) -> Outcome<String> {
        let options = [(label::REQUEST_ADDRESS_TYPE, label::GATEWAY)];
        self.request(pool_id, address, &options)
    }

    fn release(&self, pool_id: &str, address: &str) {
        let request = ipam::ReleaseAddressRequest {
            pool_id: pool_id.into(),
            address: address.split('/').next().unwrap().into(),
        };
        self.ipam.release_address(&request, soon()).unwrap();
    }

    /// The code of what a request for an address fails with.
    fn refused(&self, pool_id: &str, address: &str) -> (ErrorCode, String) {
        let error = self.request(pool_id, address, &[]).unwrap_err();
        let error = cause(&error);
        (error.code, error.msg.clone())
    }
}

#[test]
fn addresses_come_in_order_after_the_gateway() {
    let fixture = Fixture::new();
    let pool = fixture.pool("10.1.0.0/29");
    assert_eq!(pool, "LocalDefault/10.1.0.0/29");
    assert_eq!(fixture.gateway(&pool, "").unwrap(), "10.1.0.1/29");
    assert_eq!(fixture.next(&pool), "10.1.0.2/29");
    assert_eq!(fixture.next(&pool), "10.1.0.3/29");
    // One that is given back is not given again before the others.
    fixture.release(&pool, "10.1.0.2");
    assert_eq!(fixture.next(&pool), "10.1.0.4/29");
    assert_eq!(
        fixture.request(&pool, "10.1.0.6", &[]).unwrap(),
        "10.1.0.6/29"
    );
    assert_eq!(fixture.next(&pool), "10.1.0.5/29");
    assert_eq!(fixture.next(&pool), "10.1.0.2/29");
    let (code, words) = fixture.refused(&pool, "");
    assert_eq!(code, ErrorCode::POOL_EXHAUSTED);
    assert_eq!(
        words,
        "no available addresses on this network's address pool LocalDefault/10.1.0.0/29"
    );
}

#[test]
fn an_address_that_is_asked_for_must_be_a_free_hosts() {
    let fixture = Fixture::new();
    let pool = fixture.pool("10.1.0.0/24");
    assert_eq!(
        fixture.gateway(&pool, "10.1.0.254").unwrap(),
        "10.1.0.254/24"
    );
    for (address, code, words) in [
        (
            "10.1.0.254",
            ErrorCode::IN_USE,
            "address already in use: 10.1.0.254 of pool 10.1.0.0/24",
        ),
        (
            "10.1.0.0",
            ErrorCode::INVALID_CONFIG,
            "network or broadcast address",
        ),
        (
            "10.1.0.255",
            ErrorCode::INVALID_CONFIG,
            "network or broadcast address",
        ),
        ("10.1.1.1", ErrorCode::INVALID_CONFIG, "is out of range"),
        ("fd00::1", ErrorCode::INVALID_CONFIG, "is out of range"),
        ("10.1.0.7/24", ErrorCode::INVALID_CONFIG, "invalid address"),
    ] {
        let (got, text) = fixture.refused(&pool, address);
        assert_eq!(got, code, "{address}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(
        fixture.request(&pool, "::ffff:10.1.0.9", &[]).unwrap(),
        "10.1.0.9/24"
    );
}

#[test]
fn the_smallest_subnets_are_used_up() {
    for (pool, addresses) in [
        ("10.1.0.0/30", &["10.1.0.1/30", "10.1.0.2/30"][..]),
        ("10.1.0.0/31", &["10.1.0.0/31", "10.1.0.1/31"]),
        ("10.1.0.7/32", &["10.1.0.7/32"]),
        ("fd00::/126", &["fd00::1/126", "fd00::2/126", "fd00::3/126"]),
        ("fd00::/127", &["fd00::/127", "fd00::1/127"]),
        ("fd00::7/128", &["fd00::7/128"]),
    ] {
        let fixture = Fixture::new();
        let id = fixture.pool(pool);
        for address in addresses {
            assert_eq!(&fixture.next(&id), address);
        }
        assert_eq!(fixture.refused(&id, "").0, ErrorCode::POOL_EXHAUSTED);
        fixture.release(&id, addresses[0]);
        assert_eq!(fixture.next(&id), addresses[0]);
    }
}

#[test]
fn the_same_request_is_the_same_pool_counted() {
    let fixture = Fixture::new();
    let pool = fixture.pool("10.1.0.0/16");
    assert_eq!(fixture.pool("10.1.0.0/16"), pool);
    let part = fixture.try_pool("10.1.0.0/16", "10.1.5.0/24").unwrap();
    assert_eq!(part, "LocalDefault/10.1.0.0/16/10.1.5.0/24");
    // Both give from the same addresses, each from its own part.
    assert_eq!(
        fixture.request(&pool, "10.1.5.0", &[]).unwrap(),
        "10.1.5.0/16"
    );
    assert_eq!(fixture.gateway(&part, "").unwrap(), "10.1.5.1/16");
    assert_eq!(fixture.gateway(&part, "10.1.0.1").unwrap(), "10.1.0.1/16");
    assert_eq!(fixture.next(&part), "10.1.5.2/16");

    fixture.release_pool(&pool);
    assert_eq!(fixture.refused(&pool, "10.1.5.2").0, ErrorCode::IN_USE);
    fixture.release_pool(&pool);
    let (code, words) = fixture.refused(&pool, "");
    assert_eq!(code, ErrorCode::DRIVER);
    assert_eq!(words, "no such address pool: \"LocalDefault/10.1.0.0/16\"");
    // More often than it was requested: what others hold stays.
    fixture.release_pool(&pool);
    assert_eq!(fixture.next(&part), "10.1.5.3/16");
    let error = fixture.try_pool("10.1.9.0/24", "").unwrap_err();
    assert_eq!(cause(&error).code, ErrorCode::IN_USE);
    fixture.release_pool(&part);
    fixture.release_pool(&part);
    // The next pool begins anew.
    let narrow = fixture.pool("10.1.5.0/24");
    assert_eq!(fixture.next(&narrow), "10.1.5.1/24");
}

#[test]
fn default_pools_are_all_different() {
    let fixture = Fixture::new();
    assert_eq!(fixture.pool(""), "LocalDefault/172.18.0.0/16");
    assert_eq!(fixture.pool(""), "LocalDefault/172.19.0.0/16");
    fixture.release_pool("LocalDefault/172.18.0.0/16");
    assert_eq!(fixture.pool(""), "LocalDefault/172.18.0.0/16");
}

#[test]
fn releasing_what_is_not_there_is_success() {
    let fixture = Fixture::new();
    for pool in ["LocalDefault/10.1.0.0/16", "weave-10.1.0.0", ""] {
        fixture.release(pool, "10.1.0.5");
        fixture.release_pool(pool);
    }
    let pool = fixture.pool("10.1.0.0/16");
    fixture.release(&pool, "10.1.0.5");
    fixture.release(&pool, "10.9.0.5");
}

#[test]
fn addresses_are_found_by_their_owner() {
    let fixture = Fixture::new();
    let (v4, v6) = (fixture.pool("10.1.0.0/24"), fixture.pool("fd00::/64"));
    let gateway = [
        (label::REQUEST_ADDRESS_TYPE, label::GATEWAY),
        (label::ENDPOINT_NAME, "n1"),
    ];
    fixture.request(&v4, "", &gateway).unwrap();
    for name in ["e1", "e2"] {
        fixture.of_endpoint(&v4, name);
        fixture.of_endpoint(&v6, name);
    }
    let taken = |pool: &str, address: &str| fixture.refused(pool, address).0 == ErrorCode::IN_USE;
    for _twice in 0..2 {
        fixture.ipam.release_owned(&v4, "e1", soon()).unwrap();
    }
    // In that pool alone, and nobody else's.
    assert!(taken(&v4, "10.1.0.3") && taken(&v6, "fd00::1"));
    assert_eq!(
        fixture.request(&v4, "10.1.0.2", &[]).unwrap(),
        "10.1.0.2/24"
    );

    assert!(taken(&v4, "10.1.0.1") && taken(&v4, "10.1.0.2"));
    fixture.ipam.release_owned(&v4, "n1", soon()).unwrap();
    assert_eq!(fixture.gateway(&v4, "").unwrap(), "10.1.0.1/24");

    let bad = [(label::ENDPOINT_NAME, "a/b")];
    let bad = fixture.request(&v4, "", &bad).unwrap_err();
    assert!(cause(&bad).msg.contains("invalid endpoint name \"a/b\""));
    // A pool of another driver.
    fixture
        .ipam
        .release_owned("weave-10.1.0.0", "e1", soon())
        .unwrap();
}

/// A DEL that is killed right after the release makes it once more.
#[test]
fn a_second_release_takes_nothing_from_who_came_between() {
    let fixture = Fixture::new();
    let pool = fixture.pool("10.1.0.0/24");
    let release = |owner: &str| {
        let request = ipam::ReleaseAddressRequest {
            pool_id: pool.clone(),
            address: "10.1.0.1".to_owned(),
        };
        let released = fixture.ipam.release_address_of(owner, &request, soon());
        released.unwrap();
    };
    let requested = |owner: &str| {
        let labels = [(label::ENDPOINT_NAME, owner)];
        fixture.request(&pool, "10.1.0.1", &labels).is_ok()
    };
    assert!(requested("e1"));
    release("e1");
    assert!(requested("e2"));
    release("e1");
    assert!(!requested("e3"));
    release("e2");
    assert!(requested("e3"));
}

#[test]
fn pools_that_no_network_has_are_collected() {
    let fixture = Fixture::new();
    let kept = fixture.pool("10.1.0.0/16");
    let part = fixture.try_pool("10.1.0.0/16", "10.1.5.0/24").unwrap();
    let lost = fixture.pool("");
    fixture.next(&lost);
    let collect = |valid: Option<BTreeSet<String>>| {
        let ipam = &fixture.ipam;
        ipam.collect_pools(|| Ok(valid), soon()).unwrap();
    };
    collect(None);
    fixture.next(&lost);
    collect(Some(BTreeSet::from([kept.clone()])));
    assert_eq!(fixture.next(&kept), "10.1.0.1/16");
    for gone in [&part, &lost] {
        assert_eq!(fixture.refused(gone, "").0, ErrorCode::DRIVER);
    }
}

#[test]
fn files_are_for_root_alone_and_go_with_the_pool() {
    let fixture = Fixture::new();
    let dir = fixture.data.path().join("ipam");
    let pool = fixture.pool("10.1.0.0/16");
    fixture.next(&pool);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("LocalDefault_10.1.0.0_16.json")), 0o600);
    assert_eq!(mode(&dir.join("LocalDefault_10.1.0.0_16/10.1.0.1")), 0o600);
    fixture.release_pool(&pool);
    let left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn what_crashes_left_is_no_obstacle() {
    let fixture = Fixture::new();
    let dir = fixture.data.path().join("ipam");
    let addresses = dir.join("LocalDefault_10.1.0.0_30");
    // A pool whose release got as far as its record.
    fs::create_dir_all(&addresses).unwrap();
    fs::write(addresses.join("10.1.0.1"), "e9\r\nendpoint").unwrap();
    fs::write(dir.join(".LocalDefault_10.1.0.0_30.json.new"), "{").unwrap();
    let pool = fixture.pool("10.1.0.0/30");
    assert_eq!(fixture.next(&pool), "10.1.0.1/30");
    // A lease without content, left by a power loss.
    fs::write(addresses.join("10.1.0.2"), "").unwrap();
    assert_eq!(fixture.next(&pool), "10.1.0.2/30");
    // Its addresses, lost altogether.
    fs::remove_dir_all(&addresses).unwrap();
    assert_eq!(fixture.next(&pool), "10.1.0.1/30");
}

#[test]
fn a_lock_that_is_held_ends_in_an_error_that_names_the_holder() {
    let fixture = Fixture::new();
    let pool = fixture.pool("10.1.0.0/24");
    fixture.next(&pool);
    let path = fixture
        .data
        .path()
        .join("ipam/LocalDefault_10.1.0.0_24/lock");
    let _held = lock_file(&path, soon()).unwrap();
    let request = ipam::RequestAddressRequest {
        pool_id: pool,
        ..ipam::RequestAddressRequest::default()
    };
    let now = Instant::now() + Duration::from_millis(20);
    let error = fixture.ipam.request_address(&request, now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IPAM driver default failed in IpamDriver.RequestAddress"
    );
    assert_eq!(cause(&error).code, ErrorCode::TRY_AGAIN);
    let pid = format!("is held by process {} ", std::process::id());
    assert!(error.source().unwrap().to_string().contains(&pid));
}

#[test]
fn many_at_once_get_different_addresses() {
    let fixture = Fixture::new();
    let pools = [fixture.pool("10.1.0.0/24"), fixture.pool("10.2.0.0/24")];
    let (fixture, pools) = (&fixture, &pools);
    let mut all: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                scope.spawn(move || {
                    let pool = &pools[worker % 2];
                    (0..25).map(|_| fixture.next(pool)).collect::<Vec<_>>()
                })
            })
            .collect();
        let got = workers.into_iter().map(|worker| worker.join().unwrap());
        got.flatten().collect()
    });
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200);
}

/// What happens to a pool.
#[derive(Debug, Clone)]
enum Step {
    Next,
    Gateway,
    Wanted(u8),
    Release(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Next),
        1 => Just(Step::Gateway),
        2 => (0..16_u8).prop_map(Step::Wanted),
        3 => (0..16_u8).prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The pool as a set of the last octets that are given, and the last one that was in turn.
#[derive(Debug, Default)]
struct Model {
    given: BTreeSet<u8>,
    last: u8,
}

impl Model {
    const HOSTS: std::ops::RangeInclusive<u8> = 1..=14;

    fn find(&self, from: u8) -> Option<u8> {
        let upper = from..=*Self::HOSTS.end();
        let lower = *Self::HOSTS.start()..from;
        upper.chain(lower).find(|host| !self.given.contains(host))
    }

    fn give(&mut self, host: Option<u8>) -> Option<u8> {
        host.filter(|host| Self::HOSTS.contains(host) && self.given.insert(*host))
    }

    fn step(&mut self, step: &Step) -> Option<u8> {
        match step {
            Step::Next => {
                let next = if self.last >= *Self::HOSTS.end() {
                    1
                } else {
                    self.last + 1
                };
                let given = self.give(self.find(next));
                self.last = given.unwrap_or(self.last);
                given
            }
            Step::Gateway => self.give(self.find(1)),
            Step::Wanted(host) => self.give(Some(*host)),
            Step::Release(host) => {
                self.given.remove(host);
                None
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_what_a_set_does(steps in steps()) {
        let fixture = Fixture::new();
        let pool = fixture.pool("10.1.0.0/28");
        let mut model = Model::default();
        for step in &steps {
            let got = match step {
                Step::Next => fixture.request(&pool, "", &[]).ok(),
                Step::Gateway => fixture.gateway(&pool, "").ok(),
                Step::Wanted(host) => fixture.request(&pool, &format!("10.1.0.{host}"), &[]).ok(),
                Step::Release(host) => {
                    fixture.release(&pool, &format!("10.1.0.{host}"));
                    None
                }
            };
            let expected = model.step(step).map(|host| format!("10.1.0.{host}/28"));
            prop_assert_eq!(got, expected, "{:?} of {:?}", step, steps);
        }
    }
}
