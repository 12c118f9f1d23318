use std::fmt;

use crate::codec::{Reader, Writer};
use crate::types::Asn;

/// AS_PATH (RFC 4271 section 5.1.2). How it is kept is private, so that it may change.
///
/// ```text
/// +--------------+--------------+-------------------------------+
/// | kind (1)     | count (1)    | AS numbers (2 or 4 each)      |  per segment
/// +--------------+--------------+-------------------------------+
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    segments: Vec<Segment>,
}

/// One segment of an AS_PATH: 1 to 255 AS numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// SET or SEQUENCE, plain or confederation.
    pub kind: SegmentKind,
    /// The AS numbers.
    pub asns: Vec<Asn>,
}

/// RFC 4271 section 4.3 and RFC 5065.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// 1, unordered.
    Set,
    /// 2, ordered.
    Sequence,
    /// 3, ordered, inside a confederation.
    ConfederationSequence,
    /// 4, unordered, inside a confederation.
    ConfederationSet,
}

/// A segment says how many AS numbers it has in one octet.
const SEGMENT_LIMIT: usize = 255;

impl AsPath {
    /// A path of one sequence (of more, where there are more than 255 AS numbers).
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let asns = asns.into_iter().collect();
        Self::from_segments([Segment {
            kind: SegmentKind::Sequence,
            asns,
        }])
    }

    /// A path of these segments. Empty ones are left out, those of more than 255 AS numbers are cut.
    pub fn from_segments(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut path = Self::default();
        for segment in segments {
            if (1..=SEGMENT_LIMIT).contains(&segment.asns.len()) {
                path.segments.push(segment);
            } else {
                let cut = segment.asns.chunks(SEGMENT_LIMIT);
                path.segments.extend(cut.map(|asns| Segment {
                    kind: segment.kind,
                    asns: asns.to_vec(),
                }));
            }
        }
        path
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether there is no AS number at all: a route of our own AS.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Puts the AS number in front, that many times (RFC 4271 section 5.1.2): into the leading sequence while it has
    /// room, into a new one otherwise.
    pub fn prepend(&mut self, asn: Asn, times: usize) {
        let mut left = times;
        if let Some(first) = self.segments.first_mut()
            && first.kind == SegmentKind::Sequence
        {
            let fits = left.min(SEGMENT_LIMIT.saturating_sub(first.asns.len()));
            first.asns.splice(..0, std::iter::repeat_n(asn, fits));
            left -= fits;
        }
        while left > 0 {
            let fits = left.min(SEGMENT_LIMIT);
            let segment = Segment {
                kind: SegmentKind::Sequence,
                asns: vec![asn; fits],
            };
            self.segments.insert(0, segment);
            left -= fits;
        }
    }

    /// The length that the decision process compares: a set counts one, confederation segments nothing (RFC 4271
    /// section 9.1.2.2, RFC 5065 section 5.3).
    pub fn length(&self) -> usize {
        self.segments.iter().map(Segment::length).sum()
    }

    /// Whether the AS number is anywhere in the path.
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|one| one == asn)
    }

    /// How often the AS number is in the path.
    pub fn occurrences(&self, asn: Asn) -> usize {
        self.asns().filter(|one| *one == asn).count()
    }

    /// The neighbouring AS: the leftmost number, where the path starts with a sequence.
    pub fn first(&self) -> Option<Asn> {
        let segment = self.segments.first()?;
        (segment.kind == SegmentKind::Sequence)
            .then(|| segment.asns.first().copied())
            .flatten()
    }

    /// The AS that originated the route: the rightmost number, where the path ends with a sequence.
    pub fn origin_as(&self) -> Option<Asn> {
        let segment = self.segments.last()?;
        (segment.kind == SegmentKind::Sequence)
            .then(|| segment.asns.last().copied())
            .flatten()
    }

    /// All AS numbers in the order of the wire.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments
            .iter()
            .flat_map(|segment| segment.asns.iter().copied())
    }

    /// Whether there is an AS_SET or AS_CONFED_SET, which RFC 9774 no longer allows.
    pub fn has_set(&self) -> bool {
        self.segments.iter().any(|segment| {
            matches!(
                segment.kind,
                SegmentKind::Set | SegmentKind::ConfederationSet
            )
        })
    }

    /// Reads the attribute's value; `None` where it is malformed (RFC 7606 section 7.2).
    pub(super) fn decode(value: &[u8], four_octet_as: bool) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while !reader.is_empty() {
            let kind = SegmentKind::from_octet(reader.u8().ok()?)?;
            let count = usize::from(reader.u8().ok()?);
            if count == 0 {
                return None;
            }
            let asns = if four_octet_as {
                let (asns, _) = reader.slice(count * 4).ok()?.as_chunks();
                asns.iter()
                    .map(|asn| Asn(u32::from_be_bytes(*asn)))
                    .collect()
            } else {
                let (asns, _) = reader.slice(count * 2).ok()?.as_chunks();
                asns.iter()
                    .map(|asn| Asn(u32::from(u16::from_be_bytes(*asn))))
                    .collect()
            };
            segments.push(Segment { kind, asns });
        }
        Some(Self { segments })
    }

    pub(super) fn encode(&self, four_octet_as: bool, writer: &mut Writer) {
        for segment in &self.segments {
            writer.u8(segment.kind.octet());
            writer.length_u8(segment.asns.len());
            for asn in &segment.asns {
                if four_octet_as {
                    writer.u32(asn.0);
                } else {
                    writer.u16(asn.two_octet());
                }
            }
        }
    }

    /// Octets of the attribute's value.
    pub(super) fn wire_length(&self, four_octet_as: bool) -> usize {
        let width = if four_octet_as { 4 } else { 2 };
        self.segments
            .iter()
            .map(|segment| 2 + width * segment.asns.len())
            .sum()
    }

    /// What AS4_PATH says beside this AS_PATH (RFC 6793 section 4.2.2): all of it but the confederation segments;
    /// `None` where every number fits two octets.
    pub(super) fn for_as4_path(&self) -> Option<Self> {
        if self.asns().all(Asn::is_two_octet) {
            return None;
        }
        Some(self.clone().without_confederation())
    }

    /// AS4_PATH has no business with confederation segments (RFC 6793 section 6).
    pub(super) fn without_confederation(mut self) -> Self {
        self.segments
            .retain(|segment| !segment.kind.is_confederation());
        self
    }

    /// The path that an AS_PATH of two-octet numbers and its AS4_PATH mean together (RFC 6793 section 4.2.3): what
    /// AS_PATH has in front of the part that AS4_PATH covers, then AS4_PATH.
    pub(super) fn merged_with(self, as4_path: Self) -> Self {
        let Some(mut excess) = self.length().checked_sub(as4_path.length()) else {
            return self;
        };
        let mut merged: Vec<Segment> = Vec::new();
        for mut segment in self.segments {
            if segment.kind.is_confederation() {
                // Counts nothing: kept while it leads or adjoins what is kept.
                merged.push(segment);
                continue;
            }
            if excess == 0 {
                break;
            }
            let all = segment.length();
            if all > excess {
                segment.asns.truncate(excess);
                merged.push(segment);
                break;
            }
            excess -= all;
            merged.push(segment);
        }
        let mut covered = as4_path.segments.into_iter().peekable();
        // One sequence that the excess cut in two becomes one again.
        if let Some(last) = merged.last_mut()
            && last.kind == SegmentKind::Sequence
            && let Some(first) = covered.next_if(|first| {
                first.kind == SegmentKind::Sequence
                    && last.asns.len() + first.asns.len() <= SEGMENT_LIMIT
            })
        {
            last.asns.extend(first.asns);
        }
        merged.extend(covered);
        Self { segments: merged }
    }
}

impl Segment {
    fn length(&self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.asns.len(),
            SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => 0,
        }
    }
}

impl SegmentKind {
    const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfederationSequence),
            4 => Some(Self::ConfederationSet),
            _ => None,
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfederationSequence => 3,
            Self::ConfederationSet => 4,
        }
    }

    const fn is_confederation(self) -> bool {
        matches!(self, Self::ConfederationSequence | Self::ConfederationSet)
    }
}

impl fmt::Display for AsPath {
    /// As routers print it: `65001 65002 {65003,65004} (64512 64513) [64514,64515]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfederationSequence => ("(", " ", ")"),
                SegmentKind::ConfederationSet => ("[", ",", "]"),
            };
            f.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                asn.fmt(f)?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(kind: SegmentKind, asns: &[u32]) -> Segment {
        Segment {
            kind,
            asns: asns.iter().copied().map(Asn).collect(),
        }
    }

    fn sequence(asns: &[u32]) -> AsPath {
        AsPath::sequence(asns.iter().copied().map(Asn))
    }

    #[test]
    fn prepending_fills_the_leading_sequence_then_opens_a_new_one() {
        let mut path = sequence(&[2, 3]);
        path.prepend(Asn(1), 2);
        assert_eq!(path, sequence(&[1, 1, 2, 3]));
        path.prepend(Asn(7), 300);
        assert_eq!(path.segments().len(), 2);
        assert_eq!(path.length(), 304);
        assert!(
            path.segments()
                .iter()
                .all(|segment| segment.asns.len() <= 255)
        );
        assert_eq!(path.first(), Some(Asn(7)));

        let mut path = AsPath::from_segments([segment(SegmentKind::Set, &[5, 6])]);
        path.prepend(Asn(1), 1);
        assert_eq!(path.to_string(), "1 {5,6}");
    }

    #[test]
    fn a_set_counts_one_and_a_confederation_nothing() {
        let path = AsPath::from_segments([
            segment(SegmentKind::ConfederationSequence, &[64512, 64513]),
            segment(SegmentKind::Sequence, &[1, 2]),
            segment(SegmentKind::Set, &[3, 4]),
        ]);
        assert_eq!(path.length(), 3);
        assert_eq!(path.to_string(), "(64512 64513) 1 2 {3,4}");
        assert_eq!((path.first(), path.origin_as()), (None, None));
        assert!(path.contains(Asn(64513)) && !path.contains(Asn(9)));
    }

    #[test]
    fn the_ends_of_a_sequence_are_the_neighbour_and_the_origin() {
        let path = sequence(&[1, 2, 2]);
        assert_eq!(
            (path.first(), path.origin_as()),
            (Some(Asn(1)), Some(Asn(2)))
        );
        assert_eq!(path.occurrences(Asn(2)), 2);
        assert_eq!(AsPath::default().first(), None);
        assert!(sequence(&[]).is_empty());
    }

    #[test]
    fn malformed_segments_are_refused() {
        let malformed: [&[u8]; 6] = [
            &[0, 1, 0, 1],
            &[5, 1, 0, 1],
            &[2, 0],
            &[2, 2, 0, 1],
            &[2],
            &[2, 1, 0, 1, 9],
        ];
        for value in malformed {
            assert_eq!(AsPath::decode(value, false), None, "{value:?}");
        }
        assert_eq!(AsPath::decode(&[], false), Some(AsPath::default()));
    }

    #[test]
    fn an_as4_path_replaces_the_tail_it_covers() {
        let merged = sequence(&[100, 23456, 200]).merged_with(sequence(&[70000, 200]));
        assert_eq!(merged, sequence(&[100, 70000, 200]));
        let merged = sequence(&[23456]).merged_with(sequence(&[70000]));
        assert_eq!(merged, sequence(&[70000]));
    }

    #[test]
    fn segments_that_as4_path_has_stay_apart() {
        let as4_path = AsPath::from_segments([
            segment(SegmentKind::Sequence, &[1]),
            segment(SegmentKind::Sequence, &[65536]),
        ]);
        let merged = sequence(&[1, 23456]).merged_with(as4_path.clone());
        assert_eq!(merged, as4_path);
    }

    #[test]
    fn an_as4_path_longer_than_the_path_is_ignored() {
        let merged = sequence(&[23456]).merged_with(sequence(&[70000, 80000]));
        assert_eq!(merged, sequence(&[23456]));
    }

    #[test]
    fn confederation_segments_in_front_survive_the_merge() {
        let path = AsPath::from_segments([
            segment(SegmentKind::ConfederationSequence, &[64512]),
            segment(SegmentKind::Sequence, &[10, 23456]),
            segment(SegmentKind::ConfederationSequence, &[64513]),
        ]);
        let merged = path.merged_with(sequence(&[70000]));
        assert_eq!(merged.to_string(), "(64512) 10 70000");
    }
}
