use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::census::Image;
use super::*;

fn key(owner: u16) -> Key {
    Key::of(format!("c{owner}\r\neth0").as_bytes())
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn census(leases: impl IntoIterator<Item = (IpAddr, Key)>) -> Census {
    let mut census = Census::new(true);
    for (addr, key) in leases {
        census.count(addr, Counted::Lease(Some(key)));
    }
    census
}

fn v4(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits((10 << 24) + number).into()
}

/// The index says what the leases say, about all of their owners and all of their blocks.
fn assert_says(index: &mut Index<Image>, model: &BTreeSet<(IpAddr, Key)>) {
    let mut owners = BTreeMap::<Key, Vec<IpAddr>>::new();
    let mut blocks = BTreeMap::<Block, Bitmap>::new();
    for (at, key) in model {
        owners.entry(*key).or_default().push(*at);
        let (block, offset) = Block::of(*at);
        blocks.entry(block).or_default().set(offset, true);
    }
    for (key, addresses) in owners {
        let mut held = index.held(key).unwrap();
        held.sort_unstable();
        assert_eq!(held, addresses);
    }
    for (block, taken) in blocks {
        assert_eq!(index.taken(block), Ok(taken));
    }
    assert_eq!(index.header().leases(), model.len() as u64);
}

#[test]
fn an_empty_index_knows_of_nothing() {
    let mut index = census([]).build().unwrap();
    assert_says(&mut index, &BTreeSet::new());
    assert_eq!(index.held(key(1)), Ok(vec![]));
    assert_eq!(index.taken(Block::of(v4(1)).0), Ok(Bitmap::default()));
    assert_eq!(index.remove(v4(1), key(1)), Err(Unusable));
}

#[test]
fn what_contradicts_the_index_is_told() {
    let build = || census([(v4(2), key(1))]).build().unwrap();
    assert_eq!(build().add(v4(2), key(2)), Err(Unusable));
    assert_eq!(build().remove(v4(3), key(1)), Err(Unusable));
    assert_eq!(build().remove(v4(2), key(2)), Err(Unusable));
    assert_eq!(build().expect_taken(v4(3)), Err(Unusable));
    assert_eq!(build().expect_taken(v4(2)), Ok(()));
}

/// A page has room for 170 leases with one text; the others go to pages that are not their own.
#[test]
fn many_leases_of_one_owner_are_found_and_removed() {
    let all: BTreeSet<_> = (0..500).map(|n| (v4(n * 3), key(7))).collect();
    let mut index = census(all.iter().copied().chain([(v4(1), key(8))]))
        .build()
        .unwrap();
    assert_eq!(index.held(key(7)).unwrap().len(), 500);
    for (at, key) in &all {
        index.remove(*at, *key).unwrap();
    }
    assert_eq!(index.held(key(7)), Ok(vec![]));
    assert_says(&mut index, &BTreeSet::from([(v4(1), key(8))]));
}

#[test]
fn a_full_slash_16_is_a_few_pages() {
    let all = (0..65_536).map(|n| (v4(n), Key::of_number(n.into())));
    let mut index = census(all).build().unwrap();
    assert!(index.pages().as_slice().len() < 700);
    for block in 0..256 {
        let taken = index.taken(Block::of(v4(block << 8)).0).unwrap();
        assert_eq!(taken.first_free(0, 255), None);
    }
    assert_eq!(index.held(Key::of_number(4711)), Ok(vec![v4(4711)]));
}

#[test]
fn an_index_that_grows_says_in_time_that_it_is_full() {
    let mut index = census((0..100).map(|n| (v4(n), key(1)))).build().unwrap();
    let full = (100_u16..1000).find(|n| index.add(v4((*n).into()), key(*n)).is_err());
    // One page of holders, nine tenths full.
    assert_eq!(full, Some(153));
}

#[test]
fn a_header_is_believed_of_its_own_directory_in_its_own_state() {
    let index = census([(v4(2), key(1))]).build().unwrap();
    let identity = Identity {
        dev: 1,
        ino: 2,
        boot: 3,
    };
    let stamp = Stamp {
        mtime: (-3, 4),
        ctime: (5, 6),
    };
    let page = index.header().to_page(identity, stamp);
    let read = |page: &Page| Header::from_page(page, identity, stamp);
    assert_eq!(read(&page).as_ref(), Some(index.header()));
    for (dev, ino, boot) in [(2, 2, 3), (1, 1, 3), (1, 2, 0)] {
        let other = Identity { dev, ino, boot };
        assert_eq!(Header::from_page(&page, other, stamp), None);
    }
    for (mtime, ctime) in [((-3, 5), (5, 6)), ((-3, 4), (5, 7)), ((-2, 4), (5, 6))] {
        assert_eq!(
            Header::from_page(&page, identity, Stamp { mtime, ctime }),
            None
        );
    }
    assert_eq!(read(&[0; PAGE]), None);
    // Whichever byte is another, it is no header.
    for at in 0..120 {
        let mut broken = page;
        broken[at] ^= 0x40;
        assert_eq!(read(&broken), None, "byte {at}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { at: u32, owner: u16 },
    Remove { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0_u32..100_000, 0_u16..40).prop_map(|(at, owner)| Step::Add { at, owner });
    let remove = any::<usize>().prop_map(|which| Step::Remove { which });
    proptest::collection::vec(prop_oneof![3 => add, 1 => remove], 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_index_agrees_with_a_set_of_leases(steps in steps(), is_v6 in any::<bool>()) {
        let place = |at: u32| if is_v6 {
            // Far apart: a block for each.
            addr_of(0xfd << 120 | u128::from(at) << 50)
        } else {
            v4(at)
        };
        let mut model: BTreeSet<(IpAddr, Key)> = BTreeSet::new();
        let mut index = census([]).build().unwrap();
        for step in steps {
            let told = match step {
                Step::Add { at, owner } => {
                    let at = place(at);
                    if model.iter().any(|(known, _)| *known == at) {
                        continue;
                    }
                    model.insert((at, key(owner)));
                    index.add(at, key(owner))
                }
                Step::Remove { which } => {
                    let count = model.len().max(1);
                    let Some(gone) = model.iter().nth(which % count).copied() else { continue };
                    model.remove(&gone);
                    index.remove(gone.0, gone.1)
                }
            };
            // Full: a new one is made, with more pages.
            if told.is_err() {
                index = census(model.iter().copied()).build().unwrap();
            }
        }
        assert_says(&mut index, &model);
    }
}

#[test]
fn addresses_at_the_edges_are_addresses() {
    let edges = [
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "ffff:ffff:ffff:ffff::",
    ];
    let all: BTreeSet<_> = edges.into_iter().map(addr).zip((0..).map(key)).collect();
    let mut index = census(all.iter().copied()).build().unwrap();
    assert_says(&mut index, &all);
    for (at, key) in &all {
        index.remove(*at, *key).unwrap();
    }
    assert_says(&mut index, &BTreeSet::new());
}
