//! Statements to instructions. Every modifier and operand must be accounted for: what is left
//! over is an error that names the line.

mod arithmetic;
mod asynchronous;
mod control;
mod float;
mod memory;
mod moves;
mod operands;

use std::collections::{HashMap, VecDeque};

use crate::error::{Error, Kind};
use crate::module::Entry;
use crate::names::{Names, Register, Statement};
use crate::op::{Address, Dst, Instruction, LANES, Op, Pred, Src};
use crate::types::Type;
use operands::Arg;
pub(crate) use operands::{float, integer};

/// Why a statement was refused; its line is added later.
type Refusal = String;

/// Decodes all statements of a kernel into `entry.code`.
pub(crate) fn code(
    entry: &mut Entry,
    names: &Names,
    addresses: &HashMap<String, u64>,
    statements: &[Statement],
) -> Result<(), Error> {
    let mut constants = HashMap::new();
    for statement in statements {
        let words: Vec<&str> = statement.tokens.iter().map(|token| token.text.as_str()).collect();
        let text = words.join(" ");
        let refuse = |what: Refusal| {
            let mut error = Error::new(Kind::Parse, what).at(statement.line, &text);
            error.kernel.clone_from(&entry.name);
            error
        };
        let (guard, rest) = match words.as_slice() {
            ["@", "!", name, rest @ ..] => (Some((*name, true)), rest),
            ["@", name, rest @ ..] => (Some((*name, false)), rest),
            rest => (None, rest),
        };
        let Some((opcode, operands)) = rest.split_first() else {
            return Err(refuse("a statement has no opcode".into()));
        };
        let mut parts = opcode.split('.').map(str::to_owned);
        let mut decoder = Decoder {
            names,
            addresses,
            constants: &mut constants,
            scope: statement.scope,
            root: parts.next().unwrap_or_default(),
            modifiers: parts.collect(),
            args: operands::parse(operands).map_err(refuse)?,
        };
        let mut decode = || -> Result<Instruction, Refusal> {
            let guard = match guard {
                Some((name, negated)) => {
                    Some(Pred::Register { index: decoder.predicate_named(name)?, negated })
                }
                None => None,
            };
            let op = decoder.op()?;
            decoder.finish()?;
            let (opcode, text) = ((*opcode).to_owned(), text.clone());
            Ok(Instruction { op, guard, line: statement.line, opcode, text })
        };
        let instruction = decode().map_err(refuse)?;
        entry.code.push(instruction);
    }
    let mut splats = vec![[0; LANES]; constants.len()];
    for (value, index) in constants {
        splats[index as usize] = [value; LANES];
    }
    entry.constants = splats;
    Ok(())
}

/// A statement that is taken apart.
struct Decoder<'a> {
    names: &'a Names,
    addresses: &'a HashMap<String, u64>,
    constants: &'a mut HashMap<u64, u32>,
    scope: usize,
    root: String,
    modifiers: VecDeque<String>,
    args: VecDeque<Arg>,
}

impl Decoder<'_> {
    fn op(&mut self) -> Result<Op, Refusal> {
        match self.root.as_str() {
            "mov" | "cvta" | "selp" | "slct" | "setp" | "set" | "cvt" | "pack" => self.moves(),
            "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" => self.mufu(),
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "neg"
            | "abs" | "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "bfe"
            | "bfi" | "brev" | "clz" | "popc" | "bfind" | "prmt" | "lop3" | "sad" | "copysign"
            | "testp" | "bmsk" | "szext" => self.arithmetic(),
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "discard" => {
                self.memory()
            }
            "mapa" | "getctarank" | "mbarrier" | "cp" | "createpolicy" | "applypriority" => {
                self.asynchronous()
            }
            _ => self.control(),
        }
    }

    fn finish(&mut self) -> Result<(), Refusal> {
        if let Some(modifier) = self.modifiers.front() {
            return Err(format!("{} with .{modifier} is not modelled", self.root));
        }
        if let Some(arg) = self.args.front() {
            return Err(format!("{} takes no further operand, found {arg:?}", self.root));
        }
        Ok(())
    }

    fn unknown<T>(&self) -> Result<T, Refusal> {
        let modifiers: Vec<&str> = self.modifiers.iter().map(String::as_str).collect();
        let dot = if modifiers.is_empty() { "" } else { "." };
        Err(format!("{}{dot}{} is not modelled", self.root, modifiers.join(".")))
    }

    // ---- modifiers

    /// Takes a modifier wherever it stands.
    fn take(&mut self, modifier: &str) -> bool {
        let at = self.modifiers.iter().position(|found| found == modifier);
        at.map(|at| self.modifiers.remove(at)).is_some()
    }

    /// Takes the first modifier if it is this one.
    fn first(&mut self, modifier: &str) -> bool {
        let found = self.modifiers.front().is_some_and(|front| front == modifier);
        if found {
            self.modifiers.pop_front();
        }
        found
    }

    fn take_any(&mut self, modifiers: &[&'static str]) -> Option<&'static str> {
        modifiers.iter().copied().find(|modifier| self.take(modifier))
    }

    fn next_modifier(&mut self) -> String {
        self.modifiers.pop_front().unwrap_or_default()
    }

    /// Takes the first modifier that is a type.
    fn ty(&mut self) -> Result<Type, Refusal> {
        let at = self.modifiers.iter().position(|modifier| Type::parse(modifier).is_some());
        let word = at.and_then(|at| self.modifiers.remove(at));
        word.and_then(|word| Type::parse(&word)).ok_or_else(|| format!("{} has no type", self.root))
    }

    // ---- operands

    fn arg(&mut self) -> Result<Arg, Refusal> {
        self.args.pop_front().ok_or_else(|| format!("{} lacks an operand", self.root))
    }

    fn constant(&mut self, value: u64) -> Src {
        let next = self.constants.len() as u32;
        Src::Constant(*self.constants.entry(value).or_insert(next))
    }

    fn register_named(&self, name: &str) -> Result<Register, Refusal> {
        let found = self.names.register(self.scope, name);
        found.ok_or_else(|| format!("{name} is not declared"))
    }

    fn predicate_named(&self, name: &str) -> Result<u32, Refusal> {
        match self.register_named(name)? {
            Register { ty: Type::Pred, index } => Ok(index),
            _ => Err(format!("{name} is not a predicate")),
        }
    }

    fn dst_of(&self, arg: &Arg) -> Result<Option<Dst>, Refusal> {
        match arg {
            Arg::Word(name) if name == "_" => Ok(None),
            Arg::Word(name) => match self.register_named(name)? {
                Register { ty: Type::Pred, .. } => Err(format!("{name} is a predicate")),
                Register { ty, index } => Ok(Some(Dst { register: index, mask: ty.mask() })),
            },
            _ => Err(format!("{arg:?} cannot be written")),
        }
    }

    /// A destination, or `None` for the sink `_`.
    fn dst_or_sink(&mut self) -> Result<Option<Dst>, Refusal> {
        let arg = self.arg()?;
        self.dst_of(&arg)
    }

    fn dst(&mut self) -> Result<Dst, Refusal> {
        self.dst_or_sink()?.ok_or_else(|| format!("{} needs a destination", self.root))
    }

    fn predicate_of(&self, arg: &Arg) -> Result<Option<u32>, Refusal> {
        match arg {
            Arg::Word(name) if name == "_" => Ok(None),
            Arg::Word(name) => self.predicate_named(name).map(Some),
            _ => Err(format!("{arg:?} is not a predicate")),
        }
    }

    /// `p` or `p|q`, both of which may be `_`.
    fn predicates(&mut self) -> Result<(Option<u32>, Option<u32>), Refusal> {
        match self.arg()? {
            Arg::Pair(p, q) => Ok((self.predicate_of(&p)?, self.predicate_of(&q)?)),
            p => Ok((self.predicate_of(&p)?, None)),
        }
    }

    /// `d` or `d|p`.
    fn dst_and_predicate(&mut self) -> Result<(Option<Dst>, Option<u32>), Refusal> {
        match self.arg()? {
            Arg::Pair(d, p) => Ok((self.dst_of(&d)?, self.predicate_of(&p)?)),
            d => Ok((self.dst_of(&d)?, None)),
        }
    }

    /// A predicate that is read.
    fn pred(&mut self) -> Result<Pred, Refusal> {
        match self.arg()? {
            Arg::Not(name) => {
                Ok(Pred::Register { index: self.predicate_named(&name)?, negated: true })
            }
            Arg::Word(name) => {
                Ok(Pred::Register { index: self.predicate_named(&name)?, negated: false })
            }
            Arg::Integer(value) => Ok(Pred::Constant(value != 0)),
            arg => Err(format!("{arg:?} is not a predicate")),
        }
    }

    fn src_of(&mut self, arg: &Arg, ty: Type) -> Result<Src, Refusal> {
        if let Arg::Word(name) = arg {
            if let Some(register) = self.names.register(self.scope, name) {
                return match register.ty {
                    Type::Pred => Err(format!("{name} is a predicate")),
                    found if found.bits() < ty.bits() && ty.bits() <= 64 => {
                        Err(format!("{name} has fewer bits than {ty:?}"))
                    }
                    _ => Ok(Src::Register(register.index)),
                };
            }
            return match (name.as_str(), self.addresses.get(name)) {
                (_, Some(&address)) => Ok(self.constant(address)),
                ("WARP_SZ", None) => Ok(self.constant(LANES as u64)),
                _ => Err(format!("{name} is not declared")),
            };
        }
        match arg.bits(ty) {
            Some(value) => Ok(self.constant(value & ty.mask())),
            None => Err(format!("{arg:?} cannot be read as {ty:?}")),
        }
    }

    fn src(&mut self, ty: Type) -> Result<Src, Refusal> {
        let arg = self.arg()?;
        self.src_of(&arg, ty)
    }

    /// A further operand, if there is one.
    fn optional_src(&mut self, ty: Type) -> Result<Option<Src>, Refusal> {
        if self.args.is_empty() { Ok(None) } else { self.src(ty).map(Some) }
    }

    fn address(&mut self) -> Result<Address, Refusal> {
        let Arg::Memory(base, offset) = self.arg()? else {
            return Err(format!("{} needs an address in brackets", self.root));
        };
        let base = match *base {
            Arg::Word(name) if self.names.register(self.scope, &name).is_some() => {
                let register = self.register_named(&name)?;
                Src::Register(register.index)
            }
            arg => self.src_of(&arg, Type::Unsigned(64))?,
        };
        Ok(Address { base, offset })
    }

    /// The parts of `{a, b}`, or one operand.
    fn parts(&mut self) -> Result<Vec<Arg>, Refusal> {
        Ok(match self.arg()? {
            Arg::Vector(parts) => parts,
            arg => vec![arg],
        })
    }
}
