//! ADD.

use cni_netlink::Link;
use cni_plugin::{AttachmentRequest, Request, Undo};
use cni_types::{Attachment, CniError, CniResult};

use crate::apply::{Inside, Which};
use crate::config::{self, TuningConfig};
use crate::error::TuningError;
use crate::plan::{LinkValues, arrange, report};
use crate::state::{Kept, State, StateDir};

/// Tunes the attachment.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = TuningConfig::load_allowed(&request.request.config, &request.request.env.args)?;
    let result = prev_result(&request.request)?;
    let inside = Inside::open(request)?;
    if config.is_empty() {
        return Ok(result);
    }
    let Attachment { ifname, .. } = &request.attachment;
    let link = inside.find_link(ifname)?;
    let has = values_of(link.as_ref(), &config.link, &request.attachment)?;
    let sysctls = arrange(inside.find_sysctls(&config.sysctls, ifname)?)?;
    let set = config.link.differing_from(&has);
    let files = Files {
        dir: StateDir::new(config::data_dir(&request.request.config)),
        attachment: request.attachment.clone(),
    };
    let (kept, earlier) = files.earlier(&inside, link.as_ref())?;
    let mut along = inside.along(&sysctls)?;
    let own = State::of(&request.attachment, &has, set.clone(), &sysctls).with(&along);
    let mut state = earlier.followed_by(&own);
    files.replace(&kept, &state)?;
    files.put_back_on_failure(kept, &inside, own, undo);
    if let Some(link) = &link {
        inside.set_link(&link.id(), &set)?;
    }
    let has_become = inside.set_sysctls(&sysctls)?;
    let has_changed_along = inside.look_again(&mut along)?;
    if state.learn(&sysctls, has_become) || has_changed_along {
        files.write(&state.with(&along))?;
    }
    if let (Some(link), Some(mac)) = (&link, set.mac) {
        inside.announce(link, mac, &result);
    }
    let place = (ifname, request.netns.as_path());
    Ok(report(result, place, &config.link, request.request.version))
}

/// What the plugins in front have made.
pub(crate) fn prev_result(request: &Request) -> Result<CniResult, CniError> {
    Ok(request.prev_result()?.ok_or(TuningError::NoPrevResult)?)
}

/// What the interface has, which must be there if something is wanted of it.
fn values_of(
    link: Option<&Link>,
    wanted: &LinkValues,
    attachment: &Attachment,
) -> Result<LinkValues, TuningError> {
    let has = link.map(LinkValues::of).unwrap_or_default();
    if link.is_none() && !wanted.is_empty() {
        return Err(TuningError::NoLink(attachment.ifname.clone()));
    }
    if wanted.mac.is_some() && has.mac.is_none() {
        return Err(TuningError::NoMac(attachment.ifname.clone()));
    }
    Ok(has)
}

/// The attachment's state file.
#[derive(Debug, Clone)]
struct Files {
    dir: StateDir,
    attachment: Attachment,
}

impl Files {
    /// What is there, and what of it an earlier `tuning` of the same chain has kept. Anything else
    /// is left from an attachment that never saw its DEL.
    fn earlier(&self, inside: &Inside, link: Option<&Link>) -> Result<(Kept, State), CniError> {
        let path = self.dir.file(&self.attachment);
        let kept = self.dir.read(&self.attachment)?;
        let state = match &kept {
            Kept::File(text) => State::parse(text).unwrap_or_default(),
            Kept::Nothing => State::default(),
            Kept::Foreign => return Err(TuningError::ForeignFile(path).into()),
        };
        match &state.owner {
            Some(owner) if *owner == self.attachment && inside.holds(&state, link)? => {
                Ok((kept, state))
            }
            Some(owner) if !is_of_same_interface(owner, &self.attachment) => {
                let owner = owner.clone();
                Err(TuningError::StateOfAnother { path, owner }.into())
            }
            Some(_) | None => Ok((kept, State::default())),
        }
    }

    /// Writes what is to be kept before anything is changed.
    fn replace(&self, kept: &Kept, state: &State) -> Result<(), CniError> {
        if !state.is_empty() {
            return self.write(state);
        }
        match kept {
            Kept::File(_stale) => Ok(self.dir.remove(&self.attachment)?),
            Kept::Nothing | Kept::Foreign => Ok(()),
        }
    }

    fn write(&self, state: &State) -> Result<(), CniError> {
        Ok(self
            .dir
            .write(&self.attachment, state.to_text()?.as_bytes())?)
    }

    /// Has everything put back if the ADD fails. A file whose values could not be put back stays,
    /// for the DEL that follows.
    fn put_back_on_failure(&self, kept: Kept, inside: &Inside, own: State, undo: &mut Undo) {
        let (files, inside) = (self.clone(), inside.clone());
        let what = format!("put back what {} had", self.attachment.ifname);
        undo.push(what, move || {
            let Attachment { ifname, .. } = &files.attachment;
            CniError::collect(inside.put_back(ifname, &own, Which::All)?)?;
            match kept {
                Kept::File(text) => files.dir.write(&files.attachment, &text)?,
                Kept::Nothing | Kept::Foreign => files.dir.remove(&files.attachment)?,
            }
            Ok(())
        });
    }
}

/// Whether it is the same interface of the same container. Of two networks one must have left it.
fn is_of_same_interface(one: &Attachment, other: &Attachment) -> bool {
    (&one.container_id, &one.ifname) == (&other.container_id, &other.ifname)
}
