//! Requests around a config that came from anywhere.

use cni_plugin::{AttachmentRequest, Request};
use cni_types::{Attachment, Environment, Json, config};

/// The attachment that everything is asked about.
pub(crate) fn attachment() -> Attachment {
    Attachment {
        network: "pods".parse().expect("a name"),
        container_id: "c1".parse().expect("an id"),
        ifname: "eth0".parse().expect("an interface's name"),
    }
}

/// What a plugin's handler gets, if the skeleton lets the config through.
pub(crate) fn request(stdin: &[u8]) -> Option<AttachmentRequest> {
    let doc = Json::parse(stdin).ok()?;
    let network = config::network_name(&doc).ok()?;
    let version = config::version_text(&doc).ok()?.parse().ok()?;
    // The variable has its own way into a config.
    let args = doc.get("CNI_ARGS").and_then(Json::as_str);
    let env = Environment {
        args: args.unwrap_or_default().to_owned(),
        ..Environment::default()
    };
    let attachment = Attachment {
        network: network.clone(),
        ..attachment()
    };
    Some(AttachmentRequest {
        request: Request {
            env,
            stdin: stdin.into(),
            config: doc,
            network,
            version,
            deadline: None,
        },
        attachment,
        netns: "/run/netns/c1".into(),
        netns_id: None,
    })
}
