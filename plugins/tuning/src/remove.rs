//! DEL: puts back what ADD has changed, as far as it is there.
//!
//! A value that the kernel will not take back is told on stderr and does not fail the DEL: the
//! plugins in front, whose turn comes after this one's, will take the interface away, and with an
//! error here they would never get to it.

use cni_plugin::{DelRequest, remark};
use cni_types::{Attachment, CniError};

use crate::apply::{Inside, Which};
use crate::config;
use crate::state::{Kept, State, StateDir};

/// Untunes the attachment. Of the config nothing but `dataDir` is read: it need not be valid any
/// more, and what was changed is in the state file.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let dir = StateDir::new(config::data_dir(&request.request.config));
    let attachment = &request.attachment;
    let text = match dir.read(attachment)? {
        Kept::File(text) => text,
        Kept::Foreign => return Ok(()),
        // A crash can have left it under its other name.
        Kept::Nothing => return Ok(dir.remove(attachment)?),
    };
    // What makes no sense says nothing of what to restore.
    let mut state = State::parse(&text).unwrap_or_default();
    if state
        .owner
        .as_ref()
        .is_some_and(|owner| owner != attachment)
    {
        return Ok(());
    }
    if let Some(inside) = Inside::open_if_there(request)? {
        hand_over(&dir, attachment, &mut state)?;
        for error in inside.put_back(&attachment.ifname, &state, Which::Untouched)? {
            remark(format_args!("not restored: {error}"));
        }
    }
    Ok(dir.remove(attachment)?)
}

/// Sysctls of the whole namespace can be other attachments' of the container as well. Their files
/// are only looked for if there is one.
fn hand_over(dir: &StateDir, attachment: &Attachment, state: &mut State) -> Result<(), CniError> {
    let own = Some(attachment.ifname.as_str());
    if state
        .sysctls
        .iter()
        .all(|saved| saved.name.interface() == own)
    {
        return Ok(());
    }
    let prefix = format!("{}_", attachment.container_id);
    for (other, mut theirs) in dir.owned(&prefix)? {
        let is_of_same_container = other.container_id == attachment.container_id;
        if is_of_same_container && other.ifname != attachment.ifname && state.hand_over(&mut theirs)
        {
            dir.write(&other, theirs.to_text()?.as_bytes())?;
        }
    }
    Ok(())
}
