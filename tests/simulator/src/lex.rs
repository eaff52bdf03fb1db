//! Words, punctuation and lines of PTX text.

use crate::error::{Error, Kind};

/// A token and the line it stands on, from 1.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    /// Whether it is a name, number, opcode or directive rather than punctuation.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(is_word)
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// Cuts a text into tokens; comments vanish, strings are one token with their first quote.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text.trim_end_matches('\0');
    while let Some(c) = rest.chars().next() {
        let length = if c == '\n' {
            line += 1;
            1
        } else if c.is_whitespace() {
            c.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").map_or(rest.len(), |at| at + 2);
            line += rest[..end].matches('\n').count();
            end
        } else if c == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |at| at + 2);
            found.push(Token { text: rest[..end - 1].to_owned(), line });
            end
        } else if is_word(c) {
            let length = word_length(rest);
            found.push(Token { text: rest[..length].to_owned(), line });
            length
        } else if c.is_ascii_punctuation() {
            found.push(Token { text: c.to_string(), line });
            1
        } else {
            let what = format!("the character {c:?} has no meaning in PTX");
            return Err(Error::new(Kind::Parse, what).at(line, &c.to_string()));
        };
        rest = &rest[length..];
    }
    Ok(found)
}

/// A word goes on through `::`, but a single `:` ends a label.
fn word_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = &text[length..];
        if rest.starts_with(is_word) {
            length += 1;
        } else if length > 0 && rest.starts_with("::") {
            length += 2;
        } else {
            return length;
        }
    }
}
