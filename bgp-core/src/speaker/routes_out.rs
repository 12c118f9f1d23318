//! A route as one session may carry it, and route changes as the fewest UPDATEs that fit.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;

use crate::attribute::{Attributes, Community, NextHop};
use crate::codec::Writer;
use crate::message::WireContext;
use crate::rib::{CompiledPolicy, Interner, Outgoing, Route, Source, Verdict, local_pref};
use crate::types::{Asn, Family, Prefix};

/// Why a route is not sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The export policy says so: this statement, or its default.
    #[error("the export policy refuses it")]
    Policy {
        /// Index of the statement.
        statement: Option<usize>,
    },
    /// Only our own routes go out and this one is learned.
    #[error("it is learned, and only originated routes are sent")]
    NotOriginated,
    /// What one internal peer taught is not told to another (RFC 4271 section 9.2).
    #[error("it is learned from an internal peer and the session is internal")]
    InternalToInternal,
    /// It came from this very peer.
    #[error("it came from this peer")]
    OwnRoute,
    /// NO_ADVERTISE (RFC 1997).
    #[error("it was received with the community no-advertise")]
    NoAdvertise,
    /// NO_EXPORT or NO_EXPORT_SUBCONFED (RFC 1997) and an external session.
    #[error("it was received with the community no-export and the session is external")]
    NoExport,
    /// The session does not carry the family.
    #[error("the session has not negotiated the family")]
    FamilyNotNegotiated,
    /// The session cannot say where traffic goes: an IPv6 route over an IPv4 session, or an IPv4 route with an IPv6
    /// next hop where RFC 8950 is not negotiated.
    #[error("its next hop cannot be expressed on this session")]
    NextHop,
    /// Attributes and prefix do not fit one message of this session.
    #[error("it does not fit the session's largest message")]
    TooLong,
}

impl Refusal {
    /// Whether a person should hear of it: nobody wanted the route to stay behind.
    pub fn is_unwanted(self) -> bool {
        matches!(self, Self::NextHop | Self::TooLong)
    }
}

/// Makes of a route what one kind of session carries of it.
#[derive(Debug)]
pub(crate) struct Exporter {
    rules: ExportRules,
    attributes: Interner<Attributes>,
    outgoing: Interner<Outgoing>,
    /// Answers for routes that differ in their prefix only. A cache: emptied when it has grown to [`KNOWN_LIMIT`].
    known: HashMap<Question, Result<Arc<Outgoing>, Refusal>>,
    last: Option<(Question, Result<Arc<Outgoing>, Refusal>)>,
}

/// What the export of a route depends on.
#[derive(Debug)]
pub(crate) struct ExportRules {
    pub(crate) local_asn: Asn,
    pub(crate) policy: CompiledPolicy,
    /// Learned routes stay here.
    pub(crate) originated_only: bool,
    pub(crate) context: WireContext,
    /// Our end of the session.
    pub(crate) local_address: IpAddr,
}

/// Everything but the prefix that the answer depends on. Holds the attributes, so that their address stays theirs.
#[derive(Clone, Debug)]
struct Question {
    attributes: Arc<Attributes>,
    next_hop: Option<NextHop>,
    source: Source,
    family: Family,
    /// One that does what the statement does that decided.
    effect: Option<usize>,
}

const KNOWN_LIMIT: usize = 4096;

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.attributes, &other.attributes)
            && self.effect == other.effect
            && self.family == other.family
            && self.next_hop == other.next_hop
            && self.source == other.source
    }
}

impl Eq for Question {}

impl std::hash::Hash for Question {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (
            Arc::as_ptr(&self.attributes),
            &self.next_hop,
            self.source,
            self.family,
            self.effect,
        )
            .hash(state);
    }
}

impl Question {
    fn about(route: &Route, effect: Option<usize>) -> Self {
        Self {
            attributes: Arc::clone(&route.attributes),
            next_hop: route.next_hop.clone(),
            source: route.source.with_path_id(None),
            family: route.prefix.family(),
            effect,
        }
    }

    fn is_about(&self, route: &Route, effect: Option<usize>) -> bool {
        Arc::ptr_eq(&self.attributes, &route.attributes)
            && self.effect == effect
            && self.family == route.prefix.family()
            && self.next_hop == route.next_hop
            && self.source == route.source.with_path_id(None)
    }
}

impl Exporter {
    pub(crate) fn new(rules: ExportRules) -> Self {
        Self {
            rules,
            attributes: Interner::new(),
            outgoing: Interner::new(),
            known: HashMap::new(),
            last: None,
        }
    }

    pub(crate) fn rules(&self) -> &ExportRules {
        &self.rules
    }

    /// What is sent of a route, shared by all routes that differ in the prefix only.
    pub(crate) fn export(&mut self, route: &Route) -> Result<Arc<Outgoing>, Refusal> {
        let policy = &self.rules.policy;
        let statement = policy.statement(route.prefix, &route.attributes);
        let effect = policy.effect(statement);
        let answer = match &self.last {
            Some((last, answer)) if last.is_about(route, effect) => answer.clone(),
            _ => self.look_up(Question::about(route, effect)),
        };
        self.rules.for_prefix(answer, route.prefix, statement)
    }

    fn look_up(&mut self, question: Question) -> Result<Arc<Outgoing>, Refusal> {
        let answer = match self.known.get(&question) {
            Some(answer) => answer.clone(),
            None => {
                let answer = self.rules.answer(&question).map(|mut outgoing| {
                    outgoing.attributes = self.attributes.intern_shared(&outgoing.attributes);
                    self.outgoing.intern(outgoing)
                });
                if self.known.len() >= KNOWN_LIMIT {
                    self.known.clear();
                }
                self.known.insert(question.clone(), answer.clone());
                answer
            }
        };
        self.last = Some((question, answer.clone()));
        answer
    }
}

impl ExportRules {
    /// As [`Exporter::export`], once and without sharing: for explanations.
    pub(crate) fn explain(&self, route: &Route) -> Result<Arc<Outgoing>, Refusal> {
        let statement = self.policy.statement(route.prefix, &route.attributes);
        let answer = self.answer(&Question::about(route, self.policy.effect(statement)));
        self.for_prefix(answer.map(Arc::new), route.prefix, statement)
    }

    /// What is left to say when the prefix and the very statement are known.
    fn for_prefix(
        &self,
        answer: Result<Arc<Outgoing>, Refusal>,
        prefix: Prefix,
        statement: Option<usize>,
    ) -> Result<Arc<Outgoing>, Refusal> {
        match answer {
            Ok(outgoing) if nlri_octets(&self.context, prefix) > outgoing.room => {
                Err(Refusal::TooLong)
            }
            Err(Refusal::Policy { .. }) => Err(Refusal::Policy { statement }),
            answer => answer,
        }
    }

    fn answer(&self, question: &Question) -> Result<Outgoing, Refusal> {
        if !self.context.families.contains(&question.family) {
            return Err(Refusal::FamilyNotNegotiated);
        }
        self.may_be_told(question)?;
        if self.policy.policy().verdict(question.effect) == Verdict::Reject {
            return Err(Refusal::Policy {
                statement: question.effect,
            });
        }
        let next_hop = self.next_hop(question)?;
        let attributes = self.attributes(question);
        let room = room(&self.context, question.family, &next_hop, &attributes);
        Ok(Outgoing {
            attributes,
            next_hop,
            source: question.source,
            room,
        })
    }

    /// Whether a learned route may go on at all. What we originate goes out whatever communities it carries: they tell
    /// the peer what it may do with the route.
    fn may_be_told(&self, question: &Question) -> Result<(), Refusal> {
        let Source::Peer { external, .. } = question.source else {
            return Ok(());
        };
        let carries = |community| question.attributes.communities.contains(&community);
        if self.originated_only {
            Err(Refusal::NotOriginated)
        } else if !external && !self.context.external {
            Err(Refusal::InternalToInternal)
        } else if carries(Community::NO_ADVERTISE) {
            Err(Refusal::NoAdvertise)
        } else if self.context.external
            && (carries(Community::NO_EXPORT) || carries(Community::NO_EXPORT_SUBCONFED))
        {
            Err(Refusal::NoExport)
        } else {
            Ok(())
        }
    }

    /// Policy first, then what the kind of session asks for (RFC 4271 section 5.1).
    fn attributes(&self, question: &Question) -> Arc<Attributes> {
        let learned_outside = matches!(question.source, Source::Peer { external: true, .. });
        let is_learned = question.source != Source::Local;
        let mut attributes = Arc::clone(&question.attributes);
        if self.context.external && is_learned && attributes.med.is_some() {
            // Another AS's MED is not for a third (section 5.1.4). The policy may set ours.
            Arc::make_mut(&mut attributes).med = None;
        }
        if !self.context.external && learned_outside {
            let preference = local_pref(&attributes, &question.source);
            Arc::make_mut(&mut attributes).local_pref = Some(preference);
        }
        let mut attributes =
            self.policy
                .policy()
                .apply(question.effect, &attributes, self.local_asn);
        let own = Arc::make_mut(&mut attributes);
        if self.context.external {
            own.as_path.prepend(self.local_asn, 1);
            own.local_pref = None;
            own.originator_id = None;
            own.cluster_list.clear();
        } else if own.local_pref.is_none() {
            own.local_pref = Some(local_pref(own, &question.source));
        }
        attributes
    }

    /// A learned route's next hop becomes ours towards external peers and stays towards internal ones; what we
    /// originate has the one it was given, or ours.
    fn next_hop(&self, question: &Question) -> Result<NextHop, Refusal> {
        let given = match question.source {
            Source::Peer { .. } if self.context.external => None,
            Source::Peer { .. } | Source::Local => question.next_hop.clone(),
        };
        let next_hop = given.unwrap_or_else(|| self.own_next_hop());
        let is_expressible = match (question.family, &next_hop) {
            (Family::IPV4_UNICAST, NextHop::V4(_)) => true,
            (Family::IPV4_UNICAST, NextHop::V6(_) | NextHop::V6LinkLocal { .. }) => self
                .context
                .extended_next_hop
                .contains(&Family::IPV4_UNICAST),
            (Family::IPV6_UNICAST, NextHop::V6(_) | NextHop::V6LinkLocal { .. }) => true,
            _ => false,
        };
        is_expressible.then_some(next_hop).ok_or(Refusal::NextHop)
    }

    fn own_next_hop(&self) -> NextHop {
        match self.local_address.to_canonical() {
            IpAddr::V4(address) => NextHop::V4(address),
            // RFC 2545 section 3 wants a global address beside the link-local one. A session between link-local
            // addresses knows none; the address that it does know stands in both places.
            IpAddr::V6(address) if address.is_unicast_link_local() => NextHop::V6LinkLocal {
                global: address,
                link_local: address,
            },
            IpAddr::V6(address) => NextHop::V6(address),
        }
    }
}

/// Header, length of the withdrawn routes, length of the attributes.
const UPDATE_OCTETS: usize = 19 + 2 + 2;
/// Flags, type and a length of two octets.
const LONG_ATTRIBUTE_HEADER: usize = 4;

/// Octets of one prefix among NLRI.
pub(crate) fn nlri_octets(context: &WireContext, prefix: Prefix) -> usize {
    let path_id = if context.add_path.contains(&prefix.family()) {
        4
    } else {
        0
    };
    path_id + prefix.wire_length()
}

/// Octets that one message has for withdrawn NLRI of a family.
pub(crate) fn withdrawal_room(context: &WireContext, family: Family) -> usize {
    let fixed = if family == Family::IPV4_UNICAST {
        UPDATE_OCTETS
    } else {
        UPDATE_OCTETS + LONG_ATTRIBUTE_HEADER + 3
    };
    context.max_message.saturating_sub(fixed)
}

/// Octets that one message has for announced NLRI beside these attributes.
fn room(
    context: &WireContext,
    family: Family,
    next_hop: &NextHop,
    attributes: &Attributes,
) -> usize {
    let path = EncodedPath::new(context, family, next_hop, attributes);
    let reach = path
        .reach
        .as_ref()
        .map_or(0, |reach| LONG_ATTRIBUTE_HEADER + reach.len());
    context
        .max_message
        .saturating_sub(UPDATE_OCTETS + reach + path.attributes.len())
}

/// The octets that all UPDATEs with one set of attributes have in common.
#[derive(Debug)]
pub(crate) struct EncodedPath {
    attributes: Bytes,
    /// The value of MP_REACH_NLRI up to the NLRI; `None` where the classic fields serve.
    reach: Option<Bytes>,
}

impl EncodedPath {
    pub(crate) fn of(context: &WireContext, family: Family, outgoing: &Outgoing) -> Self {
        Self::new(context, family, &outgoing.next_hop, &outgoing.attributes)
    }

    fn new(
        context: &WireContext,
        family: Family,
        next_hop: &NextHop,
        attributes: &Attributes,
    ) -> Self {
        let classic = match next_hop {
            NextHop::V4(address) if family == Family::IPV4_UNICAST => Some(*address),
            _ => None,
        };
        let mut writer = Writer::default();
        attributes.encode_into(context, classic, &mut writer);
        Self {
            attributes: writer.finish(),
            reach: classic.is_none().then(|| reach_head(family, next_hop)),
        }
    }
}

fn reach_head(family: Family, next_hop: &NextHop) -> Bytes {
    let v4 = |address: &Ipv4Addr| address.octets().to_vec();
    let v6 = |address: &Ipv6Addr| address.octets().to_vec();
    let next_hop = match next_hop {
        NextHop::V4(address) => v4(address),
        NextHop::V6(address) => v6(address),
        NextHop::V6LinkLocal { global, link_local } => [v6(global), v6(link_local)].concat(),
        NextHop::Opaque(octets) => octets.to_vec(),
    };
    let mut writer = Writer::default();
    writer.u16(family.afi.0);
    writer.u8(family.safi.0);
    // Sixteen or thirty-two octets: `ExportRules::next_hop` lets no opaque one through.
    writer.u8(next_hop.len() as u8);
    writer.slice(&next_hop);
    writer.u8(0);
    writer.finish()
}

/// Appends one UPDATE that announces prefixes of one family. `octets` is what their NLRI take; it fits the path's room.
pub(crate) fn write_announcement(
    writer: &mut Writer,
    context: &WireContext,
    path: &EncodedPath,
    octets: usize,
    prefixes: impl Iterator<Item = Prefix>,
) {
    match &path.reach {
        None => {
            write_head(writer, UPDATE_OCTETS + path.attributes.len() + octets);
            writer.u16(0);
            write_length(writer, path.attributes.len());
            writer.slice(&path.attributes);
            write_nlri(writer, context, prefixes);
        }
        Some(reach) => {
            let value = reach.len() + octets;
            let attributes = attribute_octets(value) + path.attributes.len();
            write_head(writer, UPDATE_OCTETS + attributes);
            writer.u16(0);
            write_length(writer, attributes);
            // Before all others (RFC 7606 section 5.1).
            write_attribute_head(writer, MP_REACH_NLRI, value);
            writer.slice(reach);
            write_nlri(writer, context, prefixes);
            writer.slice(&path.attributes);
        }
    }
}

/// Appends one UPDATE that withdraws prefixes of one family.
pub(crate) fn write_withdrawal(
    writer: &mut Writer,
    context: &WireContext,
    family: Family,
    octets: usize,
    prefixes: impl Iterator<Item = Prefix>,
) {
    if family == Family::IPV4_UNICAST {
        write_head(writer, UPDATE_OCTETS + octets);
        write_length(writer, octets);
        write_nlri(writer, context, prefixes);
        writer.u16(0);
    } else {
        let value = 3 + octets;
        write_head(writer, UPDATE_OCTETS + attribute_octets(value));
        writer.u16(0);
        write_length(writer, attribute_octets(value));
        write_attribute_head(writer, MP_UNREACH_NLRI, value);
        writer.u16(family.afi.0);
        writer.u8(family.safi.0);
        write_nlri(writer, context, prefixes);
    }
}

const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;

fn write_head(writer: &mut Writer, total: usize) {
    writer.slice(&[0xFF; 16]);
    write_length(writer, total);
    writer.u8(2);
}

/// No message is longer than 65,535 octets, so no part of one is.
fn write_length(writer: &mut Writer, length: usize) {
    writer.u16(length as u16);
}

/// Optional, non-transitive; the extended length only where it is needed (RFC 4271 section 4.3).
fn write_attribute_head(writer: &mut Writer, kind: u8, length: usize) {
    match u8::try_from(length) {
        Ok(length) => writer.slice(&[0x80, kind, length]),
        Err(_) => {
            writer.slice(&[0x90, kind]);
            write_length(writer, length);
        }
    }
}

fn attribute_octets(value: usize) -> usize {
    value
        + if value > 255 {
            LONG_ATTRIBUTE_HEADER
        } else {
            3
        }
}

fn write_nlri(writer: &mut Writer, context: &WireContext, prefixes: impl Iterator<Item = Prefix>) {
    let mut prefixes = prefixes.peekable();
    let has_path_ids = prefixes
        .peek()
        .is_some_and(|prefix| context.add_path.contains(&prefix.family()));
    for prefix in prefixes {
        if has_path_ids {
            // One path of a prefix is sent, and any identifier names it.
            writer.u32(0);
        }
        prefix.write(writer);
    }
}
