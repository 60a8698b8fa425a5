//! A whole request: variables and config in, one reply out, whatever they are.

use std::collections::BTreeMap;

use cni_plugin::{
    AttachmentRequest, DelRequest, GcRequest, Host, Plugin, PluginInfo, Request, Undo,
};
use cni_types::{CniError, CniResult, Json, SpecVersion};

/// Has nothing to do, but looks at all that it is given.
struct Idle;

impl Plugin for Idle {
    const INFO: PluginInfo = PluginInfo {
        name: "idle",
        version: "1",
        supported: SpecVersion::ALL,
    };

    fn add(&self, request: &AttachmentRequest, _: &mut Undo) -> Result<CniResult, CniError> {
        let _deadline = request.request.delegate_deadline();
        Ok(request.request.prev_result()?.unwrap_or_default())
    }

    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        let _deadline = request.request.delegate_deadline();
        let _result = request.prev_result();
        Ok(())
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        request.request.prev_result().map(drop)
    }

    fn gc(&self, request: &GcRequest) -> Result<(), CniError> {
        let _deadline = request.request.delegate_deadline();
        assert!(request.valid_attachments().count() <= request.valid.len());
        Ok(())
    }

    fn status(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
}

/// Lines of `KEY=value`, an empty line, the config.
pub(super) fn skeleton(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let variables: BTreeMap<&str, &str> = head
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = cni_plugin::run(
        &Idle,
        &mut Host {
            getenv: &|name| variables.get(name).map(|&value| value.to_owned()),
            stdin: &mut body.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            deadline: None,
        },
    );
    let failed = format!("{code:?}") != format!("{:?}", std::process::ExitCode::SUCCESS);
    replied(&stdout, failed);
}

/// Nothing, or one document; after a failure an error.
fn replied(stdout: &[u8], failed: bool) {
    let reply = (!stdout.is_empty()).then(|| Json::parse(stdout).expect("one document"));
    if !failed {
        let code = reply.as_ref().and_then(|reply| reply.get("code"));
        assert_eq!(code, None, "success with an error's document");
        return;
    }
    let reply = reply.expect("a failure says why");
    assert!(
        matches!(reply.get("code"), Some(Json::Number(_))),
        "{reply}"
    );
    let msg = reply.get("msg").and_then(Json::as_str).unwrap_or_default();
    assert!(!msg.is_empty(), "{reply}");
    // The skeleton catches it, and says so.
    assert!(!msg.contains("panicked"), "{reply}");
    let version = reply.get("cniVersion").and_then(Json::as_str);
    assert!(
        version.is_some_and(|version| version.parse::<SpecVersion>().is_ok()),
        "{reply}"
    );
}
