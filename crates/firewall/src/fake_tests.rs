//! Whole lives of attachments against the ruleset in memory: what is refused, and when, is the
//! test's choice, which it is not with a kernel.

use cni_types::{Attachment, IpCidr};
use nix::errno::Errno;

use crate::nft::fake::{Fake, State};
use crate::nft::{Change, Family, Table, Transaction};
use crate::portmap::{Mapping, Protocol, Publication};
use crate::spoofcheck::Binding;
use crate::{FirewallError, Missing, Nft, masquerade, portmap, spoofcheck};

const FOREIGN: Table = Table {
    family: Family::Inet,
    name: "somebodys",
};

/// What the plugins do for the container with this number, in a /24 with all others.
struct Work {
    attachment: Attachment,
    addresses: Vec<IpCidr>,
    publication: Publication,
    binding: Binding,
}

/// One of the three registries.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Masquerade,
    Ports,
    Spoofing,
}

const PARTS: [Part; 3] = [Part::Masquerade, Part::Ports, Part::Spoofing];

impl Work {
    fn new(number: u16) -> Self {
        let addresses: Vec<IpCidr> = vec![
            format!("10.1.0.{number}/24").parse().unwrap(),
            format!("fd00:1::{number}/64").parse().unwrap(),
        ];
        let mapping = Mapping {
            host_ip: None,
            host_port: (8000 + number).try_into().unwrap(),
            container_port: 80.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        Self {
            attachment: Attachment {
                network: "net".parse().unwrap(),
                container_id: format!("c{number}").parse().unwrap(),
                ifname: "eth0".parse().unwrap(),
            },
            publication: Publication::new(addresses.clone(), vec![mapping]),
            addresses,
            binding: Binding {
                host_ifname: format!("veth{number}").parse().unwrap(),
                mac: format!("02:00:00:00:00:{number:02x}").parse().unwrap(),
            },
        }
    }

    fn add(&self, part: Part, nft: &mut Nft) -> Result<(), FirewallError> {
        match part {
            Part::Masquerade => masquerade::add(nft, &self.attachment, &self.addresses),
            Part::Ports => portmap::add(nft, &self.attachment, &self.publication),
            Part::Spoofing => spoofcheck::add(nft, &self.attachment, &self.binding),
        }
    }

    fn check(&self, part: Part, nft: &mut Nft) -> Vec<Missing> {
        let missing = match part {
            Part::Masquerade => masquerade::check(nft, &self.attachment, &self.addresses),
            Part::Ports => portmap::check(nft, &self.attachment, &self.publication),
            Part::Spoofing => spoofcheck::check(nft, &self.attachment, &self.binding),
        };
        missing.unwrap()
    }

    /// As DEL does it, with or without knowing what ADD had.
    fn remove(&self, part: Part, knowing: bool, nft: &mut Nft) -> Result<(), FirewallError> {
        match part {
            Part::Masquerade => {
                let known = knowing.then_some(self.addresses.as_slice());
                masquerade::remove(nft, &self.attachment, known)
            }
            Part::Ports => portmap::remove(nft, &self.attachment).map(drop),
            Part::Spoofing => {
                let known = knowing.then_some(&self.binding);
                spoofcheck::remove(nft, &self.attachment, known)
            }
        }
    }

    /// GC of the network where only these are valid.
    fn gc(&self, part: Part, valid: &[Attachment], nft: &mut Nft) -> Result<(), FirewallError> {
        let network = &self.attachment.network;
        match part {
            Part::Masquerade => masquerade::gc(nft, network, valid).map(drop),
            Part::Ports => portmap::gc(nft, network, valid).map(drop),
            Part::Spoofing => spoofcheck::gc(nft, network, valid).map(drop),
        }
    }
}

/// A ruleset in which somebody else has a table.
fn machine() -> (Fake, Nft) {
    let fake = Fake::default();
    let mut nft = Nft::faked(&fake);
    let foreign = Transaction {
        generation: None,
        changes: vec![
            Change::AddTable(FOREIGN),
            Change::AddChain {
                table: FOREIGN,
                chain: "theirs",
                hook: None,
            },
        ],
    };
    nft.commit(&foreign).unwrap();
    (fake, nft)
}

/// What the part looks like with these attachments and no history.
fn fresh(part: Part, works: &[&Work]) -> State {
    let (fake, mut nft) = machine();
    for work in works {
        work.add(part, &mut nft).unwrap();
    }
    fake.state()
}

/// What stays of a part that nobody uses: nothing but what was there; for spoofing, also its table.
fn unused(part: Part) -> State {
    let (fake, mut nft) = machine();
    let before = fake.state();
    let work = Work::new(9);
    work.add(part, &mut nft).unwrap();
    work.remove(part, true, &mut nft).unwrap();
    if part != Part::Spoofing {
        assert_eq!(fake.state(), before, "{part:?}");
    }
    fake.state()
}

#[test]
fn what_is_added_is_found_and_what_is_removed_leaves_nothing() {
    let (one, two) = (Work::new(1), Work::new(2));
    for part in PARTS {
        for knowing in [true, false] {
            let (fake, mut nft) = machine();
            one.add(part, &mut nft).unwrap();
            let alone = fake.state();
            assert_eq!(one.check(part, &mut nft), [], "{part:?}");
            assert_ne!(two.check(part, &mut nft), [], "{part:?}");
            two.add(part, &mut nft).unwrap();
            let both = fake.state();
            two.add(part, &mut nft).unwrap();
            assert_eq!(fake.state(), both, "{part:?}: twice is once");
            two.remove(part, knowing, &mut nft).unwrap();
            assert_eq!(fake.state(), alone, "{part:?}");
            two.remove(part, knowing, &mut nft).unwrap();
            assert_eq!(fake.state(), alone, "{part:?}: twice is once");
            one.remove(part, knowing, &mut nft).unwrap();
            assert_eq!(fake.state(), unused(part), "{part:?}");
        }
    }
}

#[test]
fn gc_leaves_what_is_valid() {
    let works = [Work::new(1), Work::new(2), Work::new(3)];
    let [one, two, three] = &works;
    for part in PARTS {
        let (fake, mut nft) = machine();
        for work in [two, one, three] {
            work.add(part, &mut nft).unwrap();
        }
        let valid = std::slice::from_ref(&two.attachment);
        one.gc(part, valid, &mut nft).unwrap();
        assert_eq!(fake.state(), fresh(part, &[two]), "{part:?}");
        assert_eq!(two.check(part, &mut nft), [], "{part:?}");
        one.gc(part, &[], &mut nft).unwrap();
        assert_eq!(fake.state(), unused(part), "{part:?}");
    }
}

/// An operation whose transaction the kernel refuses fails, all is as before, and the next try
/// succeeds.
#[test]
fn a_refusal_changes_nothing() {
    let (one, two) = (Work::new(1), Work::new(2));
    for part in PARTS {
        for errno in [Errno::ENOMEM, Errno::EPERM, Errno::EOPNOTSUPP] {
            let (fake, mut nft) = machine();
            for work in [&one, &two] {
                let before = fake.state();
                let commits = fake.commits();
                fake.refuse(errno);
                work.add(part, &mut nft).expect_err("the kernel refused");
                assert_eq!(fake.state(), before, "{part:?}");
                assert_eq!(fake.commits(), commits, "{part:?}");
                work.add(part, &mut nft).unwrap();
                assert_eq!(fake.commits(), commits + 1, "{part:?}: one transaction");
            }
            assert_eq!(fake.state(), fresh(part, &[&one, &two]), "{part:?}");
            let before = fake.state();
            fake.refuse(Errno::ENOMEM);
            two.remove(part, true, &mut nft)
                .expect_err("the kernel refused");
            assert_eq!(fake.state(), before, "{part:?}");
            two.remove(part, true, &mut nft).unwrap();
            assert_eq!(fake.state(), fresh(part, &[&one]), "{part:?}");
        }
    }
}

/// Somebody else changes the ruleset between the look at it and the transaction.
#[test]
fn who_is_overtaken_looks_again() {
    let (one, two) = (Work::new(1), Work::new(2));
    for part in PARTS {
        let (fake, mut nft) = machine();
        for work in [&one, &two] {
            fake.overtake();
            work.add(part, &mut nft).unwrap();
        }
        assert_eq!(fake.state(), fresh(part, &[&one, &two]), "{part:?}");
        fake.overtake();
        two.remove(part, true, &mut nft).unwrap();
        assert_eq!(fake.state(), fresh(part, &[&one]), "{part:?}");
        fake.overtake();
        one.gc(part, &[], &mut nft).unwrap();
        assert_eq!(fake.state(), unused(part), "{part:?}");
    }
}
