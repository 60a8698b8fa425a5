//! What DEL is to restore, in files: one for each attachment, `<dataDir>/<container>_<interface>.json`.
//!
//! The keys at the top are the reference's, with the values that the interface had before, so that
//! either implementation's DEL undoes the other's ADD. The key `tenon`, which the reference does
//! not look at, has what it does not keep: whose the file is, what was set, and the sysctls.
//!
//! ```json
//! {
//!     "mac": "02:00:00:00:00:01",
//!     "mtu": 1500,
//!     "tenon": {
//!         "network": "pods", "containerID": "c1", "ifname": "eth0",
//!         "set": { "mac": "02:00:00:00:00:77", "mtu": 1400 },
//!         "sysctl": [{ "name": "net/ipv4/ip_forward", "was": "0", "is": "1" }]
//!     }
//! }
//! ```
//!
//! A file without `tenon` is the reference's. Which network it belongs to is known to nobody, so
//! that GC leaves it alone; DEL takes it as its own, since the name is that of the attachment.

mod dir;

use cni_types::{Attachment, CniError, ErrorCode, Json, JsonError};
use serde::{Deserialize, Serialize};

pub(crate) use self::dir::{Kept, StateDir};
use crate::config::SysctlName;
use crate::plan::{LinkValues, Sysctl, is_numeric, is_same_value};

/// What is kept of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Whose it is; `None` in a file of the reference.
    pub(crate) owner: Option<Attachment>,
    /// What the interface had.
    pub(crate) was: LinkValues,
    /// What the interface was given.
    pub(crate) set: LinkValues,
    /// The sysctls, in the order in which they were written.
    pub(crate) sysctls: Vec<SavedSysctl>,
}

/// What is kept of a sysctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedSysctl {
    pub(crate) name: SysctlName,
    /// What it had; `None` where that could not be read.
    pub(crate) was: Option<String>,
    /// What it has had since, as the kernel shows it; `None` until that is known.
    pub(crate) is: Option<String>,
}

/// The values of a link as the reference writes them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinkForm {
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    promisc: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allmulti: Option<bool>,
    #[serde(rename = "txQLen", skip_serializing_if = "Option::is_none")]
    tx_queue_len: Option<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TenonForm {
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
    set: LinkForm,
    sysctl: Vec<SysctlForm>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SysctlForm {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is: Option<String>,
}

/// serde's `flatten` asks for types by trial, which [`Json`] does not do: the keys at the top are
/// read and written in two steps.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OursForm {
    tenon: Option<TenonForm>,
}

#[derive(Serialize)]
struct FileForm {
    #[serde(flatten)]
    link: LinkForm,
    #[serde(flatten)]
    ours: OursForm,
}

impl State {
    /// What an ADD has to keep: of the link what it changes, of the sysctls all, since what is right
    /// as it is may be so because another attachment has set it.
    pub(crate) fn of(
        owner: &Attachment,
        has: &LinkValues,
        set: LinkValues,
        sysctls: &[Sysctl],
    ) -> Self {
        let saved = |sysctl: &Sysctl| {
            let value = &sysctl.conf.value;
            let right = sysctl
                .there
                .as_ref()
                .filter(|has| is_same_value(has, value));
            SavedSysctl {
                name: sysctl.name.clone(),
                was: sysctl.there.clone(),
                is: right.or(is_numeric(value).then_some(value)).cloned(),
            }
        };
        Self {
            owner: Some(owner.clone()),
            was: has.where_set_in(&set),
            set,
            sysctls: sysctls.iter().map(saved).collect(),
        }
    }

    /// What there is to keep of two `tuning` in one chain: what there was before the first one, and
    /// what there is behind the second.
    pub(crate) fn followed_by(mut self, second: &Self) -> Self {
        for saved in &second.sysctls {
            match self
                .sysctls
                .iter_mut()
                .find(|first| first.name == saved.name)
            {
                Some(first) => first.is.clone_from(&saved.is),
                None => self.sysctls.push(saved.clone()),
            }
        }
        self.sysctls.sort_by_key(|saved| saved.name.rank());
        Self {
            owner: second.owner.clone(),
            was: self.was.or(&second.was),
            set: second.set.or(&self.set),
            sysctls: self.sysctls,
        }
    }

    /// The same with other sysctls that change along.
    pub(crate) fn with(&self, along: &[SavedSysctl]) -> Self {
        self.clone().followed_by(&Self {
            owner: self.owner.clone(),
            sysctls: along.to_vec(),
            ..Self::default()
        })
    }

    /// Learns what the kernel shows of sysctls after they were set; whether that is news.
    pub(crate) fn learn(&mut self, sysctls: &[Sysctl], has_become: Vec<String>) -> bool {
        let mut news = false;
        for (sysctl, has) in sysctls.iter().zip(has_become) {
            let has = Some(has);
            let same = |saved: &&mut SavedSysctl| saved.name == sysctl.name && saved.is != has;
            if let Some(saved) = self.sysctls.iter_mut().find(same) {
                saved.is = has;
                news = true;
            }
        }
        news
    }

    /// Gives the sysctls that another attachment of the container relies on to that one, together
    /// with what to restore: who goes last restores it, and until then it has to stay as it is.
    /// Returns whether the other one's state has changed.
    pub(crate) fn hand_over(&mut self, other: &mut Self) -> bool {
        let mut changed = false;
        for ours in &mut self.sysctls {
            let Some(theirs) = other
                .sysctls
                .iter_mut()
                .find(|saved| saved.name == ours.name)
            else {
                continue;
            };
            // Theirs was set on top of ours.
            if theirs.was.is_some() && theirs.was == ours.is {
                changed |= theirs.was != ours.was;
                theirs.was.clone_from(&ours.was);
                ours.is.clone_from(&theirs.is);
            }
            ours.was.clone_from(&theirs.is);
        }
        changed
    }

    /// Whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.was.is_empty() && self.sysctls.is_empty()
    }

    /// Reads a file. Single values that make no sense are left out: the rest can be restored.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let doc = Json::parse(text)?;
        let link: LinkForm = doc.decode()?;
        let ours: OursForm = doc.decode()?;
        let tenon = ours.tenon.unwrap_or_default();
        Ok(Self {
            was: link.into(),
            owner: tenon.owner(),
            set: tenon.set.into(),
            sysctls: tenon.sysctl.into_iter().filter_map(saved).collect(),
        })
    }

    /// The text of the file.
    pub(crate) fn to_text(&self) -> Result<String, CniError> {
        let tenon = self.owner.as_ref().map(|owner| TenonForm {
            network: owner.network.to_string(),
            container_id: owner.container_id.to_string(),
            ifname: owner.ifname.to_string(),
            set: (&self.set).into(),
            sysctl: self.sysctls.iter().map(SysctlForm::from).collect(),
        });
        let form = FileForm {
            link: (&self.was).into(),
            ours: OursForm { tenon },
        };
        cni_types::pretty(&form).map_err(|error| {
            CniError::new(ErrorCode::INTERNAL, "the state cannot be written as JSON")
                .with_details(error.to_string())
        })
    }

    /// The sysctl of that name.
    pub(crate) fn sysctl(&self, name: &SysctlName) -> Option<&SavedSysctl> {
        self.sysctls.iter().find(|saved| saved.name == *name)
    }
}

impl TenonForm {
    fn owner(&self) -> Option<Attachment> {
        Some(Attachment {
            network: self.network.parse().ok()?,
            container_id: self.container_id.parse().ok()?,
            ifname: self.ifname.parse().ok()?,
        })
    }
}

fn saved(form: SysctlForm) -> Option<SavedSysctl> {
    Some(SavedSysctl {
        name: SysctlName::from_path(&form.name)?,
        was: form.was,
        is: form.is,
    })
}

impl From<&SavedSysctl> for SysctlForm {
    fn from(saved: &SavedSysctl) -> Self {
        Self {
            name: saved.name.path(),
            was: saved.was.clone(),
            is: saved.is.clone(),
        }
    }
}

impl From<LinkForm> for LinkValues {
    fn from(form: LinkForm) -> Self {
        Self {
            mac: form.mac.parse().ok(),
            promisc: form.promisc,
            // The reference's "not kept".
            mtu: form.mtu.filter(|mtu| *mtu != 0),
            all_multicast: form.allmulti,
            tx_queue_len: form.tx_queue_len,
        }
    }
}

impl From<&LinkValues> for LinkForm {
    fn from(values: &LinkValues) -> Self {
        Self {
            mac: values.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            promisc: values.promisc,
            mtu: values.mtu,
            allmulti: values.all_multicast,
            tx_queue_len: values.tx_queue_len,
        }
    }
}

#[cfg(test)]
mod tests;
