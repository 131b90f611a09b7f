//! Texts: words that are safe to print, lines of columns, and the maximum length of a text.

use std::fmt::Write;

/// The maximum length of a text, with its last line if it is cut.
pub const MAX_TEXT: usize = 4 << 20;

/// The last line of a text that is cut.
const CUT: &str = "\u{2026}\n";

/// Returns true if a character may be printed as it is: it is visible, moves no other, and separates no words.
pub fn is_plain(c: char) -> bool {
    let is_format = matches!(c, '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}');
    !c.is_control() && !c.is_whitespace() && c != '\\' && !is_format
}

/// Returns a word for bytes from outside: bytes that are not plain are written `\xNN`, and no bytes as `-`.
pub fn word(bytes: &[u8]) -> String {
    match bytes {
        b"" => return "-".to_owned(),
        b"-" => return "\\x2d".to_owned(),
        _ => {}
    }
    let mut word = String::with_capacity(bytes.len());
    let escape = |word: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(word, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_plain(c) {
                true => word.push(c),
                false => escape(&mut word, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escape(&mut word, chunk.invalid());
    }
    word
}

/// A text under construction. Lines beyond the maximum length are left out.
#[derive(Default)]
pub struct Lines {
    text: String,
    is_cut: bool,
}

impl Lines {
    /// Appends a line. Returns false if the text is cut, and no further line is of use.
    pub fn push(&mut self, line: std::fmt::Arguments<'_>) -> bool {
        if self.is_cut {
            return false;
        }
        let before = self.text.len();
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
        if self.text.len() + CUT.len() > MAX_TEXT {
            self.text.truncate(before);
            self.text.push_str(CUT);
            self.is_cut = true;
        }
        !self.is_cut
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_from_outside_become_one_word() {
        for (bytes, expected) in [
            (&b""[..], "-"),
            (b"-", "\\x2d"),
            (b"--", "--"),
            (b"ann", "ann"),
            (b"a b\tc\n", "a\\x20b\\x09c\\x0a"),
            (b"\x1b[31m", "\\x1b[31m"),
            (b"a\\x20", "a\\x5cx20"),
            ("n\u{e9}".as_bytes(), "n\u{e9}"),
            ("\u{85}\u{a0}".as_bytes(), "\\xc2\\x85\\xc2\\xa0"),
            ("\u{202e}x".as_bytes(), "\\xe2\\x80\\xaex"),
            (b"a\xff\xc3", "a\\xff\\xc3"),
        ] {
            assert_eq!(word(bytes), expected);
        }
    }

    #[test]
    fn text_is_cut_between_lines() {
        let mut lines = Lines::default();
        let line = "x".repeat(999);
        let mut pushed = 0;
        while lines.push(format_args!("{line}")) {
            pushed += 1;
        }
        assert!(!lines.push(format_args!("")));
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        assert!(text.len() <= MAX_TEXT && text.len() + 1000 > MAX_TEXT);
        assert_eq!(text.lines().count(), pushed + 1);
        assert!(text.ends_with("x\n\u{2026}\n"));
    }
}
