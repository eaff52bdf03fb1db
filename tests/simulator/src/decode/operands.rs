//! The syntax of operands and numbers.

use std::collections::VecDeque;

use super::Refusal;
use crate::types::Type;

/// An operand before names are looked up.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    Word(String),
    Not(String),
    Integer(u64),
    /// A decimal fraction: the instruction says how wide it is.
    Real(f64),
    /// `0f...` or `0d...`: bits.
    Bits(u64),
    Memory(Box<Arg>, i64),
    Vector(Vec<Arg>),
    Pair(Box<Arg>, Box<Arg>),
}

impl Arg {
    /// The value of a number, as a value of the type.
    pub fn bits(&self, ty: Type) -> Option<u64> {
        match *self {
            Arg::Integer(value) if ty == Type::F32 => {
                Some(u64::from((value as i64 as f32).to_bits()))
            }
            Arg::Integer(value) if ty == Type::F64 => Some((value as i64 as f64).to_bits()),
            Arg::Integer(value) | Arg::Bits(value) => Some(value),
            Arg::Real(value) if ty.bits() == 64 => Some(value.to_bits()),
            Arg::Real(value) => Some(u64::from((value as f32).to_bits())),
            _ => None,
        }
    }
}

/// A decimal, hexadecimal, octal or binary integer.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let text = text.strip_suffix('U').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = text.strip_prefix("0b").or(text.strip_prefix("0B")) {
        u64::from_str_radix(digits, 2).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(&text[1..], 8).ok()
    } else {
        text.parse().ok()
    }
}

/// A floating-point number as the bits of a type.
pub(crate) fn float(text: &str, ty: Type) -> Option<u64> {
    number(text)?.bits(ty).filter(|_| integer(text).is_none())
}

fn number(text: &str) -> Option<Arg> {
    for prefix in ["0f", "0F", "0d", "0D"] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| digits.len() >= 8) {
            return u64::from_str_radix(digits, 16).ok().map(Arg::Bits);
        }
    }
    if let Some(value) = integer(text) {
        return Some(Arg::Integer(value));
    }
    let decimal = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
    if decimal { text.parse().ok().map(Arg::Real) } else { None }
}

/// Operands separated by commas.
pub(super) fn parse(tokens: &[&str]) -> Result<VecDeque<Arg>, Refusal> {
    let mut reader = Reader { tokens, at: 0 };
    let mut args = VecDeque::new();
    while reader.at < tokens.len() {
        args.push_back(reader.arg()?);
        if reader.at < tokens.len() && !reader.accept(",") {
            return Err(format!("expected a comma before {:?}", tokens[reader.at]));
        }
    }
    Ok(args)
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Reader<'_> {
    fn accept(&mut self, text: &str) -> bool {
        let found = self.tokens.get(self.at) == Some(&text);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Result<&str, Refusal> {
        self.at += 1;
        self.tokens.get(self.at - 1).copied().ok_or_else(|| "an operand is missing".into())
    }

    fn arg(&mut self) -> Result<Arg, Refusal> {
        let first = self.simple()?;
        if self.accept("|") {
            let second = self.simple()?;
            return Ok(Arg::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple(&mut self) -> Result<Arg, Refusal> {
        if self.accept("[") {
            return self.memory();
        }
        if self.accept("{") {
            let mut parts = Vec::new();
            while !self.accept("}") {
                parts.push(self.simple()?);
                self.accept(",");
            }
            return Ok(Arg::Vector(parts));
        }
        if self.accept("!") {
            return Ok(Arg::Not(self.next()?.to_owned()));
        }
        if self.accept("-") {
            let text = self.next()?;
            return match number(text) {
                Some(Arg::Integer(value)) => Ok(Arg::Integer(value.wrapping_neg())),
                Some(Arg::Real(value)) => Ok(Arg::Real(-value)),
                _ => Err(format!("-{text} is not a number")),
            };
        }
        let text = self.next()?;
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')) {
            return Err(format!("unexpected {text:?}"));
        }
        Ok(number(text).unwrap_or_else(|| Arg::Word(text.to_owned())))
    }

    /// After the bracket: `base`, `base+offset`, `base+-offset` or `base-offset`.
    fn memory(&mut self) -> Result<Arg, Refusal> {
        let base = self.simple()?;
        let mut offset = 0i64;
        while !self.accept("]") {
            let plus = self.accept("+");
            let minus = self.accept("-");
            if !plus && !minus {
                return Err("expected + or ] in an address".into());
            }
            let text = self.next()?;
            let value = integer(text).ok_or_else(|| format!("{text} is not an offset"))? as i64;
            offset += if minus { -value } else { value };
        }
        Ok(Arg::Memory(Box::new(base), offset))
    }
}
