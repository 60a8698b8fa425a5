//! From the process's start to its one reply.

mod version;

use std::fs::Metadata;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use cni_local::netns;
use cni_types::config;
use cni_types::{
    Attachment, CniError, CniResult, Command, Environment, ErrorCode, Json, Names, SpecVersion,
};
use nix::sys::stat::{Mode, umask};
use serde::Serialize;

use self::version::{about, negotiate, version_reply};
use crate::{AttachmentRequest, Deadline, DelRequest, GcRequest, Request, Undo, remark};

/// No config is larger than this; a GC of 100,000 attachments takes a fifth of it.
const STDIN_LIMIT: u64 = 64 << 20;

/// What a plugin says of itself.
#[derive(Debug, Clone, Copy)]
pub struct PluginInfo {
    /// The CNI type, which is the name of its binary.
    pub name: &'static str,
    /// Its own version.
    pub version: &'static str,
    /// The versions of the specification it supports, oldest first.
    pub supported: &'static [SpecVersion],
}

/// A plugin: one method for each command.
pub trait Plugin {
    /// What it says of itself.
    const INFO: PluginInfo;

    /// Brings a config of old into a form that the specification has, before anything is read out
    /// of it. Delegates get it as it came.
    fn modernise(&self, _config: &mut Json) {}

    /// Makes the attachment, and registers with `undo` how each step is taken back.
    ///
    /// # Errors
    /// What the runtime gets to read. Everything done so far is then undone.
    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError>;

    /// Removes what can be removed; what is gone already is fine.
    ///
    /// # Errors
    /// What could not be removed.
    fn del(&self, request: &DelRequest) -> Result<(), CniError>;

    /// Compares the attachment with what ADD made.
    ///
    /// # Errors
    /// What is missing or different.
    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError>;

    /// Removes what is ours in this network and belongs to no valid attachment.
    ///
    /// # Errors
    /// What could not be removed.
    fn gc(&self, request: &GcRequest) -> Result<(), CniError>;

    /// Tells whether an ADD would work.
    ///
    /// # Errors
    /// Codes 50 and 51.
    fn status(&self, request: &Request) -> Result<(), CniError>;
}

/// The world outside, so that the skeleton can be tested without a process.
#[expect(
    missing_debug_implementations,
    reason = "closures and streams have nothing to show"
)]
pub struct Host<'a> {
    /// Looks up a variable.
    pub getenv: &'a dyn Fn(&str) -> Option<String>,
    /// The config comes from here.
    pub stdin: &'a mut dyn Read,
    /// The reply goes here.
    pub stdout: &'a mut dyn Write,
    /// What people may read goes here.
    pub stderr: &'a mut dyn Write,
    /// By when whoever runs the plugin in its own process wants the reply; nobody is there to kill it.
    pub deadline: Option<Deadline>,
}

/// The whole `main` of a plugin whose binary has other uses too; others have [`entry!`](crate::entry).
pub fn main<P: Plugin>(plugin: &P) -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == "--version" || arg == "-V")
    {
        return tell_version::<P>();
    }
    serve_environment(plugin)
}

pub(crate) fn tell_version<P: Plugin>() -> ExitCode {
    let text = format!("Tenon {} {}\n", P::INFO.name, P::INFO.version);
    write_all(&mut Stdout, &text)
}

/// Serves the request in the process's environment.
pub(crate) fn serve_environment<P: Plugin>(plugin: &P) -> ExitCode {
    tighten_umask();
    let mut host = Host {
        getenv: &getenv,
        stdin: &mut io::stdin().lock(),
        stdout: &mut Stdout,
        stderr: &mut io::stderr(),
        deadline: None,
    };
    run(plugin, &mut host)
}

/// Whatever umask a runtime leaves us: of what we make, and our delegates, others can write nothing, and
/// we can read it again. A umask that keeps others out altogether stays.
fn tighten_umask() {
    let not_for_others = Mode::S_IWGRP | Mode::S_IWOTH;
    let inherited = umask(not_for_others) & (Mode::S_IRWXG | Mode::S_IRWXO);
    if !not_for_others.contains(inherited) {
        umask(inherited | not_for_others);
    }
}

/// A variable of the process's environment.
pub(crate) fn getenv(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The reply in one write(2). The standard library's stdout keeps what it could not write and tries
/// again when the process ends: a success could follow an ADD that was undone for want of a reader.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves one request and writes one reply.
pub fn run<P: Plugin>(plugin: &P, host: &mut Host<'_>) -> ExitCode {
    let env = Environment::read(host.getenv);
    if env.command.is_empty() {
        return write_all(host.stderr, &about(P::INFO));
    }
    let mut undo = Undo::new();
    let served = catch_unwind(AssertUnwindSafe(|| serve(plugin, &env, host, &mut undo)));
    let served = served.unwrap_or_else(|_payload| Err(Failure::unversioned(panicked())));
    match served {
        Ok(text) => {
            let written = write_all(host.stdout, &text);
            if written == ExitCode::SUCCESS {
                undo.commit();
            }
            written
        }
        Err(failure) => {
            let mut error = undo.fail(failure.error);
            for text in [&mut error.msg, &mut error.details] {
                shorten(text);
            }
            let reply = ErrorReply {
                cni_version: failure.version.as_str(),
                error: &error,
            };
            write_all(host.stdout, &reply.to_text());
            ExitCode::FAILURE
        }
    }
}

/// An error and the version it is told in.
struct Failure {
    version: SpecVersion,
    error: CniError,
}

impl Failure {
    fn unversioned(error: CniError) -> Self {
        Self {
            version: SpecVersion::LATEST,
            error,
        }
    }
}

/// The error document: the specification's keys, indented by four spaces, no newline at the end.
#[derive(Serialize)]
struct ErrorReply<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    #[serde(flatten)]
    error: &'a CniError,
}

impl ErrorReply<'_> {
    fn to_text(&self) -> String {
        cni_types::pretty(self)
            .unwrap_or_else(|_never| r#"{"code": 999, "msg": "unprintable error"}"#.to_owned())
    }
}

/// Errors repeat what configs, drivers and delegates say. Nobody reads more than this in a log, where
/// every attempt of the runtime writes it again.
fn shorten(text: &mut String) {
    const LONGEST: usize = 4096;
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
}

fn panicked() -> CniError {
    CniError::new(ErrorCode::INTERNAL, "internal error: the plugin panicked")
        .with_details("its message and place are on stderr; please report it")
}

fn write_all(to: &mut dyn Write, text: &str) -> ExitCode {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            remark(format_args!("could not write the reply: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The steps of the reference's skeleton, in its order: environment, VERSION, stdin, the network's
/// name, the command, the versions; then the namespace; then the handler.
fn serve<P: Plugin>(
    plugin: &P,
    env: &Environment,
    host: &mut Host<'_>,
    undo: &mut Undo,
) -> Result<String, Failure> {
    let names = env.check().map_err(Failure::unversioned)?;
    if Command::parse(&env.command) == Some(Command::Version) {
        return Ok(version_reply(P::INFO));
    }
    let stdin = read_config(host.stdin).map_err(Failure::unversioned)?;
    let mut config = parse_config(&stdin).map_err(Failure::unversioned)?;
    plugin.modernise(&mut config);
    let network = config::network_name(&config).map_err(Failure::unversioned)?;
    let command = env.command().map_err(Failure::unversioned)?;
    let version = negotiate(P::INFO, command, &config).map_err(Failure::unversioned)?;
    let request = Request {
        env: env.clone(),
        stdin: stdin.into(),
        config,
        network,
        version,
        deadline: host.deadline,
    };
    dispatch(plugin, command, names, request, undo).map_err(|error| Failure { version, error })
}

fn read_config(stdin: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let mut bytes = Vec::with_capacity(4096);
    let io_error = |msg: String| CniError::new(ErrorCode::IO, msg);
    stdin
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io_error(format!("error reading from stdin: {error}")))?;
    if bytes.len() as u64 > STDIN_LIMIT {
        return Err(io_error(format!(
            "error reading from stdin: more than {} MiB",
            STDIN_LIMIT >> 20
        )));
    }
    Ok(bytes)
}

/// One JSON object. `null` is none either, but Go takes it for an empty one.
fn parse_config(stdin: &[u8]) -> Result<Json, CniError> {
    let not_a_config = |why: &dyn std::fmt::Display| {
        CniError::new(
            ErrorCode::DECODE,
            format!("error unmarshall network config: {why}"),
        )
    };
    match Json::parse(stdin).map_err(|error| not_a_config(&error))? {
        config @ (Json::Object(_) | Json::Null) => Ok(config),
        _ => Err(not_a_config(&"it is not a JSON object")),
    }
}

fn dispatch<P: Plugin>(
    plugin: &P,
    command: Command,
    names: Option<Names>,
    request: Request,
    undo: &mut Undo,
) -> Result<String, CniError> {
    if let Some(Names {
        container_id,
        ifname,
    }) = names
    {
        let attachment = Attachment {
            network: request.network.clone(),
            container_id,
            ifname,
        };
        // Who runs a plugin in its own process has looked already.
        let netns_id = match request.deadline {
            None => refuse_own_netns(command, &request.env)?,
            Some(_) => None,
        };
        return dispatch_attachment(plugin, command, (request, netns_id), attachment, undo);
    }
    if command == Command::Gc {
        let valid = config::valid_attachments(&request.config)?;
        plugin.gc(&GcRequest { request, valid })?;
    } else {
        plugin.status(&request)?;
    }
    Ok(String::new())
}

fn dispatch_attachment<P: Plugin>(
    plugin: &P,
    command: Command,
    (request, netns_id): (Request, Option<(u64, u64)>),
    attachment: Attachment,
    undo: &mut Undo,
) -> Result<String, CniError> {
    let netns = PathBuf::from(&request.env.netns);
    if command == Command::Del {
        let netns = (!request.env.netns.is_empty()).then_some(netns);
        plugin.del(&DelRequest {
            request,
            attachment,
            netns,
            netns_id,
        })?;
        return Ok(String::new());
    }
    let version = request.version;
    let request = AttachmentRequest {
        request,
        attachment,
        netns,
        netns_id,
    };
    if command == Command::Check {
        plugin.check(&request)?;
        return Ok(String::new());
    }
    let result = plugin.add(&request, undo)?;
    Ok(result.to_text(version)?)
}

/// A container's namespace that is the plugin's own is a mistake of the caller, and acting on it
/// would take the host's interfaces for the container's. The reference finds out after it has
/// acted. Answers which one it is, as nobody may act on another one afterwards.
fn refuse_own_netns(command: Command, env: &Environment) -> Result<Option<(u64, u64)>, CniError> {
    /// No file has this device and inode.
    const NOTHING: (u64, u64) = (0, 0);
    if env.netns.is_empty() || env.overrides_netns_check() {
        return Ok(None);
    }
    let identity = |file: Metadata| (file.dev(), file.ino());
    let own = || netns::current()?.metadata();
    let theirs = match std::fs::metadata(&env.netns) {
        // It is there and cannot be told from others. A DEL goes on with what is outside of it.
        Err(error) if command != Command::Del && error.kind() != ErrorKind::NotFound => {
            let msg = format!("failed to open netns {:?}", env.netns);
            let error =
                CniError::new(ErrorCode::INVALID_NETNS, msg).with_details(error.to_string());
            return Err(error);
        }
        found => found.ok().map(identity),
    };
    if theirs.is_some() && theirs == own().ok().map(identity) {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(
            CniError::new(ErrorCode::INVALID_NETNS, msg).with_details(format!(
                "CNI_NETNS is {}; CNI_NETNS_OVERRIDE=1 turns this check off",
                env.netns
            )),
        );
    }
    Ok(Some(theirs.unwrap_or(NOTHING)))
}

#[cfg(test)]
mod tests;
