//! What is remembered of networks and endpoints.
//!
//! Each record says what it *owes*: which calls have to be made to take the thing away again. A debt
//! is written down before the call that makes it, and struck out after the one that pays it, so
//! that whoever finds a record, after a crash at whatever point, knows what is left to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cni_types::Attachment;
use serde::{Deserialize, Serialize};

use crate::ids::{EndpointId, NetworkId};
use crate::wire::network::{CreateNetworkRequest, JoinReply};

/// How to find a driver again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriverRef {
    /// Its name.
    pub name: String,
    /// Its address, where the name does not lead to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl DriverRef {
    /// A driver that its name leads to.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: None,
        }
    }
}

/// Something to be done before a network or an endpoint is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// What.
    #[serde(flatten)]
    pub due: Due,
    /// Whether the call that made it has succeeded. Otherwise it may never have been executed, and a
    /// driver that refuses the payment is right.
    #[serde(default)]
    pub certain: bool,
    /// Why it could not be paid so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a debt is paid with, in the order of payment: of an endpoint first, then of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "due", rename_all = "camelCase")]
pub enum Due {
    /// `RevokeExternalConnectivity`
    Revoke,
    /// `Leave`
    Leave,
    /// The link goes back to the host's namespace.
    Link,
    /// `DeleteEndpoint`
    Endpoint,
    /// The path that the driver was told goes, with the last of the container's endpoints.
    Key,
    /// `ReleaseAddress`
    Address {
        /// Of which pool.
        pool: String,
        /// The address, without a prefix length; empty while the request for it is under way, and
        /// if it was never answered: then only the driver may know which one.
        address: String,
    },
    /// `ReleasePool`
    Pool {
        /// Which pool; empty while the request for it is under way, and if it was never answered.
        pool: String,
    },
    /// `DeleteNetwork`
    Network,
}

/// Debts, sorted by the order of payment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debts(Vec<Debt>);

impl Debts {
    /// Takes a debt on, before the call that makes it.
    pub fn incur(&mut self, due: Due) {
        self.settle(&due);
        self.0.push(Debt {
            due,
            certain: false,
            failed: None,
        });
        let pools = self.pools();
        self.0.sort_by_key(|debt| rank(&debt.due, &pools));
    }

    /// The pools, in the order in which they were requested.
    fn pools(&self) -> Vec<String> {
        let mut pools: Vec<String> = Vec::new();
        for debt in &self.0 {
            if let Due::Address { pool, .. } | Due::Pool { pool } = &debt.due
                && !pools.contains(pool)
            {
                pools.push(pool.clone());
            }
        }
        pools
    }

    /// The call that makes it has succeeded.
    pub fn confirm(&mut self, due: &Due) {
        for debt in self.0.iter_mut().filter(|debt| debt.due == *due) {
            debt.certain = true;
        }
    }

    /// It is paid, or there never was one.
    pub fn settle(&mut self, due: &Due) {
        self.0.retain(|debt| debt.due != *due);
    }

    /// It could not be paid.
    pub fn fail(&mut self, due: &Due, why: &str) {
        for debt in self.0.iter_mut().filter(|debt| debt.due == *due) {
            debt.failed = Some(why.to_owned());
        }
    }

    /// What is owed, in the order of payment.
    pub fn iter(&self) -> impl Iterator<Item = &Debt> {
        self.0.iter()
    }

    /// Whether this is owed.
    #[must_use]
    pub fn has(&self, due: &Due) -> bool {
        self.0.iter().any(|debt| debt.due == *due)
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A pool goes after its addresses and before the next pool, the network itself last.
fn rank(due: &Due, pools: &[String]) -> (u8, usize, u8) {
    let place = |pool: &String| pools.iter().position(|known| known == pool).unwrap_or(0);
    match due {
        Due::Revoke => (0, 0, 0),
        Due::Leave => (1, 0, 0),
        Due::Link => (2, 0, 0),
        Due::Endpoint => (3, 0, 0),
        Due::Key => (3, 0, 1),
        Due::Address { pool, .. } => (4, place(pool), 0),
        Due::Pool { pool } => (4, place(pool), 1),
        Due::Network => (5, 0, 0),
    }
}

/// A pool that a network has its addresses from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PoolRecord {
    /// What the IPAM driver calls it.
    pub id: String,
    /// Whether it is one of IPv6 addresses.
    pub ipv6: bool,
    /// The subnet as the driver told it.
    pub subnet: String,
    /// Whether the subnet was asked for, not chosen by the driver.
    pub chosen_by_user: bool,
    /// The gateway's address with its prefix length; empty if there is none.
    pub gateway: String,
    /// Reserved addresses by name.
    pub aux: BTreeMap<String, String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRecord {
    /// Which.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Who makes it.
    pub driver: DriverRef,
    /// Who gives its addresses; none where endpoints come with theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<DriverRef>,
    /// The driver's scope: `local` or `global`.
    pub scope: String,
    /// A digest of the configuration that it was made from.
    pub made_from: String,
    /// What its driver was asked for.
    pub request: CreateNetworkRequest,
    /// Where its addresses come from, IPv4 first.
    #[serde(default)]
    pub pools: Vec<PoolRecord>,
    /// Whether it leads nowhere.
    #[serde(default)]
    pub internal: bool,
    /// Whether its IPAM driver gives addresses for hardware addresses.
    #[serde(default)]
    pub requires_mac: bool,
    /// Whether it is ready for endpoints.
    #[serde(default)]
    pub ready: bool,
    /// Whether it was there already and belongs to others too: it is never deleted.
    #[serde(default)]
    pub shared: bool,
    /// What has to be done before it is gone.
    #[serde(default)]
    pub owed: Debts,
    /// How often that was refused.
    #[serde(default)]
    pub tries: u32,
}

/// The sandbox that an endpoint is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SandboxRecord {
    /// The path of its namespace as it was given.
    pub path: PathBuf,
    /// The path that the driver was told.
    pub key: PathBuf,
    /// The device of the namespace's file.
    pub dev: u64,
    /// The inode of the namespace's file.
    pub inode: u64,
}

/// The link in a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinkRecord {
    /// Its name in the host's namespace, by which its driver knows it.
    pub src_name: String,
    /// Its name in the sandbox.
    pub name: String,
    /// Its index in the sandbox; 0 until it is there.
    pub index: u32,
    /// Its hardware address.
    pub mac: String,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRecord {
    /// Which.
    pub id: EndpointId,
    /// On which network.
    pub network: NetworkId,
    /// The network's driver: the network's own record may be gone first.
    pub driver: DriverRef,
    /// Who gave its addresses; none where it came with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<DriverRef>,
    /// How many endpoints of this attachment were left with their drivers before.
    #[serde(default)]
    pub generation: u32,
    /// For which attachment.
    pub attachment: AttachmentRecord,
    /// In which sandbox.
    #[serde(default)]
    pub sandbox: SandboxRecord,
    /// Its hardware address, if it was given one; else empty.
    #[serde(default)]
    pub mac: String,
    /// Its addresses with their prefix lengths, IPv4 first.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What the driver said to its Join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinReply>,
    /// The link that was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkRecord>,
    /// Whether its network was made for it, and goes with it if it is never completed.
    #[serde(default)]
    pub made_network: bool,
    /// Whether it was made to the end.
    #[serde(default)]
    pub complete: bool,
    /// Whether its removal has begun.
    #[serde(default)]
    pub leaving: bool,
    /// What has to be done before it is gone.
    #[serde(default)]
    pub owed: Debts,
    /// How often that was tried in vain.
    #[serde(default)]
    pub tries: u32,
}

/// The names of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentRecord {
    /// The CNI network, whose name need not be the network's own.
    pub network: cni_types::NetworkName,
    /// The container.
    pub container_id: cni_types::ContainerId,
    /// The interface.
    pub ifname: cni_types::IfName,
}

impl EndpointRecord {
    /// Whether it is as it should be: made to the end, and not being removed.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.complete && !self.leaving
    }
}

impl From<&Attachment> for AttachmentRecord {
    fn from(attachment: &Attachment) -> Self {
        Self {
            network: attachment.network.clone(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        }
    }
}

impl From<&AttachmentRecord> for Attachment {
    fn from(record: &AttachmentRecord) -> Self {
        Self {
            network: record.network.clone(),
            container_id: record.container_id.clone(),
            ifname: record.ifname.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(pool: &str, address: &str) -> Due {
        Due::Address {
            pool: pool.into(),
            address: address.into(),
        }
    }

    fn dues(debts: &Debts) -> Vec<Due> {
        debts.iter().map(|debt| debt.due.clone()).collect()
    }

    #[test]
    fn debts_are_paid_in_the_controllers_order_whenever_they_were_made() {
        let mut debts = Debts::default();
        for due in [
            address("p4", "10.0.0.2"),
            address("p6", "fd00::2"),
            Due::Endpoint,
            Due::Leave,
            Due::Link,
            Due::Revoke,
        ] {
            debts.incur(due);
        }
        let expected = [
            Due::Revoke,
            Due::Leave,
            Due::Link,
            Due::Endpoint,
            address("p4", "10.0.0.2"),
            address("p6", "fd00::2"),
        ];
        assert_eq!(dues(&debts), expected);
    }

    #[test]
    fn each_pool_goes_after_its_addresses() {
        let mut debts = Debts::default();
        let pool = |id: &str| Due::Pool { pool: id.into() };
        let made = [
            pool("p4"),
            address("p4", "10.0.0.1"),
            address("p4", "10.0.0.9"),
            pool("p6"),
            address("p6", "fd00::1"),
            Due::Network,
        ];
        for due in made {
            debts.incur(due);
        }
        let expected = [
            address("p4", "10.0.0.1"),
            address("p4", "10.0.0.9"),
            pool("p4"),
            address("p6", "fd00::1"),
            pool("p6"),
            Due::Network,
        ];
        assert_eq!(dues(&debts), expected);
    }

    #[test]
    fn a_debt_is_uncertain_until_it_is_confirmed_and_gone_when_it_is_settled() {
        let mut debts = Debts::default();
        debts.incur(Due::Leave);
        debts.incur(Due::Leave);
        assert_eq!(dues(&debts), [Due::Leave], "once is enough");
        assert!(debts.iter().all(|debt| !debt.certain));
        debts.confirm(&Due::Leave);
        debts.fail(&Due::Leave, "busy");
        let text = serde_json::to_string(&debts).unwrap();
        assert_eq!(text, r#"[{"due":"leave","certain":true,"failed":"busy"}]"#);
        assert_eq!(serde_json::from_str::<Debts>(&text).unwrap(), debts);
        debts.settle(&Due::Leave);
        assert!(debts.is_empty());
    }
}
