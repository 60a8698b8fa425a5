use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::lease::Lease;
use crate::memory::MemoryStore;
use crate::range::RangeSpec;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(subnet: &str) -> RangeSpec {
    RangeSpec {
        subnet: subnet.parse().unwrap(),
        start: None,
        end: None,
        gateway: None,
    }
}

fn sets(subnets: &[&str]) -> Vec<RangeSet> {
    subnets
        .iter()
        .map(|subnet| RangeSet::new(&[spec(subnet)]).unwrap())
        .collect()
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        network: "net".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn lease(at: &str, container: &str, ifname: Option<&str>) -> Lease {
    Lease {
        addr: addr(at),
        container_id: container.to_owned(),
        ifname: ifname.map(str::to_owned),
    }
}

fn given(grants: &[Grant]) -> Vec<String> {
    grants
        .iter()
        .map(|grant| grant.address.to_string())
        .collect()
}

fn refusal(result: Result<Vec<Grant>, AllocateFailure>) -> String {
    let failure = result.unwrap_err();
    assert!(failure.left.is_empty(), "{:?}", failure.left);
    failure.error.to_string()
}

#[test]
fn one_address_from_each_set_with_prefix_and_gateway() {
    let mut store = MemoryStore::new();
    let sets = sets(&["10.0.0.0/24", "fd00::/64"]);
    let grants = allocate(&mut store, &sets, &[], &attachment("a")).unwrap();
    assert_eq!(given(&grants), ["10.0.0.2/24", "fd00::2/64"]);
    assert_eq!(grants[1].gateway, addr("fd00::1"));
    assert_eq!(store.leases().count(), 2);
}

#[test]
fn round_robin_goes_on_after_the_last_reserved_and_skips_what_is_taken() {
    // The reference's table: subnet /29, so .2 to .6 after the gateway.
    for (taken, last, want) in [
        (&[][..], None, "10.0.0.2/29"),
        (&["10.0.0.2"], Some("10.0.0.2"), "10.0.0.3/29"),
        (&["10.0.0.2", "10.0.0.3"], Some("10.0.0.2"), "10.0.0.4/29"),
        (&[], Some("10.0.0.6"), "10.0.0.2/29"),
        (
            &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.6"],
            Some("10.0.0.5"),
            "10.0.0.5/29",
        ),
        (&["10.0.0.2"], Some("10.9.9.9"), "10.0.0.3/29"),
    ] {
        let mut store = MemoryStore::with(taken.iter().map(|at| lease(at, "x", Some("eth0"))));
        if let Some(last) = last {
            store.set_last_reserved(0, addr(last));
        }
        // The survey and one reservation: what is taken is not even tried.
        store.fail_after(Some(2));
        let sets = sets(&["10.0.0.0/29"]);
        let grants = allocate(&mut store, &sets, &[], &attachment("a")).unwrap();
        assert_eq!(given(&grants), [want], "{taken:?} {last:?}");
    }
}

#[test]
fn a_full_set_is_told_in_the_references_words() {
    let mut store =
        MemoryStore::with(["10.0.0.2", "10.0.1.2"].map(|at| lease(at, "x", Some("eth0"))));
    let pool = RangeSet::new(&[spec("10.0.0.0/30"), spec("10.0.1.0/30")]).unwrap();
    let text = refusal(allocate(&mut store, &[pool], &[], &attachment("a")));
    assert_eq!(
        text,
        "failed to allocate for range 0: no IP addresses available in range set: \
         10.0.0.1-10.0.0.2,10.0.1.1-10.0.1.2"
    );
}

#[test]
fn a_second_add_is_refused_and_takes_nothing_away() {
    for held in [
        lease("10.0.0.9", "a", Some("eth0")),
        lease("10.0.0.9", "a", None),
    ] {
        let mut store = MemoryStore::with([held, lease("fd00::9", "a", Some("eth0"))]);
        let sets = sets(&["10.9.0.0/24", "10.0.0.0/24"]);
        let text = refusal(allocate(&mut store, &sets, &[], &attachment("a")));
        assert_eq!(
            text,
            "failed to allocate for range 1: 10.0.0.9 has been allocated to a, duplicate \
             allocation is not allowed"
        );
        // The address of set 0 went back; the leases it had before stay, in any set.
        let left: Vec<_> = store.leases().map(|lease| lease.addr).collect();
        assert_eq!(left, [addr("10.0.0.9"), addr("fd00::9")]);
    }
}

#[test]
fn another_interface_is_another_attachment() {
    let mut store = MemoryStore::with([lease("10.0.0.2", "a", Some("eth1"))]);
    let sets = sets(&["10.0.0.0/24"]);
    let grants = allocate(&mut store, &sets, &[], &attachment("a")).unwrap();
    assert_eq!(given(&grants), ["10.0.0.3/24"]);
}

#[test]
fn requested_addresses_go_to_the_sets_that_hold_them() {
    let mut store = MemoryStore::new();
    let sets = sets(&["10.0.0.0/24", "10.1.0.0/24", "fd00::/64"]);
    let requested = ["fd00::77", "::ffff:10.0.0.55", "10.0.0.55"].map(addr);
    let grants = allocate(&mut store, &sets, &requested, &attachment("a")).unwrap();
    assert_eq!(
        given(&grants),
        ["10.0.0.55/24", "10.1.0.2/24", "fd00::77/64"]
    );
}

#[test]
fn requests_that_cannot_be_met_reserve_nothing() {
    for (requested, text) in [
        (
            &["10.9.0.1"][..],
            "failed to allocate all requested IPs: 10.9.0.1",
        ),
        (
            &["10.0.0.5", "10.0.0.6", "fd00::1", "10.0.0.6"],
            "failed to allocate all requested IPs: 10.0.0.6 fd00::1",
        ),
        (
            &["10.0.0.1"],
            "failed to allocate for range 0: requested ip 10.0.0.1 is subnet's gateway",
        ),
        (
            &["10.0.0.7"],
            "failed to allocate for range 0: requested IP address 10.0.0.7 is not available in \
             range set 10.0.0.1-10.0.0.254",
        ),
    ] {
        let mut store = MemoryStore::with([lease("10.0.0.7", "x", Some("eth0"))]);
        let requested: Vec<IpAddr> = requested.iter().map(|text| addr(text)).collect();
        let sets = sets(&["10.0.0.0/24"]);
        assert_eq!(
            refusal(allocate(&mut store, &sets, &requested, &attachment("a"))),
            text
        );
        assert_eq!(store.leases().count(), 1);
    }
}

#[test]
fn whichever_call_fails_nothing_stays_reserved_or_it_is_told() {
    let sets = sets(&["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24"]);
    // survey, then one reserve for each set.
    for calls in 0..4 {
        let mut store = MemoryStore::new();
        store.fail_after(Some(calls));
        let failure = allocate(&mut store, &sets, &[], &attachment("a")).unwrap_err();
        // From then on the store fails for good, so that what was reserved cannot be taken back.
        assert_eq!(failure.left.len(), calls.saturating_sub(1));
        assert_eq!(store.leases().count(), failure.left.len());
    }
    let mut store = MemoryStore::new();
    store.fail_after(Some(4));
    assert!(allocate(&mut store, &sets, &[], &attachment("a")).is_ok());
}

/// One command of a random sequence.
#[derive(Debug, Clone)]
enum Step {
    Add { container: u8, request: Option<u8> },
    Del { container: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (any::<u8>(), proptest::option::weighted(0.3, any::<u8>()))
        .prop_map(|(container, request)| Step::Add { container, request });
    let del = any::<u8>().prop_map(|container| Step::Del { container });
    proptest::collection::vec(prop_oneof![2 => add, 1 => del], 0..120)
}

/// A small range somewhere, also at the edges of both families.
fn small_range() -> impl Strategy<Value = RangeSpec> {
    let base = prop_oneof![
        Just("10.0.0.0"),
        Just("0.0.0.0"),
        Just("255.255.255.0"),
        Just("::"),
        Just("fd00::"),
        Just("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"),
    ];
    let bound = || proptest::option::of(any::<u8>());
    (base, 0_u8..7, bound(), bound(), bound()).prop_map(|(base, host_bits, start, end, gateway)| {
        let base = addr(base);
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let inside = |offset: u8| {
            let mut at = base;
            for _ in 0..offset & ((1 << host_bits) - 1) {
                at = crate::successor(at).unwrap();
            }
            at
        };
        RangeSpec {
            subnet: IpCidr::new(base, bits - host_bits).unwrap(),
            start: start.map(inside),
            end: end.map(inside),
            gateway: gateway.map(inside),
        }
    })
}

/// What may be handed out, counted one by one from the definition.
fn usable(range: &Range) -> BTreeSet<IpAddr> {
    let mut usable = BTreeSet::new();
    let mut at = Some(range.start());
    while let Some(addr) = at {
        if addr != range.gateway() {
            usable.insert(addr);
        }
        at = crate::successor(addr).filter(|_| addr != range.end());
    }
    usable
}

proptest! {
    #[test]
    fn ranges_hold_what_they_say(spec in small_range()) {
        if let Ok(range) = Range::new(&spec) {
            let subnet = range.subnet();
            prop_assert!(range.start() <= range.end());
            prop_assert!(subnet.contains(range.start()) && subnet.contains(range.end()));
            let wide = subnet.prefix() + 1 < subnet.bits();
            if wide && spec.start.is_none() {
                prop_assert_ne!(range.start(), subnet.network());
            }
            if wide && !subnet.is_ipv6() && spec.end.is_none() {
                prop_assert_ne!(range.end(), subnet.broadcast());
            }
            let set = RangeSet::new(&[spec]).unwrap();
            let model = usable(&range);
            prop_assert_eq!(set.capacity(), model.len() as u128);
            for last in model.iter().map(|addr| Some(*addr)).chain([None, Some(range.gateway())]) {
                let walked: Vec<IpAddr> = set.candidates(last).map(|(addr, _)| addr).collect();
                prop_assert_eq!(walked.len(), model.len());
                prop_assert_eq!(walked.iter().copied().collect::<BTreeSet<_>>(), model.clone());
                if let Some(last) = last.filter(|last| model.contains(last)) {
                    prop_assert_eq!(walked.last(), Some(&last));
                }
            }
        }
    }

    #[test]
    fn the_allocator_agrees_with_a_set_of_free_addresses(spec in small_range(), steps in steps()) {
        let Ok(range) = Range::new(&spec) else { return Ok(()) };
        let sets = [RangeSet::new(&[spec]).unwrap()];
        let mut free = usable(&range);
        let mut held: BTreeMap<u8, Vec<IpAddr>> = BTreeMap::new();
        let mut store = MemoryStore::new();
        for step in steps {
            match step {
                Step::Add { container, request } => {
                    let request = request.and_then(|n| usable(&range).into_iter().nth(n.into()));
                    let requested: Vec<IpAddr> = request.into_iter().collect();
                    let owner = attachment(&format!("c{container}"));
                    let before = store.last_reserved(0);
                    let result = allocate(&mut store, &sets, &requested, &owner);
                    let duplicate = request.is_none() && held.contains_key(&container);
                    let possible = request.map_or(!free.is_empty(), |addr| free.contains(&addr));
                    prop_assert_eq!(result.is_ok(), possible && !duplicate);
                    if let Ok(grants) = result {
                        let got = grants[0].address.addr();
                        prop_assert!(free.remove(&got));
                        if request.is_none() {
                            let next = before.and_then(|last| {
                                free.iter().copied().find(|addr| *addr > last && got != *addr)
                            });
                            // Nothing free lies between the last address and the one given.
                            if let (Some(last), Some(next)) = (before, next) {
                                prop_assert!(got < next || got <= last);
                                prop_assert!(got > last);
                            }
                        }
                        held.entry(container).or_default().push(got);
                    }
                }
                Step::Del { container } => {
                    let owner = attachment(&format!("c{container}"));
                    let survey = store.survey(&owner).unwrap();
                    for addr in survey.to_release() {
                        store.release(*addr).unwrap();
                    }
                    let expected = held.remove(&container).unwrap_or_default();
                    prop_assert_eq!(
                        survey.to_release().iter().copied().collect::<BTreeSet<_>>(),
                        expected.iter().copied().collect::<BTreeSet<_>>()
                    );
                    free.extend(expected);
                }
            }
            prop_assert_eq!(store.leases().count() + free.len(), usable(&range).len());
        }
    }
}
