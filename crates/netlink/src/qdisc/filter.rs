//! The filters of what a link receives, and the one that redirects all of it to another link.

use std::fmt;

use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMirror,
    TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use nix::libc;

use super::{CREATE, HEADER, Hook, TCA_KIND, TCA_OPTIONS, body, header, message};
use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, text_of, u32_at};
use crate::link::LinkId;
use crate::socket::{Query, Socket};

const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
/// Where in `struct tc_mirred` it says what is done with a packet.
const MIRRED_ACTION: usize = 20;
/// Where in `struct tc_mirred` the other link stands.
const MIRRED_INDEX: usize = 24;
/// `TCA_EGRESS_REDIR`: the other link sends the packet.
const EGRESS_REDIRECT: u32 = 1;
/// Bytes of `struct tc_u32_sel` without its keys, and where the number of these stands.
const SELECTOR: usize = 16;
const SELECTOR_KEYS: usize = 2;
/// Bytes of `struct tc_u32_key`.
const KEY: usize = 16;

/// The priority of the filter that [`add_redirect`] makes: before every other one.
const PRIORITY: u16 = 1;
/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

/// A filter of what a link receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `u32`, `matchall`, `flower`, ...
    pub kind: String,
    /// Lower ones are asked first.
    pub priority: u16,
    /// The index of the link that it redirects to; 0 if that is gone, and with it all that comes
    /// this way.
    pub redirects_to: Option<u32>,
    /// It is asked about every packet, and matches it.
    pub takes_all: bool,
    handle: u32,
    protocol: u16,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pref {}", self.kind, self.priority)
    }
}

/// Hands all that `from` receives to `to`, as if `to` had to send it; from there it comes back and
/// goes its way, if `to` is an IFB. `from` needs its [ingress qdisc](super::add_ingress).
#[must_use]
pub fn add_redirect(from: &LinkId, to: &LinkId) -> Change {
    let mut message = message(
        from,
        TcHandle::UNSPEC,
        Hook::Ingress.handle(),
        TcFilterU32::KIND,
    );
    message.header.info = info(PRIORITY, ALL_PROTOCOLS.to_be());
    let options = [
        TcFilterU32Option::Selector(any_packet()),
        // Without one the kernel asks the next filter although this one matches.
        TcFilterU32Option::ClassId(TcHandle { major: 1, minor: 1 }),
        TcFilterU32Option::Action(vec![redirect(to)]),
    ];
    let options = options.into_iter().map(TcOption::U32).collect();
    message.attributes.push(TcAttribute::Options(options));
    let subject = format!("from {from} to {to}");
    Change::new(
        Op::AddFilter,
        subject,
        libc::RTM_NEWTFILTER,
        CREATE,
        &message,
    )
}

/// Takes one filter away.
#[must_use]
pub fn delete_filter(link: &LinkId, filter: &Filter) -> Change {
    let handle = TcHandle::from(filter.handle);
    let mut message = message(link, handle, Hook::Ingress.handle(), &filter.kind);
    message.header.info = info(filter.priority, filter.protocol);
    let subject = format!("{filter} of {link}");
    Change::new(Op::DeleteFilter, subject, libc::RTM_DELTFILTER, 0, &message)
}

/// `tcm_info`: the priority, and the protocol in network byte order.
fn info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol)
}

/// One key, under whose mask nothing is left to differ.
fn any_packet() -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    selector
}

fn redirect(to: &LinkId) -> TcAction {
    let mut parms = TcMirror::default();
    parms.generic.action = TcActionType::Stolen;
    parms.eaction = TcMirrorActionType::EgressRedir;
    parms.ifindex = to.index;
    let options = vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(parms))];
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(options),
    ];
    action
}

impl Socket {
    /// The filters of what a link receives. A link without an ingress qdisc has none, and neither
    /// has one that is gone.
    ///
    /// # Errors
    /// The kernel does not answer, or the filters kept changing.
    pub fn ingress_filters(&self, link: &LinkId) -> Result<Vec<Filter>, NetlinkError> {
        let query = Query {
            op: Op::ListFilters,
            subject: link,
            kind: libc::RTM_GETTFILTER,
            body: &body(header(link, TcHandle::UNSPEC, Hook::Ingress.handle())),
        };
        match self.dump(&query, |frame, all| all.extend(parse(frame))) {
            Err(error) if error.is_gone() => Ok(Vec::new()),
            listed => listed,
        }
    }
}

/// Reads an `RTM_NEWTFILTER`; anything else gives `None`, and so does what the kernel lists besides
/// the filters: their chain, and the hash tables of `u32`.
pub(crate) fn parse(frame: Frame<'_>) -> Option<Filter> {
    if frame.kind != libc::RTM_NEWTFILTER {
        return None;
    }
    let info = u32_at(frame.payload, 16)?;
    let [low, high, priority @ ..] = info.to_le_bytes();
    let mut filter = Filter {
        kind: String::new(),
        priority: u16::from_le_bytes(priority),
        redirects_to: None,
        takes_all: false,
        handle: u32_at(frame.payload, 8)?,
        protocol: u16::from_le_bytes([low, high]),
    };
    let mut options = None;
    for (kind, value) in Attrs::new(frame.payload.get(HEADER..)?) {
        match kind {
            TCA_KIND => filter.kind = text_of(value),
            TCA_OPTIONS => options = Some(value),
            _ => {}
        }
    }
    if filter.kind == TcFilterU32::KIND {
        filter.take_u32(options?)?;
    }
    (filter.handle != 0).then_some(filter)
}

impl Filter {
    /// Reads the options of a `u32` filter. `None` is one of its hash tables, which selects nothing.
    fn take_u32(&mut self, options: &[u8]) -> Option<()> {
        let mut selects_all = None;
        for (kind, value) in Attrs::new(options) {
            match kind {
                TCA_U32_SEL => selects_all = Some(is_any_packet(value)),
                TCA_U32_ACT => {
                    self.redirects_to = Attrs::new(value).find_map(|(_, one)| redirection(one));
                }
                _ => {}
            }
        }
        self.takes_all = selects_all? && self.protocol == ALL_PROTOCOLS.to_be();
        Some(())
    }
}

/// Whether no key of a selector has a bit in its mask.
fn is_any_packet(selector: &[u8]) -> bool {
    let count = selector
        .get(SELECTOR_KEYS)
        .map_or(0, |count| usize::from(*count));
    let keys = selector
        .get(SELECTOR..)
        .unwrap_or_default()
        .chunks_exact(KEY);
    keys.len() == count && keys.into_iter().all(|key| u32_at(key, 0) == Some(0))
}

/// Where an action redirects to.
fn redirection(action: &[u8]) -> Option<u32> {
    let find = |wanted: u16, bytes| Attrs::new(bytes).find(|(kind, _)| *kind == wanted);
    let (_, kind) = find(TCA_ACT_KIND, action)?;
    if text_of(kind) != TcActionMirror::KIND {
        return None;
    }
    let (_, options) = find(TCA_ACT_OPTIONS, action)?;
    let (_, parms) = find(TCA_MIRRED_PARMS, options)?;
    (u32_at(parms, MIRRED_ACTION) == Some(EGRESS_REDIRECT)).then(|| u32_at(parms, MIRRED_INDEX))?
}

#[cfg(test)]
mod tests {
    use super::super::tests::attr;
    use super::*;

    fn links() -> (LinkId, LinkId) {
        (LinkId::new(2, "vethh"), LinkId::new(3, "bwp0"))
    }

    fn read(payload: &[u8]) -> Option<Filter> {
        parse(Frame {
            kind: libc::RTM_NEWTFILTER,
            flags: 0,
            seq: 1,
            payload,
        })
    }

    const NESTED: u16 = 0x8000;

    fn mirred(verdict: u32, action: u32) -> Vec<u8> {
        let numbers = [0, 0, verdict, 0, 0, action, 3];
        let parms: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        let options = attr(NESTED | TCA_ACT_OPTIONS, &attr(TCA_MIRRED_PARMS, &parms));
        [attr(TCA_ACT_KIND, b"mirred\0"), options].concat()
    }

    /// `struct tcmsg` of a filter of link 2 and what follows.
    fn filter_message(handle: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let info = 1 << 16 | u32::from(3_u16.to_be());
        let numbers = [0, 2, handle, 0xffff_0000, info];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(attr(TCA_KIND, b"u32\0"));
        bytes.extend(attr(TCA_OPTIONS, &options.concat()));
        bytes
    }

    fn selector() -> Vec<u8> {
        let mut selector = vec![0; SELECTOR + KEY];
        selector[0] = 1;
        selector[SELECTOR_KEYS] = 1;
        selector
    }

    /// Recorded from the reference plugin 1.1.1 with strace, but for its second action, which would do
    /// the same again and which no packet comes to, and for the mark of nested attributes.
    #[test]
    fn the_request_is_what_the_reference_sends() {
        let (from, to) = links();
        let change = add_redirect(&from, &to);
        let expected = filter_message(
            0,
            &[
                attr(TCA_U32_SEL, &selector()),
                attr(1, &0x0001_0001_u32.to_ne_bytes()),
                attr(TCA_U32_ACT, &attr(1, &mirred(4, 1))),
            ],
        );
        assert_eq!(change.body, expected);
        assert_eq!(change.to_string(), "create filter from vethh to bwp0");
    }

    #[test]
    fn a_redirection_is_read_and_can_be_deleted() {
        let selector = attr(TCA_U32_SEL, &selector());
        let action = attr(
            TCA_U32_ACT,
            &[attr(1, &mirred(4, 1)), attr(2, &mirred(0, 1))].concat(),
        );
        let filter = read(&filter_message(0x8000_0800, &[selector, action])).unwrap();
        assert_eq!((filter.redirects_to, filter.takes_all), (Some(3), true));
        assert_eq!(filter.to_string(), "u32 pref 1");
        let deletion = delete_filter(&links().0, &filter);
        let expected = filter_message(0x8000_0800, &[]);
        assert_eq!(deletion.body, expected[..expected.len() - 4], "no options");
    }

    #[test]
    fn other_filters_redirect_nothing() {
        let narrow = {
            let mut selector = selector();
            selector[SELECTOR] = 0xff;
            attr(TCA_U32_SEL, &selector)
        };
        let mirror = attr(TCA_U32_ACT, &attr(1, &mirred(3, 2)));
        let filter = read(&filter_message(0x8000_0800, &[narrow, mirror])).unwrap();
        assert_eq!((filter.redirects_to, filter.takes_all), (None, false));
        let table = attr(4, &1_u32.to_ne_bytes());
        assert_eq!(
            read(&filter_message(0x8000_0000, &[table])),
            None,
            "a hash table"
        );
        assert_eq!(read(&filter_message(0, &[])), None, "the chain");
        assert_eq!(read(&[0; 19]), None);
    }
}
