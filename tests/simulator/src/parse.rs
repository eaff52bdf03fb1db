//! Directives, declarations and statements of a module.

use std::collections::HashMap;

use crate::decode;
use crate::error::{Error, Kind};
use crate::lex::{Token, tokens};
use crate::module::{
    Entry, GUARD, LOCAL_WINDOW, Module, PARAMETERS, SHARED_START, VARIABLES, Variable,
};
use crate::names::{Names, Register, Statement};
use crate::types::Type;

/// Reads a whole text.
pub(crate) fn module(text: &str) -> Result<Module, Error> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut module = Module {
        entries: Vec::new(),
        variables: Vec::new(),
        version: String::new(),
        target: String::new(),
    };
    let mut shared = Vec::new();
    while let Some(token) = parser.peek() {
        match token.text.as_str() {
            ".version" => {
                parser.at += 1;
                module.version = parser.word()?;
            }
            ".target" => {
                module.target = parser.rest_of_line().get(1).cloned().unwrap_or_default();
            }
            ".address_size" => {
                if parser.rest_of_line().get(1).is_none_or(|size| size != "64") {
                    return Err(parser.error("only .address_size 64 is modelled"));
                }
            }
            ".file" | ".loc" => drop(parser.rest_of_line()),
            ".pragma" => parser.skip_past(";")?,
            ".section" => parser.skip_block()?,
            ".visible" | ".weak" | ".extern" | ".common" => parser.at += 1,
            ".func" => parser.skip_function()?,
            ".entry" => {
                let entry = parser.entry(&shared, &module.variables)?;
                module.entries.push(entry);
            }
            ".shared" => shared.push(parser.declaration()?),
            ".global" | ".const" => {
                let end = module.variables.last().map_or(VARIABLES, |v| v.address + v.bytes);
                let declared = parser.declaration()?;
                module.variables.push(declared.place(end, Some(0)));
            }
            _ => return Err(parser.error("unknown directive")),
        }
    }
    Ok(module)
}

/// A variable before it has an address.
#[derive(Clone)]
struct Declaration {
    name: String,
    alignment: u64,
    /// `None` for dynamic shared memory.
    bytes: Option<u64>,
    content: Option<Vec<u8>>,
}

impl Declaration {
    /// The first address after `end` and a guard that is as aligned as was asked for, and not more.
    fn place(self, end: u64, fill: Option<u8>) -> Variable {
        let step = 2 * self.alignment;
        let address = (end + GUARD).next_multiple_of(step) + self.alignment;
        let bytes = self.bytes.unwrap_or(0);
        let content = self.content.or(fill.map(|fill| vec![fill; bytes as usize]));
        Variable { name: self.name, address, bytes, content }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is(&self, text: &str) -> bool {
        self.peek().is_some_and(|token| token.text == text)
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.is(text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        if self.accept(text) { Ok(()) } else { Err(self.error(&format!("expected {text:?}"))) }
    }

    fn word(&mut self) -> Result<String, Error> {
        match self.peek() {
            Some(token) if token.is_word() => {
                self.at += 1;
                Ok(self.tokens[self.at - 1].text.clone())
            }
            _ => Err(self.error("expected a word")),
        }
    }

    fn number(&mut self) -> Result<u64, Error> {
        let negative = self.accept("-");
        let word = self.word()?;
        match decode::integer(&word) {
            Some(value) if negative => Ok(value.wrapping_neg()),
            Some(value) => Ok(value),
            None => {
                self.at -= 1;
                Err(self.error("expected a number"))
            }
        }
    }

    fn error(&self, what: &str) -> Error {
        let Some(token) = self.peek().or(self.tokens.last()) else {
            return Error::new(Kind::Parse, what);
        };
        Error::new(Kind::Parse, what).at(token.line, &self.line_text(token.line))
    }

    fn line_text(&self, line: usize) -> String {
        let words: Vec<&str> =
            self.tokens.iter().filter(|t| t.line == line).map(|t| t.text.as_str()).collect();
        words.join(" ")
    }

    fn rest_of_line(&mut self) -> Vec<String> {
        let line = self.tokens[self.at].line;
        let mut words = Vec::new();
        while let Some(token) = self.peek().filter(|token| token.line == line) {
            words.push(token.text.clone());
            self.at += 1;
        }
        words
    }

    fn skip_past(&mut self, text: &str) -> Result<(), Error> {
        while !self.accept(text) {
            if self.peek().is_none() {
                return Err(self.error(&format!("expected {text:?} before the end")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn skip_block(&mut self) -> Result<(), Error> {
        self.skip_past("{")?;
        let mut depth = 1;
        while depth > 0 {
            let Some(token) = self.peek() else { return Err(self.error("a block has no end")) };
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A device function: nothing calls it, or the call is an error.
    fn skip_function(&mut self) -> Result<(), Error> {
        while !self.is("{") && !self.is(";") {
            if self.peek().is_none() {
                return Err(self.error("a function has no body"));
            }
            self.at += 1;
        }
        if self.accept(";") { Ok(()) } else { self.skip_block() }
    }

    /// `.space [.align n] .type name[n]... [= {...}];`
    fn declaration(&mut self) -> Result<Declaration, Error> {
        self.at += 1;
        let mut alignment = None;
        if self.accept(".align") {
            alignment = Some(self.number()?);
        }
        let mut ty = self.word()?;
        if ty == ".attribute" {
            return Err(self.error("this attribute is not modelled"));
        }
        let lanes = match ty.as_str() {
            ".v2" => 2,
            ".v4" => 4,
            _ => 1,
        };
        if lanes > 1 {
            ty = self.word()?;
        }
        let Some(ty) = Type::parse(&ty[1..]) else { return Err(self.error("unknown type")) };
        let element = u64::from(ty.bytes());
        let name = self.word()?;
        let mut bytes = Some(element * lanes);
        while self.accept("[") {
            let length = if self.is("]") { None } else { Some(self.number()?) };
            bytes = bytes.zip(length).map(|(bytes, length)| bytes * length);
            self.expect("]")?;
        }
        let mut content = None;
        if self.accept("=") {
            content = Some(self.initialiser(ty, bytes)?);
        }
        self.expect(";")?;
        let alignment = alignment.unwrap_or(element * lanes);
        Ok(Declaration { name, alignment, bytes, content })
    }

    fn initialiser(&mut self, ty: Type, bytes: Option<u64>) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        let mut depth = 0;
        loop {
            if self.accept("{") {
                depth += 1;
            } else if self.accept("}") {
                depth -= 1;
            } else if !self.accept(",") {
                let word = self.peek().map_or(String::new(), |token| token.text.clone());
                let value = match decode::float(&word, ty) {
                    Some(bits) => {
                        self.at += 1;
                        bits
                    }
                    None => self.number()?,
                };
                content.extend(&value.to_le_bytes()[..ty.bytes() as usize]);
            }
            if depth == 0 {
                break;
            }
        }
        if let Some(bytes) = bytes {
            content.resize(bytes as usize, 0);
        }
        Ok(content)
    }

    fn dimensions(&mut self) -> Result<[u32; 3], Error> {
        let mut found = [1; 3];
        for value in &mut found {
            *value = self.number()? as u32;
            if !self.accept(",") {
                break;
            }
        }
        Ok(found)
    }

    fn entry(&mut self, shared: &[Declaration], globals: &[Variable]) -> Result<Entry, Error> {
        self.at += 1;
        let name = self.word()?;
        let mut entry = Entry {
            name,
            parameters: Vec::new(),
            parameter_bytes: 0,
            shared: Vec::new(),
            dynamic_shared: 0,
            local: Vec::new(),
            registers: 0,
            predicates: 0,
            constants: Vec::new(),
            code: Vec::new(),
            cluster: None,
            explicit_cluster: false,
            most_threads: None,
            exact_threads: None,
        };
        if self.accept("(") {
            while !self.accept(")") {
                self.parameter(&mut entry)?;
            }
        }
        while !self.accept("{") {
            let Some(token) = self.peek() else { return Err(self.error("a kernel has no body")) };
            let text = token.text.clone();
            self.at += 1;
            match text.as_str() {
                ".maxntid" => entry.most_threads = Some(self.dimensions()?),
                ".reqntid" => entry.exact_threads = Some(self.dimensions()?),
                ".reqnctapercluster" => entry.cluster = Some(self.dimensions()?),
                ".explicitcluster" => entry.explicit_cluster = true,
                ".minnctapersm" | ".maxnreg" | ".maxclusterrank" => drop(self.dimensions()?),
                ".noreturn" | ".blocksareclusters" => {}
                ".pragma" => self.skip_past(";")?,
                _ => {
                    self.at -= 1;
                    return Err(self.error("unknown directive of a kernel"));
                }
            }
        }
        self.body(entry, shared, globals)
    }

    /// `.param [.align n] .type [.ptr ...] name[n]`
    fn parameter(&mut self, entry: &mut Entry) -> Result<(), Error> {
        self.expect(".param")?;
        let mut alignment = None;
        if self.accept(".align") {
            alignment = Some(self.number()?);
        }
        let ty = self.word()?;
        let Some(ty) = Type::parse(&ty[1..]) else { return Err(self.error("unknown type")) };
        while self.is(".ptr") || self.is(".global") || self.is(".align") {
            if self.accept(".align") {
                self.number()?;
            } else {
                self.at += 1;
            }
        }
        let name = self.word()?;
        let mut bytes = u64::from(ty.bytes());
        let alignment = alignment.unwrap_or(bytes);
        if self.accept("[") {
            bytes *= self.number()?;
            self.expect("]")?;
        }
        self.accept(",");
        let offset = entry.parameter_bytes.next_multiple_of(alignment);
        entry.parameters.push((name, offset, bytes));
        entry.parameter_bytes = offset + bytes;
        Ok(())
    }

    fn body(
        &mut self,
        mut entry: Entry,
        shared: &[Declaration],
        globals: &[Variable],
    ) -> Result<Entry, Error> {
        let mut names = Names::new();
        let mut scope = 0;
        let mut statements = Vec::new();
        let mut shared = shared.to_vec();
        let mut local: u64 = LOCAL_WINDOW;
        let mut scopes = vec![0];
        while let Some(token) = self.peek() {
            match token.text.as_str() {
                "{" => {
                    scope = names.open(scope);
                    scopes.push(scope);
                    self.at += 1;
                }
                "}" => {
                    self.at += 1;
                    scopes.pop();
                    let Some(&outer) = scopes.last() else {
                        return finish(entry, names, statements, shared, globals);
                    };
                    scope = outer;
                }
                ";" => self.at += 1,
                ".reg" => self.registers(&mut names, scope, &mut entry)?,
                ".shared" => shared.push(self.declaration()?),
                ".local" => {
                    let variable = self.declaration()?.place(local, None);
                    local = variable.address + variable.bytes;
                    entry.local.push(variable);
                }
                ".loc" | ".file" => drop(self.rest_of_line()),
                ".pragma" => self.skip_past(";")?,
                _ => self.statement(&mut names, scope, &mut statements)?,
            }
        }
        Err(self.error("the body of a kernel has no end"))
    }

    /// `.reg .type name<n>, name...;`
    fn registers(
        &mut self,
        names: &mut Names,
        scope: usize,
        entry: &mut Entry,
    ) -> Result<(), Error> {
        self.at += 1;
        let ty = self.word()?;
        let Some(ty) = Type::parse(&ty[1..]) else { return Err(self.error("unknown type")) };
        if ty.bits() > 64 {
            return Err(self.error("registers of 128 bits are not modelled"));
        }
        loop {
            let name = self.word()?;
            let count = if self.accept("<") {
                let count = self.number()?;
                self.expect(">")?;
                Some(count)
            } else {
                None
            };
            let next = match ty {
                Type::Pred => &mut entry.predicates,
                _ => &mut entry.registers,
            };
            for number in 0..count.unwrap_or(1) {
                let name = if count.is_some() { format!("{name}{number}") } else { name.clone() };
                names.declare(scope, name, Register { ty, index: *next });
                *next += 1;
            }
            if !self.accept(",") {
                return self.expect(";");
            }
        }
    }

    fn statement(
        &mut self,
        names: &mut Names,
        scope: usize,
        statements: &mut Vec<Statement>,
    ) -> Result<(), Error> {
        let line = self.tokens[self.at].line;
        let labelled = self.tokens.get(self.at + 1).is_some_and(|token| token.text == ":");
        if labelled {
            let label = self.word()?;
            self.at += 1;
            if self.accept(".branchtargets") {
                let mut targets = Vec::new();
                while !self.accept(";") {
                    targets.push(self.word()?);
                    self.accept(",");
                }
                names.table(scope, label, targets);
            } else {
                names.label(scope, label, statements.len() as u32);
            }
            return Ok(());
        }
        let start = self.at;
        self.skip_past(";")?;
        let tokens = self.tokens[start..self.at - 1].to_vec();
        statements.push(Statement { tokens, scope, line });
        Ok(())
    }
}

/// Places the variables and decodes the statements.
fn finish(
    mut entry: Entry,
    names: Names,
    statements: Vec<Statement>,
    shared: Vec<Declaration>,
    globals: &[Variable],
) -> Result<Entry, Error> {
    let mut addresses: HashMap<String, u64> =
        globals.iter().map(|variable| (variable.name.clone(), variable.address)).collect();
    for (name, offset, _) in &entry.parameters {
        addresses.insert(name.clone(), PARAMETERS + offset);
    }
    let (fixed, dynamic): (Vec<_>, Vec<_>) =
        shared.into_iter().partition(|declared| declared.bytes.is_some_and(|bytes| bytes > 0));
    let mut end = SHARED_START;
    for declared in fixed {
        let variable = declared.place(end, None);
        end = variable.address + variable.bytes;
        addresses.insert(variable.name.clone(), variable.address);
        entry.shared.push(variable);
    }
    let alignment = dynamic.iter().map(|declared| declared.alignment).max().unwrap_or(16);
    let start = Declaration { name: String::new(), alignment, bytes: None, content: None };
    entry.dynamic_shared = start.place(end, None).address;
    addresses.extend(dynamic.into_iter().map(|declared| (declared.name, entry.dynamic_shared)));
    addresses.extend(entry.local.iter().map(|local| (local.name.clone(), local.address)));
    decode::code(&mut entry, &names, &addresses, &statements)?;
    Ok(entry)
}
