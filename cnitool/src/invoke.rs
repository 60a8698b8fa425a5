//! Runs one plugin: finds it, gives it its environment and request, understands its answer.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use cni_types::{CniError, CniResult, Command, Json, JsonError, ResultError, SpecVersion};
use serde::Deserialize;

use crate::target::Target;
use cni_plugin::Deadline;
use cni_plugin::exec::{ExecError, Group, Outcome, Running};

/// How long one plugin may take, unless [`Invoker::timeout`] says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of a plugin's rubbish an error repeats, in bytes.
const EXCERPT: usize = 300;

/// A plugin's call that failed.
#[derive(Debug, thiserror::Error)]
#[error("plugin type={plugin:?} failed ({})", phase(*command))]
pub struct PluginError {
    /// Its type.
    pub plugin: String,
    /// What it was called for.
    pub command: Command,
    /// Why.
    #[source]
    pub cause: PluginCause,
}

/// libcni's words, which people's scripts match on.
fn phase(command: Command) -> &'static str {
    match command {
        Command::Add => "add",
        Command::Del => "delete",
        Command::Check => "check",
        Command::Gc => "gc",
        Command::Status => "status",
        Command::Version => "version",
    }
}

/// Why a plugin's call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginCause {
    /// There is no binary of that name.
    #[error("failed to find plugin {name:?} in path [{}]; install it there, or set CNI_PATH", path.join(" "))]
    NotFound {
        /// The binary.
        name: String,
        /// Where it was looked for.
        path: Vec<String>,
    },
    /// It could not be run to its end.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// It reported an error.
    #[error("{0}")]
    Reported(CniError),
    /// It failed without the error document that the protocol asks for.
    #[error("netplugin failed ({status}) without saying why: {}", excerpt(said))]
    Silent {
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        said: Vec<u8>,
    },
    /// It succeeded without a result.
    #[error("it printed nothing where a result was expected")]
    NoResult,
    /// What it printed is not one JSON document.
    #[error("it printed {} instead of one JSON document", excerpt(said))]
    NotJson {
        /// What it printed.
        said: Vec<u8>,
        /// Where it is wrong.
        #[source]
        source: JsonError,
    },
    /// What it printed is not a result.
    #[error("its result cannot be understood")]
    Result(#[source] ResultError),
    /// It does not speak the version of the config.
    #[error("it does not support config version {wanted}; it supports {}", supported.join(", "))]
    Version {
        /// The config's.
        wanted: SpecVersion,
        /// What it supports.
        supported: Vec<String>,
    },
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..EXCERPT).unwrap_or(bytes));
    let more = if bytes.len() > EXCERPT { "..." } else { "" };
    match text.trim_end() {
        "" => "nothing".to_owned(),
        text => format!("{text:?}{more}"),
    }
}

/// A plugin's result, in the version of the config.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) result: CniResult,
    pub(crate) document: Json,
}

/// Runs plugins from certain directories.
#[derive(Debug, Clone)]
pub struct Invoker {
    path: Vec<PathBuf>,
    timeout: Duration,
}

impl Invoker {
    /// Looks for binaries in these directories, in this order.
    pub fn new<P: Into<PathBuf>>(path: impl IntoIterator<Item = P>) -> Self {
        Self {
            path: path.into_iter().map(Into::into).collect(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The same with another limit for each call of a plugin, instead of two minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The binary of a plugin: the first regular file of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, plugin_type: &str) -> Result<PathBuf, PluginCause> {
        let candidates = self.path.iter().map(|dir| dir.join(plugin_type));
        let found = candidates.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| PluginCause::NotFound {
            name: plugin_type.to_owned(),
            path: self.path.iter().map(|d| d.display().to_string()).collect(),
        })
    }

    pub(crate) fn add(
        &self,
        plugin_type: &str,
        request: &Json,
        target: &Target,
        version: SpecVersion,
    ) -> Result<Answer, PluginCause> {
        let outcome = self.call(plugin_type, Command::Add, request, Some(target))?;
        if outcome.stdout.iter().all(u8::is_ascii_whitespace) {
            return Err(PluginCause::NoResult);
        }
        let document = parse(outcome.stdout)?;
        parse_answer(&document, version).map_err(PluginCause::Result)
    }

    /// DEL and CHECK of `target`; GC and STATUS of none.
    pub(crate) fn run(
        &self,
        plugin_type: &str,
        command: Command,
        request: &Json,
        target: Option<&Target>,
    ) -> Result<(), PluginCause> {
        self.call(plugin_type, command, request, target).map(drop)
    }

    /// The protocol versions that a plugin supports.
    pub(crate) fn versions(&self, plugin_type: &str) -> Result<Vec<String>, PluginCause> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versions {
            #[serde(default)]
            supported_versions: Vec<String>,
        }
        let version = Json::String(SpecVersion::LATEST.to_string());
        let request = Json::Object(vec![("cniVersion".to_owned(), version)]);
        let outcome = self.call(plugin_type, Command::Version, &request, None)?;
        let document = parse(outcome.stdout)?;
        let versions: Versions = document
            .decode()
            .map_err(|error| PluginCause::Result(ResultError::Decode(error)))?;
        Ok(versions.supported_versions)
    }

    fn call(
        &self,
        plugin_type: &str,
        command: Command,
        request: &Json,
        target: Option<&Target>,
    ) -> Result<Outcome, PluginCause> {
        let binary = self.find(plugin_type)?;
        let vars = self.environment(command, target);
        let vars: Vec<_> = vars.iter().map(|(k, v)| (*k, v.as_os_str())).collect();
        let input = request.to_string().into_bytes();
        // In a group of its own: at the deadline its delegates are to end with it.
        let running = Running::start(&binary, &vars, input.into(), Group::Own)?;
        let outcome = running.finish(Deadline::after(self.timeout))?;
        let is_explained = outcome.status.success() || !outcome.stdout.is_empty();
        if is_explained && !outcome.stderr.is_empty() {
            // Its log is for people; nothing can be done where they cannot be reached.
            let _unheard = std::io::stderr().write_all(&outcome.stderr);
        }
        if outcome.status.success() {
            Ok(outcome)
        } else {
            Err(failure(outcome))
        }
    }

    /// All `CNI_*` variables, empty where they do not apply, so that none of ours gets through.
    fn environment(
        &self,
        command: Command,
        target: Option<&Target>,
    ) -> Vec<(&'static str, OsString)> {
        let of = |read: &dyn Fn(&Target) -> OsString| target.map(read).unwrap_or_default();
        let mut search_path = OsString::new();
        for (index, dir) in self.path.iter().enumerate() {
            search_path.push(if index == 0 { "" } else { ":" });
            search_path.push(dir);
        }
        vec![
            ("CNI_COMMAND", command.as_str().into()),
            ("CNI_CONTAINERID", of(&|t| t.container_id.as_str().into())),
            (
                "CNI_NETNS",
                of(&|t| t.netns.clone().unwrap_or_default().into()),
            ),
            ("CNI_IFNAME", of(&|t| t.ifname.as_str().into())),
            ("CNI_ARGS", of(&|t| join_args(&t.args).into())),
            ("CNI_PATH", search_path),
        ]
    }
}

fn join_args(args: &[(String, String)]) -> String {
    let pairs: Vec<_> = args.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(";")
}

/// Parses a result that says its version itself, or else is of the config's, and brings it to the
/// config's.
pub(crate) fn parse_answer(document: &Json, config: SpecVersion) -> Result<Answer, ResultError> {
    let result = CniResult::from_json(document, config)?;
    let document = match result.to_json(config) {
        // Up to 0.2.0 a result without address has no form of its own, but plugins print it.
        Err(ResultError::NoAddress) => {
            let mut document = document.clone();
            document.set("cniVersion", Json::String(config.to_string()));
            document
        }
        other => other?,
    };
    Ok(Answer { result, document })
}

fn parse(stdout: Vec<u8>) -> Result<Json, PluginCause> {
    Json::parse(&stdout).map_err(|source| PluginCause::NotJson {
        said: stdout,
        source,
    })
}

fn failure(outcome: Outcome) -> PluginCause {
    let reported = Json::parse(&outcome.stdout).and_then(|doc| doc.decode::<CniError>());
    match reported {
        Ok(error) => PluginCause::Reported(error),
        Err(_no_error) => PluginCause::Silent {
            status: outcome.status,
            said: if outcome.stdout.is_empty() {
                outcome.stderr
            } else {
                outcome.stdout
            },
        },
    }
}
