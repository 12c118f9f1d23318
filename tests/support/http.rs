//! HTTP/1.1 as far as the tests need it: heads and bodies, a piece at a time, so that watches can be followed and relayed.

use std::io::{self, BufRead, Read, Write};

/// The longest line of a head, octets.
const LINE: usize = 64 << 10;

/// The first line and the header fields of a request or a response.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `GET /api HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub line: String,
    /// Name and value, in the order they came.
    pub fields: Vec<(String, String)>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many octets.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection ends.
    UntilEnd,
}

impl Head {
    /// Reads one; `None` where the connection ends before it.
    ///
    /// # Errors
    /// The connection's, or an end in the middle.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut head = Self {
            line,
            fields: Vec::new(),
        };
        loop {
            let line = read_line(from)?;
            let Some((name, value)) = line.split_once(':') else {
                return if line.is_empty() {
                    Ok(Some(head))
                } else {
                    Err(broken("a header field without a colon"))
                };
            };
            head.fields
                .push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }

    /// The value of a field, however its name is written.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Sets a field; `None` removes it.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.fields
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// A request's target: path and query.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// A response's code; 0 where there is none.
    pub fn status(&self) -> u16 {
        self.target().parse().unwrap_or_default()
    }

    /// The body of this request.
    pub fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    /// The body of this response to a request of `method`.
    pub fn response_framing(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304) {
            Framing::Length(0)
        } else {
            self.framing().unwrap_or(Framing::UntilEnd)
        }
    }

    fn framing(&self) -> Option<Framing> {
        if self
            .field("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Some(Framing::Chunked);
        }
        self.field("content-length")?
            .parse()
            .ok()
            .map(Framing::Length)
    }

    /// Writes it, with the empty line that ends it.
    ///
    /// # Errors
    /// The connection's.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut all = format!("{}\r\n", self.line);
        for (name, value) in &self.fields {
            all.push_str(&format!("{name}: {value}\r\n"));
        }
        all.push_str("\r\n");
        to.write_all(all.as_bytes())
    }
}

/// What is left of a body.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    ended: bool,
}

impl Body {
    /// A body that has not been read yet.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            ended: framing == Framing::Length(0),
        }
    }

    /// The next piece, as soon as there is one; `None` at its end.
    ///
    /// # Errors
    /// The connection's, or an end in the middle.
    pub fn piece(&mut self, from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let limit = usize::try_from(*left).unwrap_or(usize::MAX);
                let piece = available(from, limit)?;
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= piece.len() as u64;
                self.ended = *left == 0;
                Ok(Some(piece))
            }
            Framing::Chunked => {
                let line = read_line(from)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| broken("a chunk without a size"))?;
                let mut piece = vec![0; size];
                from.read_exact(&mut piece)?;
                read_line(from)?;
                self.ended = size == 0;
                Ok((!self.ended).then_some(piece))
            }
            Framing::UntilEnd => {
                let piece = available(from, usize::MAX)?;
                self.ended = piece.is_empty();
                Ok((!self.ended).then_some(piece))
            }
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// As [`Body::piece`].
    pub fn rest(&mut self, from: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece(from)? {
            all.extend(piece);
        }
        Ok(all)
    }
}

/// Writes one chunk.
///
/// # Errors
/// The connection's.
pub fn write_chunk(to: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk)?;
    to.flush()
}

fn available(from: &mut impl BufRead, limit: usize) -> io::Result<Vec<u8>> {
    let buffer = from.fill_buf()?;
    let piece = buffer.get(..limit.min(buffer.len())).unwrap_or_default();
    let piece = piece.to_vec();
    from.consume(piece.len());
    Ok(piece)
}

/// A line without its end; empty at the end of the connection as well.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE as u64).read_until(b'\n', &mut line)?;
    if line.len() == LINE {
        return Err(broken("a line of a head that does not end"));
    }
    while line.last().is_some_and(u8::is_ascii_whitespace) {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| broken("a line of a head that is no text"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
