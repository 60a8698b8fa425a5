//! Docker Engine's HTTP API, as far as tests drive it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::image;

/// An Engine behind its socket.
#[derive(Debug, Clone)]
pub struct Engine {
    client: Client,
}

/// What a command in a container said, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The exit code.
    pub code: i64,
    /// Standard output and error, as a terminal shows them.
    pub text: String,
}

impl Engine {
    /// Of the Engine that listens, or will listen, at `socket`.
    pub fn at(socket: &Path) -> Self {
        Self {
            client: Client::unix(socket),
        }
    }

    /// Whether it is there.
    pub fn answers(&self) -> bool {
        self.client
            .get("/_ping")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Any request; a body of `null` is none.
    pub fn request(&self, verb: &str, path: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.client
            .send(verb, path, &json, body.as_bytes())
            .unwrap_or_else(|error| panic!("{verb} {path}: {error}"))
    }

    /// A request that must succeed; the answer's JSON, `null` without any.
    #[track_caller]
    pub fn ok(&self, verb: &str, path: &str, body: &Value) -> Value {
        let answer = self.request(verb, path, body);
        let good = (200..300).contains(&answer.status);
        assert!(good, "{verb} {path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub(crate) fn load_image(&self, archive: &Path) {
        let tar = [("Content-Type", "application/x-tar")];
        let body = fs::read(archive).unwrap();
        let answer = self
            .client
            .send("POST", "/images/load?quiet=1", &tar, &body)
            .unwrap();
        assert!(
            answer.text().contains("Loaded image"),
            "load the image: {}",
            answer.text()
        );
    }

    /// Makes a container of the image on a network (or in a mode: `none`, `host`); returns its id.
    pub fn create(&self, name: &str, network: &str) -> String {
        let body = json!({"Image": image::NAME, "HostConfig": {"NetworkMode": network}});
        self.create_with(name, &body)
    }

    /// Makes a container as `body` says; returns its id.
    pub fn create_with(&self, name: &str, body: &Value) -> String {
        let made = self.ok("POST", &format!("/containers/create?name={name}"), body);
        made["Id"].as_str().unwrap().to_owned()
    }

    /// Makes and starts a container; returns its id.
    pub fn run(&self, name: &str, network: &str) -> String {
        let id = self.create(name, network);
        self.start(&id);
        id
    }

    /// Starts a container.
    pub fn start(&self, container: &str) {
        let path = format!("/containers/{container}/start");
        self.ok("POST", &path, &Value::Null);
    }

    /// Kills a container, whose entry stays.
    pub fn stop(&self, container: &str) {
        let path = format!("/containers/{container}/stop?t=0");
        self.ok("POST", &path, &Value::Null);
    }

    /// Removes a container, running or not.
    pub fn remove(&self, container: &str) {
        let path = format!("/containers/{container}?force=1");
        self.ok("DELETE", &path, &Value::Null);
    }

    /// A container, as `docker inspect` shows it.
    pub fn inspect(&self, container: &str) -> Value {
        self.ok(
            "GET",
            &format!("/containers/{container}/json"),
            &Value::Null,
        )
    }

    /// `State.Pid` of a running container.
    pub fn pid(&self, container: &str) -> u64 {
        let pid = self.inspect(container)["State"]["Pid"].as_u64();
        pid.filter(|pid| *pid > 0)
            .unwrap_or_else(|| panic!("container {container} does not run"))
    }

    /// A container's entry for a network, `null` when it is not connected.
    pub fn endpoint(&self, container: &str, network: &str) -> Value {
        self.inspect(container)["NetworkSettings"]["Networks"][network].clone()
    }

    /// Runs a command in a container.
    pub fn exec(&self, container: &str, command: &[&str]) -> Said {
        // With a terminal the output is one stream without frames.
        let body = json!({"AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": command});
        let made = self.ok("POST", &format!("/containers/{container}/exec"), &body);
        let id = made["Id"].as_str().unwrap();
        let tty = json!({"Detach": false, "Tty": true});
        let said = self.request("POST", &format!("/exec/{id}/start"), &tty);
        assert_eq!(said.status, 200, "{command:?}: {}", said.text());
        let ended = self.ok("GET", &format!("/exec/{id}/json"), &Value::Null);
        Said {
            code: ended["ExitCode"].as_i64().unwrap(),
            text: said.text(),
        }
    }

    /// Whether a container gets an answer from an address within two seconds.
    pub fn ping(&self, container: &str, address: &str) -> bool {
        let command = ["ping", "-c", "1", "-W", "2", address];
        self.exec(container, &command).code == 0
    }

    /// Makes a network of a driver with one IPv4 subnet; returns its id.
    pub fn create_network(&self, name: &str, driver: &str, subnet: &str) -> String {
        let ipam = json!({"Driver": "default", "Config": [{"Subnet": subnet}]});
        self.create_network_with(&json!({"Name": name, "Driver": driver, "IPAM": ipam}))
    }

    /// Makes a network as `body` says; returns its id.
    pub fn create_network_with(&self, body: &Value) -> String {
        let made = self.ok("POST", "/networks/create", body);
        made["Id"].as_str().unwrap().to_owned()
    }

    /// A network, as `docker network inspect` shows it.
    pub fn network(&self, network: &str) -> Value {
        self.ok("GET", &format!("/networks/{network}"), &Value::Null)
    }

    /// Removes a network.
    pub fn remove_network(&self, network: &str) {
        self.ok("DELETE", &format!("/networks/{network}"), &Value::Null);
    }

    /// Connects a container, with an `EndpointConfig` or `null`, whatever comes of it.
    pub fn connect(&self, network: &str, container: &str, config: &Value) -> Answer {
        let body = json!({"Container": container, "EndpointConfig": config});
        self.request("POST", &format!("/networks/{network}/connect"), &body)
    }

    /// Disconnects a container, whatever comes of it.
    pub fn disconnect(&self, network: &str, container: &str) -> Answer {
        let body = json!({"Container": container, "Force": false});
        self.request("POST", &format!("/networks/{network}/disconnect"), &body)
    }
}
