//! What others have written in Python about the protocol: a driver on the package `docker-plugin-api`,
//! and kuryr-libnetwork's JSON schemas as a judge of requests. `scripts/peers` fetches both; without
//! them, tests say that they are skipped.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cni_testkit::{World, require, skip, wait_for};
use serde_json::{Value, json};

use crate::cnm::driver::{Method, PLUGIN_DIR, Request};
use crate::http::Client;

/// What `scripts/peers` has fetched when it has finished.
const WANTED: &str = include_str!("../../peers/requirements.txt");

/// Debian's Python, which has Flask and jsonschema.
const PYTHON: &str = "/usr/bin/python3";

/// Where the packages are. `None` is said aloud, for the test to end.
fn packages() -> Option<PathBuf> {
    let dir = peers_dir();
    let found = dir
        .as_ref()
        .and_then(|dir| fs::read_to_string(dir.join("requirements.txt")).ok());
    if found.as_deref() == Some(WANTED) {
        return dir.map(|dir| dir.join("site"));
    }
    skip("no packages from PyPI: run scripts/peers");
    None
}

fn peers_dir() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || {
        let below_home = || var("HOME").map(|home| Path::new(&home).join(".cache"));
        var("XDG_CACHE_HOME").map(PathBuf::from).or_else(below_home)
    };
    let own = var("TENON_PEERS_DIR").map(PathBuf::from);
    own.or_else(|| cache().map(|cache| cache.join("tenon-peers")))
}

/// A script of `tests/peers` under Debian's Python, which ends with the calling thread.
fn script(name: &str) -> Command {
    require("setpriv");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name);
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", PYTHON])
        .arg(path)
        // Other Pythons and their settings stay out of this.
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A network driver of its own make, with veth pairs and a bridge for each network.
#[derive(Debug)]
pub struct PythonDriver {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl PythonDriver {
    /// Starts it as `<name>.sock` in [`PLUGIN_DIR`]; `None` without the package, which is said aloud.
    pub fn start(world: &World, name: &str) -> Option<Self> {
        let packages = packages()?;
        fs::create_dir_all(PLUGIN_DIR).unwrap();
        let socket = Path::new(PLUGIN_DIR).join(format!("{name}.sock"));
        let log = world.file(&format!("{name}.log"), "");
        let child = script("python_driver.py")
            .arg(&socket)
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let driver = Self { child, socket, log };
        wait_for("the driver in Python", Duration::from_secs(20), || {
            driver.client().get("/state").is_ok()
        });
        Some(driver)
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::unix(&self.socket)
    }

    /// Panics when it has a network or an endpoint.
    #[track_caller]
    pub fn assert_empty(&self) {
        let state = self.client().get("/state").unwrap().json();
        assert_eq!(state, json!({"networks": [], "endpoints": []}));
    }
}

impl Drop for PythonDriver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the driver in Python:\n{text}");
        }
    }
}

/// A judge of requests: one process for all that a test asks.
#[derive(Debug)]
pub struct Kuryr {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Kuryr {
    /// Starts it; `None` without the package, which is said aloud.
    pub fn start() -> Option<Self> {
        let mut child = script("kuryr_schemas.py")
            .arg(packages()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Some(Self {
            child,
            pipes: Mutex::new((stdin, stdout)),
        })
    }

    /// Whether Kuryr would take this request. It has no schemas for handshakes and external
    /// connectivity, and takes anything there.
    ///
    /// Docker itself sends what Kuryr refuses: auxiliary addresses with their prefix lengths, and an
    /// IPv6 pool without a gateway.
    ///
    /// # Errors
    /// What is wrong, each with its place.
    pub fn validate(&self, method: Method, body: &Value) -> Result<(), String> {
        match self.judge(method, body) {
            None => Ok(()),
            Some(complaint) if complaint.is_empty() => Ok(()),
            Some(complaint) => Err(format!("{method}: {complaint}: {body}")),
        }
    }

    /// The complaints about all of these requests.
    pub fn complaints(&self, requests: &[Request]) -> Vec<String> {
        let known = requests
            .iter()
            .filter_map(|one| Some((one.method()?, one.json())));
        known
            .filter_map(|(method, body)| self.validate(method, &body).err())
            .collect()
    }

    /// `None` where there is no schema.
    fn judge(&self, method: Method, body: &Value) -> Option<String> {
        let mut pipes = self.pipes.lock().unwrap();
        let question = json!({"method": method.name(), "body": body});
        writeln!(pipes.0, "{question}").unwrap();
        let mut answer = String::new();
        pipes.1.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the judge of {question} has ended");
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Kuryr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
