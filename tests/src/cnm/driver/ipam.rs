//! The driver's own address management: pools with a count of their users, and what is reserved.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::accepts;
use super::body::Body;
use super::state::Failure;
use super::style::{PoolGateway, Repeats, Style};

/// A network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cidr {
    v6: bool,
    /// The address as a number, host bits cleared.
    base: u128,
    prefix: u32,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, Failure> {
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            Some((address.parse::<IpAddr>().ok()?, prefix.parse::<u32>().ok()?))
        });
        let (address, prefix) =
            parts.ok_or_else(|| Failure::new(format!("{text:?} is not in CIDR form")))?;
        let (v6, value, bits) = match address {
            IpAddr::V4(v4) => (false, u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (true, u128::from(v6), 128),
        };
        if prefix > bits {
            return Err(Failure::new(format!("{text:?} is not in CIDR form")));
        }
        let host_bits = bits - prefix;
        let base = value
            .checked_shr(host_bits)
            .map_or(0, |network| network << host_bits);
        Ok(Self { v6, base, prefix })
    }

    fn bits(&self) -> u32 {
        if self.v6 { 128 } else { 32 }
    }

    fn last(&self) -> u128 {
        let mask = 1u128
            .checked_shl(self.bits() - self.prefix)
            .map_or(u128::MAX, |size| size - 1);
        self.base | mask
    }

    fn address(&self, value: u128) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from(value))
        } else {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap()))
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let value = match address {
            IpAddr::V4(v4) if !self.v6 => u128::from(u32::from(v4)),
            IpAddr::V6(v6) if self.v6 => u128::from(v6),
            _ => return false,
        };
        self.base <= value && value <= self.last()
    }

    fn text(&self) -> String {
        format!("{}/{}", self.address(self.base), self.prefix)
    }
}

/// A pool of addresses.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    cidr: Cidr,
    /// Where addresses come from when none is asked for.
    range: Cidr,
    users: usize,
    reserved: BTreeSet<IpAddr>,
}

impl Pool {
    pub(super) fn parse(cidr: &str) -> Result<Self, Failure> {
        Self::new(cidr, "")
    }

    fn new(cidr: &str, range: &str) -> Result<Self, Failure> {
        let cidr = Cidr::parse(cidr)?;
        let range = if range.is_empty() {
            cidr
        } else {
            Cidr::parse(range)?
        };
        if !cidr.holds(range.address(range.base)) {
            let (range, cidr) = (range.text(), cidr.text());
            return Err(Failure::new(format!("{range} is not in {cidr}")));
        }
        Ok(Self {
            cidr,
            range,
            users: 0,
            reserved: BTreeSet::new(),
        })
    }

    /// Reserves `asked`, or the first free one when it is empty; in CIDR form.
    pub(super) fn reserve(&mut self, asked: &str) -> Result<String, Failure> {
        let address = if asked.is_empty() {
            self.first_free()?
        } else {
            let parsed = asked.parse();
            parsed.map_err(|error| Failure::new(format!("{asked:?}: {error}")))?
        };
        let pool = self.cidr.text();
        if !self.cidr.holds(address) {
            return Err(Failure::new(format!("{address} is not in pool {pool}")));
        }
        if !self.reserved.insert(address) {
            return Err(Failure::new(format!("{address} is in use in pool {pool}")));
        }
        Ok(format!("{address}/{}", self.cidr.prefix))
    }

    fn first_free(&self) -> Result<IpAddr, Failure> {
        // The network's own address and the broadcast address belong to nobody.
        let (first, last) = (self.cidr.base + 1, self.cidr.last().saturating_sub(1));
        let wanted = self.range.base.max(first)..=self.range.last().min(last);
        let mut free = wanted.map(|value| self.cidr.address(value));
        free.find(|address| !self.reserved.contains(address))
            .ok_or_else(|| Failure::new(format!("no address is free in {}", self.range.text())))
    }

    /// Whether it was reserved. A prefix length is ignored.
    pub(super) fn release(&mut self, address: &str) -> bool {
        let bare = address.split('/').next().unwrap_or_default();
        bare.parse()
            .is_ok_and(|address| self.reserved.remove(&address))
    }
}

/// All pools by their ids.
#[derive(Debug, Default)]
pub(super) struct Ipam {
    pools: BTreeMap<String, Pool>,
}

impl Ipam {
    pub(super) fn pools(&self) -> Vec<String> {
        self.pools.values().map(|pool| pool.cidr.text()).collect()
    }

    pub(super) fn reserved(&self) -> Vec<String> {
        let addresses = self.pools.values().flat_map(|pool| &pool.reserved);
        addresses.map(IpAddr::to_string).collect()
    }

    /// The same arguments give the same pool, with one user more.
    pub(super) fn request_pool(&mut self, body: &Body, style: &Style) -> Result<Value, Failure> {
        accepts::pool(style.accepts, body)?;
        let (space, sub_pool) = (body.text("AddressSpace")?, body.text("SubPool")?);
        let v6 = body.flag("V6")?;
        let mut cidr = body.text("Pool")?.to_owned();
        if cidr.is_empty() {
            if !sub_pool.is_empty() {
                return Err(Failure::new("a SubPool without a Pool"));
            }
            cidr = self.unused_pool(v6)?;
        }
        let pool = Pool::new(&cidr, sub_pool)?;
        if pool.cidr.v6 != v6 {
            return Err(Failure::new(format!("pool {cidr} with V6 {v6}")));
        }
        let text = pool.cidr.text();
        let id = pool_id(&[space, &text, sub_pool]);
        self.pools.entry(id.clone()).or_insert(pool).users += 1;
        let gateway = match &style.pool_gateway {
            PoolGateway::Unsaid => None,
            PoolGateway::Text(gateway) => Some(gateway),
            PoolGateway::OfPool => Some(&text),
        };
        let data = gateway.map_or(
            json!({}),
            |cidr| json!({"com.docker.network.gateway": cidr}),
        );
        Ok(json!({"PoolID": id, "Pool": text, "Data": data}))
    }

    fn unused_pool(&self, v6: bool) -> Result<String, Failure> {
        let candidates = (0..=255).map(|n| {
            if v6 {
                format!("fd00:231:0:{n:x}::/64")
            } else {
                format!("10.231.{n}.0/24")
            }
        });
        let used = |text: &String| {
            let same = |pool: &Pool| pool.cidr.text() == *text;
            self.pools.values().any(same)
        };
        let mut unused = candidates.filter(|text| !used(text));
        unused.next().ok_or_else(|| Failure::new("no pool is free"))
    }

    pub(super) fn release_pool(&mut self, body: &Body, style: &Style) -> Result<Value, Failure> {
        let id = body.text("PoolID")?;
        match self.pools.get_mut(id) {
            Some(pool) if pool.users > 1 => pool.users -= 1,
            Some(_) => drop(self.pools.remove(id)),
            None => unknown(style, format!("no pool {id}"))?,
        }
        Ok(json!({}))
    }

    pub(super) fn request_address(&mut self, body: &Body, style: &Style) -> Result<Value, Failure> {
        accepts::address(style.accepts, body)?;
        let id = body.text("PoolID")?;
        let pool = self.pools.get_mut(id);
        let pool = pool.ok_or_else(|| Failure::new(format!("no pool {id}")))?;
        let mut address = pool.reserve(body.text("Address")?)?;
        if style.full_length {
            let bare = address.split('/').next().unwrap_or_default();
            address = format!("{bare}/{}", pool.cidr.bits());
        }
        Ok(json!({"Address": address, "Data": {}}))
    }

    pub(super) fn release_address(&mut self, body: &Body, style: &Style) -> Result<Value, Failure> {
        let (id, address) = (body.text("PoolID")?, body.text("Address")?);
        if address.contains('/') {
            return Err(Failure::new(format!("{address} has a prefix length")));
        }
        let released = self.pools.get_mut(id).map(|pool| pool.release(address));
        match released {
            Some(true) => {}
            Some(false) => unknown(style, format!("{address} is not reserved in pool {id}"))?,
            None => unknown(style, format!("no pool {id}"))?,
        }
        Ok(json!({}))
    }
}

/// The same id for the same arguments, in the form of a UUID: Kuryr wants it.
fn pool_id(arguments: &[&str]) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, arguments).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let digits = half(0) + &half(1);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|part| &digits[part])
        .join("-")
}

/// What is told about something that is not there to be removed.
pub(super) fn unknown(style: &Style, text: String) -> Result<(), Failure> {
    match style.repeats {
        Repeats::Fail => Err(Failure::new(text)),
        Repeats::Succeed => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: &Value) -> Body {
        Body::new(value)
    }

    fn pool(ipam: &mut Ipam, pool: &str, sub_pool: &str, v6: bool) -> Value {
        let asked = json!({"AddressSpace": "a", "Pool": pool, "SubPool": sub_pool, "Options": null, "V6": v6});
        ipam.request_pool(&body(&asked), &Style::default()).unwrap()
    }

    fn address(ipam: &mut Ipam, pool: &Value, address: &str) -> Result<String, String> {
        let asked = json!({"PoolID": pool["PoolID"], "Address": address, "Options": null});
        let reply = ipam.request_address(&body(&asked), &Style::default());
        let reply = reply.map_err(|failure| failure.text)?;
        Ok(reply["Address"].as_str().unwrap().to_owned())
    }

    #[test]
    fn addresses_come_in_order_and_once() {
        let mut ipam = Ipam::default();
        let small = pool(&mut ipam, "10.0.0.77/30", "", false);
        assert_eq!(small["Pool"], "10.0.0.76/30");
        assert_eq!(address(&mut ipam, &small, "").unwrap(), "10.0.0.77/30");
        assert!(
            address(&mut ipam, &small, "10.0.0.77")
                .unwrap_err()
                .contains("in use")
        );
        assert!(
            address(&mut ipam, &small, "10.0.1.1")
                .unwrap_err()
                .contains("not in pool")
        );
        assert_eq!(address(&mut ipam, &small, "").unwrap(), "10.0.0.78/30");
        assert!(
            address(&mut ipam, &small, "")
                .unwrap_err()
                .contains("no address is free")
        );
        assert_eq!(ipam.reserved(), ["10.0.0.77", "10.0.0.78"]);
        let six = pool(&mut ipam, "fd00::/64", "", true);
        assert_eq!(address(&mut ipam, &six, "").unwrap(), "fd00::1/64");
    }

    #[test]
    fn a_sub_pool_limits_what_is_chosen() {
        let mut ipam = Ipam::default();
        let pool = pool(&mut ipam, "10.0.0.0/24", "10.0.0.128/25", false);
        assert_eq!(address(&mut ipam, &pool, "").unwrap(), "10.0.0.128/24");
        assert_eq!(
            address(&mut ipam, &pool, "10.0.0.1").unwrap(),
            "10.0.0.1/24"
        );
    }

    #[test]
    fn pools_are_counted_and_chosen() {
        let mut ipam = Ipam::default();
        let (first, second) = (
            pool(&mut ipam, "10.0.0.0/24", "", false),
            pool(&mut ipam, "10.0.0.0/24", "", false),
        );
        assert_eq!(first, second);
        let own = pool(&mut ipam, "", "", false);
        assert_eq!(own["Pool"], "10.231.0.0/24");
        assert_eq!(pool(&mut ipam, "", "", true)["Pool"], "fd00:231::/64");
        let style = Style::default();
        let release = body(&json!({"PoolID": first["PoolID"]}));
        for left in [3, 2] {
            ipam.release_pool(&release, &style).unwrap();
            assert_eq!(ipam.pools().len(), left);
        }
        assert!(ipam.release_pool(&release, &style).is_err());
        let lenient = Style {
            repeats: Repeats::Succeed,
            ..style
        };
        ipam.release_pool(&release, &lenient).unwrap();
    }
}
