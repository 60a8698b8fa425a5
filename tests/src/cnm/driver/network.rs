//! The calls of the network driver.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::accepts;
use super::body::Body;
use super::ipam::{Pool, unknown};
use super::links;
use super::state::{Endpoint, Failure, Network, State};
use super::style::{
    Gateway, InterfaceForm, MadeAt, RemovedAt, Repeats, SrcName, SuppliedMac, Wiring,
};

/// The network option that every driver of Docker's own has.
const MTU: &str = "com.docker.network.driver.mtu";
const GENERIC: &str = "com.docker.network.generic";

const ADDRESS: &str = "Address";
const ADDRESS6: &str = "AddressIPv6";
const MAC: &str = "MacAddress";

impl State {
    pub(super) fn create_network(&mut self, body: &Body) -> Result<Value, Failure> {
        let id = body.id("NetworkID")?;
        let options = body.object("Options")?;
        options.object(GENERIC)?;
        accepts::network(self.style.accepts, body)?;
        if self.networks.contains_key(id) {
            unknown(&self.style, format!("network {id} already exists"))?;
            return Ok(json!({}));
        }
        let families = [body.objects("IPv4Data")?, body.objects("IPv6Data")?];
        let gateway = |data: &[Body]| {
            let gateway = data.first()?.optional("Gateway");
            (!gateway.is_empty()).then(|| gateway.to_owned())
        };
        let gateways = [gateway(&families[0]), gateway(&families[1])];
        let mut pools = Vec::new();
        for data in families.iter().flatten() {
            data.text("AddressSpace")?;
            pools.push(data.id("Pool")?.to_owned());
        }
        let bridge = links::bridge_name(id);
        match self.style.wiring {
            Wiring::Bridged => {
                self.links.insert(bridge.clone());
                links::make_bridge(&bridge, &gateways)?;
            }
            Wiring::Routed => links::forward()?,
        }
        let network = Network {
            id: id.to_owned(),
            options: body.get("Options").clone(),
            pools,
            bridge,
            gateways,
        };
        self.networks.insert(id.to_owned(), network);
        Ok(json!({}))
    }

    pub(super) fn delete_network(&mut self, body: &Body) -> Result<Value, Failure> {
        let id = body.id("NetworkID")?;
        if let Some(endpoint) = self.endpoints.values().find(|one| one.network == id) {
            let text = format!("network {id} has endpoint {}", endpoint.id);
            return Err(Failure::new(text));
        }
        match self.networks.remove(id) {
            Some(network) => links::remove(&network.bridge)?,
            None => unknown(&self.style, format!("no network {id}"))?,
        }
        Ok(json!({}))
    }

    pub(super) fn create_endpoint(&mut self, body: &Body) -> Result<Value, Failure> {
        let (network, id) = (body.id("NetworkID")?, body.id("EndpointID")?);
        let interface = body.object("Interface")?;
        accepts::endpoint(self.style.accepts, body)?;
        body.object("Options")?;
        if !self.networks.contains_key(network) {
            return Err(Failure::new(format!("no network {network}")));
        }
        if self.endpoints.contains_key(id) {
            return Err(Failure::new(format!("endpoint {id} already exists")));
        }
        let mut endpoint = Endpoint {
            id: id.to_owned(),
            network: network.to_owned(),
            address: interface.text(ADDRESS)?.to_owned(),
            address6: interface.text(ADDRESS6)?.to_owned(),
            mac: interface.text(MAC)?.to_owned(),
            sandbox: None,
            external: false,
        };
        let supplied = self.supply(&mut endpoint)?;
        if self.style.made_at == MadeAt::CreateEndpoint
            && let Err(failure) = self.make_pair(&endpoint)
        {
            self.take_back(&endpoint);
            return Err(failure);
        }
        self.endpoints.insert(id.to_owned(), endpoint);
        Ok(in_form(self.style.interface, &supplied))
    }

    /// Fills in what the request left empty, as far as the driver's style goes.
    fn supply(&mut self, endpoint: &mut Endpoint) -> Result<Value, Failure> {
        let mut supplied = json!({});
        let wanted = self.style.supplies.clone();
        let mac_is_free = endpoint.mac.is_empty();
        if mac_is_free {
            endpoint.mac = mac_of(&endpoint.id);
        }
        match wanted.mac {
            SuppliedMac::IfEmpty if mac_is_free => supplied[MAC] = json!(endpoint.mac),
            SuppliedMac::Always => supplied[MAC] = json!(endpoint.mac),
            SuppliedMac::IfEmpty | SuppliedMac::Never => {}
        }
        for (pool, address, key) in [
            (wanted.pool, &mut endpoint.address, ADDRESS),
            (wanted.pool6, &mut endpoint.address6, ADDRESS6),
        ] {
            if let (Some(pool), true) = (pool, address.is_empty()) {
                let parsed = Pool::parse(&pool)?;
                let pool = self.supplies.entry(pool).or_insert(parsed);
                *address = pool.reserve("")?;
                supplied[key] = json!(address);
            }
        }
        Ok(supplied)
    }

    fn make_pair(&mut self, endpoint: &Endpoint) -> Result<(), Failure> {
        let [host_end, _] = links::pair_names(&endpoint.id);
        self.links.insert(host_end);
        let network = self.network_of(endpoint)?;
        let mtu = &network.options[GENERIC][MTU];
        let mtu = mtu.as_str().and_then(|mtu| mtu.parse().ok());
        links::make_pair(&endpoint.id, &endpoint.mac, mtu)?;
        let addresses = [endpoint.address.as_str(), &endpoint.address6];
        let connected = match self.style.wiring {
            Wiring::Bridged => links::bridge_pair(&endpoint.id, &network.bridge),
            Wiring::Routed => links::route_pair(&endpoint.id, addresses),
        };
        connected.inspect_err(|_| {
            let _ = links::remove(&links::pair_names(&endpoint.id)[0]);
        })
    }

    fn network_of(&self, endpoint: &Endpoint) -> Result<&Network, Failure> {
        let network = self.networks.get(&endpoint.network);
        network.ok_or_else(|| Failure::new(format!("no network {}", endpoint.network)))
    }

    /// The endpoint that a call is about.
    fn endpoint(&mut self, body: &Body) -> Result<&mut Endpoint, Failure> {
        let (network, id) = (body.id("NetworkID")?, body.id("EndpointID")?);
        let endpoint = self.endpoints.get_mut(id);
        endpoint
            .filter(|endpoint| endpoint.network == network)
            .ok_or_else(|| Failure::new(format!("no endpoint {id} in network {network}")))
    }

    /// The same; `None` where the driver's style is to succeed without it.
    fn endpoint_if_any(&mut self, body: &Body) -> Result<Option<&mut Endpoint>, Failure> {
        let lenient = self.style.repeats == Repeats::Succeed;
        match self.endpoint(body) {
            Err(failure) if lenient && !failure.bad_request => Ok(None),
            other => other.map(Some),
        }
    }

    pub(super) fn oper_info(&mut self, body: &Body) -> Result<Value, Failure> {
        self.endpoint(body)?;
        let value = self.style.oper_info.as_ref();
        Ok(value.map_or(Value::Null, |value| json!({"Value": value})))
    }

    pub(super) fn join(&mut self, body: &Body) -> Result<Value, Failure> {
        let sandbox = body.id("SandboxKey")?.to_owned();
        accepts::join(self.style.accepts, body)?;
        body.object("Options")?;
        let endpoint = self.endpoint(body)?;
        if let Some(other) = &endpoint.sandbox {
            let text = format!("endpoint {} has joined {other}", endpoint.id);
            return Err(Failure::new(text));
        }
        let endpoint = endpoint.clone();
        if self.style.made_at == MadeAt::Join {
            self.make_pair(&endpoint)?;
        }
        let reply = self.join_reply(&endpoint)?;
        self.endpoint(body)?.sandbox = Some(sandbox);
        Ok(reply)
    }

    fn join_reply(&self, endpoint: &Endpoint) -> Result<Value, Failure> {
        let (network, style) = (self.network_of(endpoint)?, &self.style);
        let gateway = |style: &Gateway, of_network: &Option<String>| match style {
            Gateway::Text(text) => text.clone(),
            Gateway::OfNetwork => {
                let cidr = of_network.as_deref().unwrap_or_default();
                cidr.split('/').next().unwrap_or_default().to_owned()
            }
        };
        let routes: Vec<Value> = style.routes.iter().map(super::style::Route::json).collect();
        let mut reply = json!({
            "Gateway": gateway(&style.gateway, &network.gateways[0]),
            "GatewayIPv6": gateway(&style.gateway6, &network.gateways[1]),
            "StaticRoutes": routes,
            "DisableGatewayService": style.disable_gateway_service,
        });
        let [_, container_end] = links::pair_names(&endpoint.id);
        let name = match &style.src_name {
            SrcName::Absent => return Ok(reply),
            SrcName::Null => None,
            SrcName::Made => Some(&container_end),
            SrcName::Other(name) => Some(name),
        };
        reply["InterfaceName"] = name.map_or(
            Value::Null,
            |name| json!({"SrcName": name, "DstPrefix": style.dst_prefix}),
        );
        if !style.dst_name.is_empty() && name.is_some() {
            reply["InterfaceName"]["DstName"] = json!(style.dst_name);
        }
        Ok(reply)
    }

    pub(super) fn leave(&mut self, body: &Body) -> Result<Value, Failure> {
        let strict = self.style.repeats == Repeats::Fail;
        let Some(endpoint) = self.endpoint_if_any(body)? else {
            return Ok(json!({}));
        };
        if endpoint.sandbox.take().is_none() && strict {
            let text = format!("endpoint {} has joined no sandbox", endpoint.id);
            return Err(Failure::new(text));
        }
        let [host_end, _] = links::pair_names(&endpoint.id);
        if self.style.removed_at == RemovedAt::Leave {
            links::remove(&host_end)?;
        }
        Ok(json!({}))
    }

    pub(super) fn delete_endpoint(&mut self, body: &Body) -> Result<Value, Failure> {
        let Some(endpoint) = self.endpoint_if_any(body)? else {
            return Ok(json!({}));
        };
        let endpoint = endpoint.clone();
        let [host_end, _] = links::pair_names(&endpoint.id);
        if self.style.removed_at != RemovedAt::Never {
            links::remove(&host_end)?;
        }
        self.take_back(&endpoint);
        self.endpoints.remove(&endpoint.id);
        Ok(json!({}))
    }

    /// What `supply` gave.
    fn take_back(&mut self, endpoint: &Endpoint) {
        for pool in self.supplies.values_mut() {
            pool.release(&endpoint.address);
            pool.release(&endpoint.address6);
        }
    }

    pub(super) fn set_external(&mut self, body: &Body, external: bool) -> Result<Value, Failure> {
        if external {
            body.object("Options")?;
        }
        // Docker 20.10 revokes what was never programmed.
        if let Some(endpoint) = self.endpoint_if_any(body)? {
            endpoint.external = external;
        }
        Ok(json!({}))
    }
}

fn in_form(form: InterfaceForm, supplied: &Value) -> Value {
    let nothing = *supplied == json!({});
    match form {
        InterfaceForm::Absent if nothing => json!({}),
        InterfaceForm::Null if nothing => json!({"Interface": null}),
        InterfaceForm::AllKeys => {
            let mut all = json!({ADDRESS: "", ADDRESS6: "", MAC: ""});
            for (key, value) in supplied.as_object().into_iter().flatten() {
                all[key] = value.clone();
            }
            json!({"Interface": all})
        }
        _ => json!({"Interface": supplied}),
    }
}

/// A locally administered address that an endpoint always has.
fn mac_of(endpoint: &str) -> String {
    let mut hasher = DefaultHasher::new();
    endpoint.hash(&mut hasher);
    let bytes = hasher.finish().to_be_bytes();
    let digits: Vec<_> = bytes[3..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("02:{}", digits.join(":"))
}
