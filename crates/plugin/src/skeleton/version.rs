//! Which versions a plugin speaks, and whether a request is in one of them.

use cni_types::config;
use cni_types::{CniError, Command, ErrorCode, Json, SpecVersion, parse_numbers};

use super::PluginInfo;

/// What a plugin says that is run without a command.
pub(super) fn about(info: PluginInfo) -> String {
    format!(
        "CNI {} plugin v{} (Tenon)\nCNI protocol versions supported: {}\n",
        info.name,
        info.version,
        list(info.supported, ", ")
    )
}

fn list(versions: &[SpecVersion], separator: &str) -> String {
    let texts: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
    texts.join(separator)
}

/// The answer to VERSION.
pub(super) fn version_reply(info: PluginInfo) -> String {
    let supported: Vec<&str> = info
        .supported
        .iter()
        .map(|version| version.as_str())
        .collect();
    let reply = serde_json::json!({
        "cniVersion": SpecVersion::LATEST.as_str(),
        "supportedVersions": supported,
    });
    format!("{reply}\n")
}

/// Which version the request is in, if the command exists in it.
pub(super) fn negotiate(
    info: PluginInfo,
    command: Command,
    config: &Json,
) -> Result<SpecVersion, CniError> {
    let text = config::version_text(config)?;
    let since = match command {
        Command::Check => Some(SpecVersion::V0_4_0),
        Command::Gc | Command::Status => Some(SpecVersion::V1_1_0),
        Command::Add | Command::Del | Command::Version => None,
    };
    if let Some(since) = since {
        check_command_exists(info, command, text, since)?;
    }
    text.parse()
        .ok()
        .filter(|version| info.supported.contains(version))
        .ok_or_else(|| {
            let details = format!(
                "config is {text:?}, plugin supports [{}]",
                list(info.supported, " ")
            );
            CniError::new(ErrorCode::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(details)
        })
}

fn check_command_exists(
    info: PluginInfo,
    command: Command,
    text: &str,
    since: SpecVersion,
) -> Result<(), CniError> {
    let numbers = parse_numbers(text).ok_or_else(|| {
        CniError::new(
            ErrorCode::DECODE,
            format!("cniVersion: {text:?} is not a version"),
        )
    })?;
    let refuse = |who: &str| {
        let msg = format!("{who} version does not allow {command}");
        let details = format!(
            "{command} exists since {since}; config is {text:?}, plugin supports [{}]",
            list(info.supported, " ")
        );
        Err(CniError::new(ErrorCode::INCOMPATIBLE_VERSION, msg).with_details(details))
    };
    if Some(numbers) < parse_numbers(since.as_str()) {
        return refuse("config");
    }
    let newest = info
        .supported
        .last()
        .and_then(|newest| parse_numbers(newest.as_str()));
    if newest < Some(numbers) {
        return refuse("plugin");
    }
    Ok(())
}
