use crate::types::Asn;

/// AS_PATH (RFC 4271 section 5.1.2). How it is kept is private, so that it may change.
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

impl AsPath {
    /// A path of one sequence.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let asns: Vec<Asn> = asns.into_iter().collect();
        Self { segments: if asns.is_empty() { vec![] } else { vec![Segment { kind: SegmentKind::Sequence, asns }] } }
    }
    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
    // helper "wire": from_segments, prepend(asn, times) (new segment when 255 is reached), length() (SET counts 1,
    // confederation 0), contains(asn), first(), origin_as(), Display "65001 65002 {65003,65004}".
}
