//! Bytes of another protocol in place of 9P: text, such as HTTP, and TLS.
//!
//! A message of 9P begins with its size. Four bytes of text would be a size of more than 100 megabytes, which
//! no msize permits, so text is never mistaken for 9P or the reverse.

use std::fmt::{self, Display, Formatter};

/// The minimum number of bytes that are recognised as text, which is the length of a size.
const MIN_TEXT: usize = 4;

/// The maximum number of bytes that are examined.
const MAX_EXAMINED: usize = 512;

/// The maximum number of characters of a text that are shown.
const MAX_SHOWN: usize = 60;

/// Methods of HTTP requests.
const METHODS: [&str; 9] =
    ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "];

/// Bytes that belong to another protocol than 9P.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign<'a> {
    /// A record of TLS.
    Tls,
    /// A request or response of HTTP, and its first line.
    Http(&'a str),
    /// Other text, and its first line that is not empty.
    Text(&'a str),
}

/// Returns the protocol of the bytes at the beginning of a message, if it is another one.
#[must_use]
pub fn foreign(bytes: &[u8]) -> Option<Foreign<'_>> {
    // The type of a record, from change_cipher_spec to application_data, and a version of TLS.
    if let [20..=23, 3, 0..=4, _, _, ..] = bytes {
        return Some(Foreign::Tls);
    }
    let bytes = &bytes[..bytes.len().min(MAX_EXAMINED)];
    let text = bytes.utf8_chunks().next()?.valid();
    let is_text = |c: char| !c.is_control() || ['\t', '\n', '\r', '\x1b'].contains(&c);
    let end = text.find(|c| !is_text(c)).unwrap_or(text.len());
    if end < MIN_TEXT {
        return None;
    }
    let line = text[..end].lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_http =
        line.starts_with("HTTP/") || METHODS.iter().any(|method| line.starts_with(method));
    Some(if is_http { Foreign::Http(line) } else { Foreign::Text(line) })
}

impl Display for Foreign<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, line) = match self {
            Foreign::Tls => return f.write_str("a record of TLS"),
            Foreign::Http(line) => ("HTTP", line),
            Foreign::Text(line) => ("text", line),
        };
        let shown: String = line.chars().take(MAX_SHOWN).collect();
        let more = if shown.len() < line.len() { "..." } else { "" };
        write!(f, "{what}: '{}{more}'", shown.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_tls_are_recognised() {
        for (bytes, shown) in [
            (&b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n"[..], "HTTP: 'HTTP/1.1 400 Bad Request'"),
            (b"GET / HTTP/1.1\r\n", "HTTP: 'GET / HTTP/1.1'"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "text: 'SSH-2.0-OpenSSH_9.2'"),
            (b"\n\nwelcome\n", "text: 'welcome'"),
            (b"\x1b[?2004h$ ", "text: '\\u{1b}[?2004h$'"),
            (b"\r\n\r\n", "text: ''"),
            ("gr\u{fc}\u{df} Gott\n".as_bytes(), "text: 'gr\u{fc}\u{df} Gott'"),
            (b"it is 'so'", "text: 'it is \\'so\\''"),
            (b"abcd\xff\xff", "text: 'abcd'"),
            (b"abcd\0\0", "text: 'abcd'"),
            (b"\x16\x03\x01\x02\x00\x01\x00", "a record of TLS"),
            (b"\x15\x03\x03\x00\x02\x02\x46", "a record of TLS"),
        ] {
            assert_eq!(foreign(bytes).unwrap().to_string(), shown);
        }
        let long = [b'x'; 1000];
        assert_eq!(foreign(&long).unwrap().to_string(), format!("text: '{}...'", "x".repeat(60)));
    }

    #[test]
    fn messages_of_9p_are_not_recognised() {
        for bytes in [
            &b""[..],
            b"abc",
            b"abc\0",
            b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\x009P2000",
            b"\xff\xff\xff\xff\x64\xff\xff",
            b"\x16\x03\0",
            b"\x16\x04\x01\x02\x00",
        ] {
            assert_eq!(foreign(bytes), None, "{bytes:?}");
        }
        // Every size that an msize can permit.
        for size in (0..16u32 << 20).step_by(251) {
            let message = [&size.to_le_bytes()[..], b"text, and more"].concat();
            let is_tls = matches!(message[..3], [20..=23, 3, 0..=4]);
            assert_eq!(foreign(&message), is_tls.then_some(Foreign::Tls), "{size}");
        }
    }
}
