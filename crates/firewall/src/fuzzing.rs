//! What `tests/fuzz` calls: everything that is read out of what the kernel sends, and out of what
//! `iptables-save` prints.

use cni_types::{Attachment, IpCidr};

use crate::conntrack::Connection;
use crate::nfnetlink::{Attributes, Frames, Reply};
use crate::{iptables, nft, owner};

/// A datagram, as one is received.
pub fn datagram(bytes: &[u8]) {
    let mut read = 0;
    for frame in Frames(bytes).flatten() {
        read += frame.payload.len();
        let _interrupted = frame.interrupted();
        if let Ok(Reply::Object(bytes)) = frame.reply() {
            object(bytes);
        }
    }
    assert!(read <= bytes.len(), "read {read} of {} bytes", bytes.len());
}

/// The attributes of one object, taken for each kind of object there is.
pub fn object(bytes: &[u8]) {
    nft::read_as_everything(bytes);
    let _no_panic = Connection::read(Attributes(bytes));
}

/// The comment of an object: whose it is.
pub fn comment(text: &str, attachment: &Attachment) {
    if let Some(tag) = owner::Tag::parse(text) {
        assert!(text.starts_with(&tag.to_string()), "{text:?} is {tag}");
    }
    let _no_panic = owner::is_of_attachment(Some(text), attachment);
    let _no_panic = owner::is_stale(Some(text), &attachment.network, &[]);
    let made = owner::comment(attachment);
    assert!(owner::is_of_attachment(Some(&made), attachment), "{made:?}");
}

/// A table as `iptables-save` prints it, whoever wrote the rules in it.
pub fn saved_table(text: &str, attachment: &Attachment, address: IpCidr) {
    let family = iptables::Family::of(&address);
    let added = iptables::restore_for_add(attachment, &[address], family, text);
    let removed = iptables::restore_for_remove(attachment, None, text);
    for restored in [added, removed].into_iter().flatten() {
        assert!(restored.starts_with("*nat\n") && restored.ends_with("COMMIT\n"));
    }
    iptables::hostports::read_saved(text, &attachment.network);
    iptables::forward::read_saved(text, address.addr());
}
