use std::fmt;

use bytes::Bytes;

use super::header;
use crate::codec::{ProtocolError, Reader, WireContext, Writer, cut};
use crate::types::{CeaseSubcode, HeaderSubcode, Reason};

/// NOTIFICATION (RFC 4271 section 4.5).
///
/// ```text
/// +----------+-------------+------+
/// | code (1) | subcode (1) | data |
/// +----------+-------------+------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Code and subcode.
    pub reason: Reason,
    /// Data octets.
    pub data: Bytes,
}

/// A shutdown communication says its length in one octet.
const TEXT_LIMIT: usize = 255;

impl Notification {
    /// A Cease. The text becomes the shutdown communication (RFC 9003) of the two subcodes that have one; it is cut
    /// after 255 octets.
    pub fn cease(subcode: CeaseSubcode, text: &str) -> Self {
        let reason = Reason::Cease(subcode);
        if !has_communication(reason) || text.is_empty() {
            return reason.into();
        }
        let text = cut(text, TEXT_LIMIT);
        let mut writer = Writer::new();
        writer.length_u8(text.len());
        writer.slice(text.as_bytes());
        Self {
            reason,
            data: writer.finish(),
        }
    }

    /// What the operator on the other side wrote (RFC 9003), also inside a Hard Reset. Octets that are not UTF-8 are
    /// replaced; `None` where there is no text or its length is wrong, which is no error.
    ///
    /// The text is the peer's: escape it before it goes to a terminal or a log. `Display` does.
    pub fn communication(&self) -> Option<String> {
        if let Some(inner) = self.hard_reset_inner() {
            return inner.communication();
        }
        if !has_communication(self.reason) {
            return None;
        }
        let text = Reader::new(&self.data).counted_u8().ok()?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The Hard Reset that carries this NOTIFICATION (RFC 8538 section 3): the session ends and no route is kept.
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut writer = Writer::with_capacity(2 + self.data.len());
        writer.u8(self.reason.code());
        writer.u8(self.reason.subcode());
        writer.slice(&self.data);
        Self {
            reason: Reason::Cease(CeaseSubcode::HardReset),
            data: writer.finish(),
        }
    }

    /// The NOTIFICATION that a Hard Reset carries; `None` where this is none, or it carries nothing.
    pub fn hard_reset_inner(&self) -> Option<Self> {
        if self.reason != Reason::Cease(CeaseSubcode::HardReset) {
            return None;
        }
        let mut reader = Reader::new(&self.data);
        let reason = Reason::from_code(reader.u8().ok()?, reader.u8().ok()?);
        // One inside the other, as deep as a peer likes, is not worth following.
        if reason == self.reason {
            return None;
        }
        // `slice_ref` wants a part of `data`: that is what the reader walks over.
        Some(Self {
            reason,
            data: self.data.slice_ref(reader.rest()),
        })
    }

    /// Reads the body; `octets` is the message that it is a part of.
    pub(super) fn decode(octets: &Bytes, body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let (Ok(code), Ok(subcode)) = (reader.u8(), reader.u8()) else {
            return Err(Reason::Header(HeaderSubcode::BadLength).into());
        };
        Ok(Self {
            reason: Reason::from_code(code, subcode),
            // `slice_ref` wants a part of `octets`: `body` is one.
            data: octets.slice_ref(reader.rest()),
        })
    }

    pub(super) fn encode(&self, context: &WireContext, writer: &mut Writer) {
        writer.u8(self.reason.code());
        writer.u8(self.reason.subcode());
        let limit = context.max_message.clamp(header::MAX, header::MAX_EXTENDED);
        let room = limit.saturating_sub(writer.len());
        writer.slice(self.data.get(..room).unwrap_or(&self.data));
    }
}

fn has_communication(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Cease(CeaseSubcode::AdministrativeShutdown | CeaseSubcode::AdministrativeReset)
    )
}

impl From<ProtocolError> for Notification {
    fn from(error: ProtocolError) -> Self {
        Self {
            reason: error.reason,
            data: error.data,
        }
    }
}

impl From<Reason> for Notification {
    /// Without data.
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            data: Bytes::new(),
        }
    }
}

impl fmt::Display for Notification {
    /// `Cease: administrative shutdown ("maintenance until noon")`. A peer's text is quoted and its control characters
    /// are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.hard_reset_inner() {
            Some(inner) => write!(f, " ({inner})"),
            None => match self.communication() {
                Some(text) => write!(f, " ({text:?})"),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cease_says_what_the_operator_wrote() {
        let cease = Notification::cease(CeaseSubcode::AdministrativeShutdown, "back at noon");
        assert_eq!(cease.communication().as_deref(), Some("back at noon"));
        assert_eq!(
            cease.to_string(),
            "Cease: administrative shutdown (\"back at noon\")"
        );
        let without = Notification::cease(CeaseSubcode::AdministrativeShutdown, "");
        assert_eq!(without.to_string(), "Cease: administrative shutdown");
        assert!(
            Notification::cease(CeaseSubcode::PeerDeconfigured, "text")
                .data
                .is_empty()
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cease = Notification::cease(CeaseSubcode::AdministrativeReset, &"ä".repeat(200));
        assert_eq!(cease.communication(), Some("ä".repeat(127)));
    }

    #[test]
    fn a_text_that_is_broken_is_no_error() {
        let reason = Reason::Cease(CeaseSubcode::AdministrativeReset);
        let text = |data: &'static [u8]| {
            Notification {
                reason,
                data: Bytes::from_static(data),
            }
            .communication()
        };
        assert_eq!(text(&[]), None);
        assert_eq!(text(&[0]), None);
        assert_eq!(text(&[9, b'x']), None);
        assert_eq!(text(&[2, b'x', 0xFF]).as_deref(), Some("x\u{FFFD}"));
    }

    #[test]
    fn a_peers_text_cannot_forge_a_log_line() {
        let cease = Notification::cease(
            CeaseSubcode::AdministrativeShutdown,
            "a\nb\u{1b}[31m\u{202e}\"c",
        );
        assert_eq!(
            cease.to_string(),
            r#"Cease: administrative shutdown ("a\nb\u{1b}[31m\u{202e}\"c")"#
        );
    }

    #[test]
    fn a_hard_reset_carries_the_reason_it_stands_for() {
        let inner = Notification::cease(CeaseSubcode::AdministrativeShutdown, "gone");
        let hard = inner.clone().into_hard_reset();
        assert_eq!(hard.hard_reset_inner(), Some(inner.clone()));
        assert_eq!(hard.communication().as_deref(), Some("gone"));
        assert_eq!(
            hard.to_string(),
            "Cease: hard reset (Cease: administrative shutdown (\"gone\"))"
        );
        assert_eq!(inner.hard_reset_inner(), None);
        assert_eq!(hard.into_hard_reset().to_string(), "Cease: hard reset");
    }

    #[test]
    fn data_that_does_not_fit_is_cut() {
        let reason = Reason::from_code(3, 1);
        let long = Notification {
            reason,
            data: Bytes::from(vec![7; 60_000]),
        };
        let context = WireContext::initial();
        let octets = crate::Message::Notification(long).encode(&context).unwrap();
        assert_eq!(octets.len(), 4096);
    }
}
