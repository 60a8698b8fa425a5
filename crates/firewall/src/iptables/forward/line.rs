//! Rules of the filter table, read from `nf_tables` or from what `iptables-save` prints, and written
//! for `iptables-restore`.

use std::net::IpAddr;

use cni_types::IpCidr;

use super::super::text::quote;
use crate::nft::{Expr, Header, Meta, Register, Relation, Rule, Verdict};

/// Where the kernel begins with what it forwards.
pub(crate) const KERNEL_FORWARD: &str = "FORWARD";
/// The containers' accepts.
pub(super) const FORWARD: &str = "CNI-FORWARD";
/// Tells which bridges have an ingress policy.
pub(super) const STAGE_ONE: &str = "CNI-ISOLATION-STAGE-1";
/// What leaves one of them must not enter another.
pub(super) const STAGE_TWO: &str = "CNI-ISOLATION-STAGE-2";

const FORWARD_COMMENT: &str = "CNI firewall plugin rules";
const ADMIN_COMMENT: &str = "CNI firewall plugin admin overrides";
/// All comments of the ingress policies begin so. The reference has three of them.
const POLICY_COMMENT: &str = "CNI firewall plugin rules (ingressPolicy: ";

/// What a rule is, as far as we make such rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `-d ADDRESS -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`
    Answers(IpAddr),
    /// `-s ADDRESS -j ACCEPT`
    From(IpAddr),
    /// `-i BRIDGE ! -o BRIDGE -j CNI-ISOLATION-STAGE-2`
    Leaving(String),
    /// `-i BRIDGE -o BRIDGE -j DROP`
    Inside(String),
    /// `-o BRIDGE -j DROP`
    Entering(String),
    /// `-j RETURN`
    Return,
    /// `-j CHAIN`
    Jump(String),
    /// Anything else.
    Other,
}

/// How a rule is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// By its handle in `nf_tables`.
    Handle(u64),
    /// By its text, without the chain.
    Text(String),
}

/// A rule and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) chain: String,
    pub(super) kind: Kind,
    pub(super) comment: Option<String>,
    /// The chain that it jumps to, whatever else it does.
    pub(super) target: Option<String>,
    pub(super) name: Name,
}

impl Kind {
    /// The rule as `iptables-save` prints it behind the chain.
    pub(super) fn text(&self) -> String {
        let host = |address: &IpAddr| IpCidr::host(*address);
        let comment = |text: &str| format!("-m comment --comment {}", quote(text));
        let same_bridge = comment("CNI firewall plugin rules (ingressPolicy: same-bridge)");
        match self {
            Self::Answers(address) => format!(
                "-d {} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                host(address)
            ),
            Self::From(address) => format!("-s {} -j ACCEPT", host(address)),
            Self::Leaving(bridge) => {
                format!("-i {bridge} ! -o {bridge} {same_bridge} -j {STAGE_TWO}")
            }
            Self::Inside(bridge) => {
                let isolated = comment("CNI firewall plugin rules (ingressPolicy: isolated)");
                format!("-i {bridge} -o {bridge} {isolated} -j DROP")
            }
            Self::Entering(bridge) => format!("-o {bridge} {same_bridge} -j DROP"),
            Self::Return => format!("{same_bridge} -j RETURN"),
            Self::Jump(chain) if chain == FORWARD => {
                format!("{} -j {chain}", comment(FORWARD_COMMENT))
            }
            Self::Jump(chain) if chain == STAGE_ONE => format!("{same_bridge} -j {chain}"),
            Self::Jump(admin) => format!("{} -j {admin}", comment(ADMIN_COMMENT)),
            Self::Other => String::new(),
        }
    }

    /// Whether a rule of this kind with this comment is one that we, or the reference, make.
    fn is_made_with(&self, comment: Option<&str>) -> bool {
        match self {
            Self::Answers(_) | Self::From(_) => comment.is_none(),
            Self::Jump(chain) if chain == FORWARD => comment == Some(FORWARD_COMMENT),
            Self::Jump(chain) if chain != STAGE_ONE => comment == Some(ADMIN_COMMENT),
            Self::Other => false,
            _ => comment.is_some_and(|comment| comment.starts_with(POLICY_COMMENT)),
        }
    }
}

impl Line {
    /// Whether we, or the reference, have made it.
    pub(super) fn is_made(&self) -> bool {
        self.kind.is_made_with(self.comment.as_deref())
    }

    /// Reads a rule of `nf_tables`, in the expressions that iptables makes.
    pub(super) fn of_rule(rule: &Rule) -> Self {
        let mut parts = Parts {
            comment: rule.comment.clone(),
            ..Parts::default()
        };
        let mut loaded = None;
        for expr in &rule.expressions {
            parts.take(expr, &mut loaded);
        }
        parts.unknown |= loaded.is_some();
        parts.into_line(rule.chain.clone(), Name::Handle(rule.handle))
    }

    /// Reads a line of `iptables-save`; `None` if it is no rule.
    pub(super) fn of_text(line: &str) -> Option<Self> {
        let (chain, text) = line.strip_prefix("-A ")?.split_once(' ')?;
        let parts = Parts::of_words(&words(text));
        Some(parts.into_line(chain.to_owned(), Name::Text(text.to_owned())))
    }
}

/// An interface, and whether it has to be this one or any other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    is: bool,
}

/// What a rule matches and does, in whatever order it was written.
#[derive(Debug, Default)]
struct Parts {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    input: Option<Interface>,
    output: Option<Interface>,
    answers: bool,
    comment: Option<String>,
    verdict: Option<Verdict>,
    /// There is something that none of our rules has.
    unknown: bool,
}

/// What the first register holds.
#[derive(Debug, Clone, Copy)]
enum Loaded {
    Source,
    Destination,
    Input,
    Output,
}

impl Parts {
    fn take(&mut self, expr: &Expr, loaded: &mut Option<Loaded>) {
        match expr {
            Expr::Payload {
                header: Header::Network,
                offset,
                length: 4 | 16,
                register: Register::FIRST,
            } => {
                *loaded = match offset {
                    8 | 12 => Some(Loaded::Source),
                    16 | 24 => Some(Loaded::Destination),
                    _ => return self.unknown = true,
                }
            }
            Expr::Meta(Meta::InputName, Register::FIRST) => *loaded = Some(Loaded::Input),
            Expr::Meta(Meta::OutputName, Register::FIRST) => *loaded = Some(Loaded::Output),
            Expr::Compare { relation, bytes } => match loaded.take() {
                Some(loaded) => self.compare(loaded, *relation, bytes),
                None => self.unknown = true,
            },
            Expr::Match { name, info, .. } if name == "comment" => {
                self.comment = Some(until_zero(info));
            }
            Expr::Match { name, info, .. } if name == "conntrack" && is_for_answers(info) => {
                self.answers = true;
            }
            Expr::Verdict(verdict) => self.verdict = Some(verdict.clone()),
            Expr::Counter => {}
            _ => self.unknown = true,
        }
    }

    fn compare(&mut self, loaded: Loaded, relation: Relation, bytes: &[u8]) {
        let is = relation == Relation::Equal;
        let interface = || Interface {
            name: until_zero(bytes),
            is,
        };
        let address = || match bytes.len() {
            4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
            16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
            _ => None,
        };
        match loaded {
            Loaded::Source if is => self.source = address(),
            Loaded::Destination if is => self.destination = address(),
            // A name without its zero is the beginning of one: `br+`.
            Loaded::Input if bytes.ends_with(&[0]) => self.input = Some(interface()),
            Loaded::Output if bytes.ends_with(&[0]) => self.output = Some(interface()),
            _ => self.unknown = true,
        }
    }

    fn of_words(words: &[String]) -> Self {
        let mut parts = Self::default();
        let mut words = words.iter().map(String::as_str);
        let mut is = true;
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word {
                "!" => {
                    is = false;
                    continue;
                }
                "-i" | "-o" => {
                    let name = value().to_owned();
                    parts.unknown |= name.ends_with('+');
                    let interface = Some(Interface { name, is });
                    if word == "-i" {
                        parts.input = interface;
                    } else {
                        parts.output = interface;
                    }
                    is = true;
                }
                "-s" => parts.source = parts.host(value()),
                "-d" => parts.destination = parts.host(value()),
                "-m" => parts.unknown |= !matches!(value(), "comment" | "conntrack"),
                "--comment" => parts.comment = Some(value().to_owned()),
                "--ctstate" if is => {
                    parts.answers = true;
                    parts.unknown |= value() != "RELATED,ESTABLISHED";
                }
                "-j" => parts.verdict = Some(verdict(value())),
                "-g" => parts.verdict = Some(Verdict::Goto(value().to_owned())),
                _ => parts.unknown = true,
            }
            parts.unknown |= !is;
        }
        parts
    }

    fn host(&mut self, text: &str) -> Option<IpAddr> {
        let host = text
            .parse::<IpCidr>()
            .ok()
            .filter(|cidr| cidr.prefix() == cidr.bits());
        self.unknown |= host.is_none();
        host.map(|host| host.addr())
    }

    fn into_line(self, chain: String, name: Name) -> Line {
        let target = match &self.verdict {
            Some(Verdict::Jump(chain) | Verdict::Goto(chain)) => Some(chain.clone()),
            _ => None,
        };
        Line {
            chain,
            kind: self.kind().unwrap_or(Kind::Other),
            comment: self.comment,
            target,
            name,
        }
    }

    fn kind(&self) -> Option<Kind> {
        if self.unknown {
            return None;
        }
        let addresses = (self.source, self.destination, self.answers);
        let interfaces = (self.input.as_ref(), self.output.as_ref());
        match (addresses, interfaces, self.verdict.as_ref()?) {
            ((Some(source), None, false), (None, None), Verdict::Accept) => {
                Some(Kind::From(source))
            }
            ((None, Some(destination), true), (None, None), Verdict::Accept) => {
                Some(Kind::Answers(destination))
            }
            ((None, None, false), interfaces, verdict) => of_interfaces(interfaces, verdict),
            _ => None,
        }
    }
}

fn of_interfaces(
    interfaces: (Option<&Interface>, Option<&Interface>),
    verdict: &Verdict,
) -> Option<Kind> {
    match (interfaces, verdict) {
        ((None, None), Verdict::Return) => Some(Kind::Return),
        ((None, None), Verdict::Jump(chain)) => Some(Kind::Jump(chain.clone())),
        ((None, Some(output)), Verdict::Drop) if output.is => {
            Some(Kind::Entering(output.name.clone()))
        }
        ((Some(input), Some(output)), verdict) if input.is && input.name == output.name => {
            let bridge = input.name.clone();
            match verdict {
                Verdict::Drop if output.is => Some(Kind::Inside(bridge)),
                Verdict::Jump(chain) if !output.is && chain == STAGE_TWO => {
                    Some(Kind::Leaving(bridge))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn verdict(target: &str) -> Verdict {
    match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

fn until_zero(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// `--ctstate RELATED,ESTABLISHED` and nothing else, in `struct xt_conntrack_mtinfo3` of
/// `linux/netfilter/xt_conntrack.h`.
fn is_for_answers(info: &[u8]) -> bool {
    const FLAGS: usize = 146;
    const STATE: u16 = 1;
    const RELATED_OR_ESTABLISHED: u16 = 0b110;
    let number = |at: usize| Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let found = (number(FLAGS), number(FLAGS + 2), number(FLAGS + 4));
    found == (Some(STATE), Some(0), Some(RELATED_OR_ESTABLISHED))
}

/// Splits a line as `iptables-restore` does: words in double quotes may hold anything.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            '\\' if quoted => word.extend(chars.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Kind> {
        let text = |text: &str| text.to_owned();
        vec![
            Kind::Answers("10.1.0.5".parse().unwrap()),
            Kind::From("fd00:1::5".parse().unwrap()),
            Kind::Leaving(text("br0")),
            Kind::Inside(text("br0")),
            Kind::Entering(text("br0")),
            Kind::Return,
            Kind::Jump(text(FORWARD)),
            Kind::Jump(text(STAGE_ONE)),
            Kind::Jump(text("CNI-ADMIN")),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for kind in all() {
            let line = Line::of_text(&format!("-A X {}", kind.text())).unwrap();
            assert_eq!(line.kind, kind);
            assert!(line.is_made(), "{line:?}");
        }
    }

    #[test]
    fn rules_that_only_look_alike_are_foreign() {
        for text in [
            "-s 10.1.0.0/16 -j ACCEPT",
            "-s 10.1.0.5/32 -m comment --comment mine -j ACCEPT",
            "-s 10.1.0.5/32 -i br0 -j ACCEPT",
            "-s 10.1.0.5/32 -p tcp -j ACCEPT",
            "! -s 10.1.0.5/32 -j ACCEPT",
            "-s 10.1.0.5/32 -g ACCEPTED",
            "-d 10.1.0.5/32 -j ACCEPT",
            "-d 10.1.0.5/32 -m conntrack --ctstate NEW -j ACCEPT",
            "-d 10.1.0.5/32 -m conntrack ! --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-i br0 -o br0 -j DROP",
            "-i br+ -o br+ -m comment --comment \"CNI firewall plugin rules (ingressPolicy: isolated)\" -j DROP",
            "-o br0 -m comment --comment \"by hand\" -j DROP",
            "-j RETURN",
            "-j CNI-FORWARD",
            "-m mark --mark 0x1 -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD",
        ] {
            let line = Line::of_text(&format!("-A X {text}")).unwrap();
            assert!(!line.is_made(), "{text}: {line:?}");
        }
    }

    #[test]
    fn every_target_is_known() {
        let line = Line::of_text("-A X -p tcp -m tcp --dport 1 -g CNI-FORWARD").unwrap();
        assert_eq!(line.kind, Kind::Other);
        assert_eq!(line.target.as_deref(), Some("CNI-FORWARD"));
    }

    #[test]
    fn words_are_read_as_they_are_quoted() {
        assert_eq!(
            words(r#"-m comment --comment "a \"b\" \\c" -j "" x"#),
            ["-m", "comment", "--comment", r#"a "b" \c"#, "-j", "", "x"]
        );
    }

    #[test]
    fn lines_that_are_no_rules_are_left_out() {
        for line in [":FORWARD ACCEPT [0:0]", "*filter", "COMMIT", "# -A x -j y"] {
            assert_eq!(Line::of_text(line), None);
        }
    }
}
