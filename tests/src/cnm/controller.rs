//! A controller by hand: the calls of one, and what it does with the link. For showing that a
//! driver works without the controller under test.

use cni_testkit::{Netns, World};
use serde_json::{Value, json};

use crate::cnm::driver::Method;
use crate::http::{Answer, Client};

/// A driver as its controller sees it.
#[derive(Debug, Clone)]
pub struct Controller {
    client: Client,
}

/// An endpoint that joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The `EndpointID`.
    pub id: String,
    /// The `NetworkID`.
    pub network: String,
    /// The reply to `Join`.
    pub reply: Value,
}

/// 64 hexadecimal digits as Docker's ids have them, the same for the same name.
pub fn id(name: &str) -> String {
    let digits: Vec<_> = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!name.is_empty() && name.len() <= 32, "{name:?} gives no id");
    let repeated = digits.concat().repeat(32);
    repeated[..64].to_owned()
}

impl Controller {
    /// Of the driver behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// One call; `null` sends no body.
    pub fn call(&self, method: Method, body: &Value) -> Answer {
        self.try_call(method, body)
            .unwrap_or_else(|error| panic!("{method} {body}: {error}"))
    }

    /// One call that may go wrong as HTTP.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn try_call(&self, method: Method, body: &Value) -> std::io::Result<Answer> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let accept = [("Accept", "application/vnd.docker.plugins.v1.2+json")];
        let path = format!("/{method}");
        self.client.send("POST", &path, &accept, body.as_bytes())
    }

    /// One call that must succeed; the reply.
    #[track_caller]
    pub fn ok(&self, method: Method, body: &Value) -> Value {
        let answer = self.call(method, body);
        assert_eq!(answer.status, 200, "{method} {body}: {}", answer.text());
        let reply = answer.json();
        for key in ["Err", "Error"] {
            let said = reply[key].as_str().unwrap_or_default();
            assert_eq!(said, "", "{method} {body}");
        }
        reply
    }

    /// `CreateNetwork` of one IPv4 pool.
    pub fn create_network(&self, network: &str, pool: &str, gateway: &str) {
        let data = json!([{"AddressSpace": "local", "Pool": pool, "Gateway": gateway}]);
        let options = json!({
            "com.docker.network.enable_ipv6": false,
            "com.docker.network.generic": {},
        });
        let body =
            json!({"NetworkID": network, "Options": options, "IPv4Data": data, "IPv6Data": []});
        self.ok(Method::CreateNetwork, &body);
    }

    /// `CreateEndpoint`, `Join`, and the link put into the container as `eth0` with its address.
    pub fn attach(&self, world: &World, network: &str, container: &Netns, address: &str) -> Joined {
        let endpoint = id(container.path_str().rsplit('/').next().unwrap_or_default());
        let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
        let mut body = json!({"NetworkID": network, "EndpointID": endpoint});
        body["Interface"] = interface;
        body["Options"] = json!({});
        let made = self.ok(Method::CreateEndpoint, &body);
        let key = format!("/var/run/docker/netns/{}", &endpoint[..12]);
        let join =
            json!({"NetworkID": network, "EndpointID": endpoint, "SandboxKey": key, "Options": {}});
        let reply = self.ok(Method::Join, &join);
        let link = reply["InterfaceName"]["SrcName"].as_str().unwrap();
        let path = container.path_str();
        world.host().ip(&format!("link set {link} netns {path}"));
        if let Some(mac) = made["Interface"]["MacAddress"].as_str() {
            container.ip(&format!("link set {link} address {mac}"));
        }
        container.ip(&format!("link set {link} name eth0"));
        container.ip(&format!("addr add {address} dev eth0"));
        container.ip("link set eth0 up");
        Joined {
            id: endpoint,
            network: network.to_owned(),
            reply,
        }
    }

    /// `Leave` and `DeleteEndpoint`, with the link put back between them, if it is still there.
    pub fn detach(&self, world: &World, joined: &Joined, container: &Netns) {
        let ids = json!({"NetworkID": joined.network, "EndpointID": joined.id});
        self.ok(Method::Leave, &ids);
        if container.link("eth0").is_some() {
            let link = joined.reply["InterfaceName"]["SrcName"].as_str().unwrap();
            let host = world.host().path_str();
            container.ip("link set eth0 down");
            container.ip(&format!("link set eth0 name {link} netns {host}"));
        }
        self.ok(Method::DeleteEndpoint, &ids);
    }

    /// `DeleteNetwork`.
    pub fn delete_network(&self, network: &str) {
        self.ok(Method::DeleteNetwork, &json!({"NetworkID": network}));
    }
}
