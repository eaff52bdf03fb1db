//! Registers and labels, which inline assembly declares in scopes of its own.

use std::collections::HashMap;

use crate::lex::Token;
use crate::types::Type;

/// A declared register; predicates are counted apart from the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    pub ty: Type,
    pub index: u32,
}

/// A statement before it is decoded.
pub(crate) struct Statement {
    pub tokens: Vec<Token>,
    pub scope: usize,
    pub line: usize,
}

#[derive(Default)]
struct Scope {
    outer: Option<usize>,
    registers: HashMap<String, Register>,
    labels: HashMap<String, u32>,
    tables: HashMap<String, Vec<String>>,
}

/// All scopes of a kernel; number 0 is its body.
pub(crate) struct Names {
    scopes: Vec<Scope>,
}

impl Names {
    pub fn new() -> Self {
        Names { scopes: vec![Scope::default()] }
    }

    /// A new scope within another.
    pub fn open(&mut self, outer: usize) -> usize {
        self.scopes.push(Scope { outer: Some(outer), ..Scope::default() });
        self.scopes.len() - 1
    }

    pub fn declare(&mut self, scope: usize, name: String, register: Register) {
        self.scopes[scope].registers.insert(name, register);
    }

    pub fn label(&mut self, scope: usize, name: String, target: u32) {
        self.scopes[scope].labels.insert(name, target);
    }

    pub fn table(&mut self, scope: usize, name: String, targets: Vec<String>) {
        self.scopes[scope].tables.insert(name, targets);
    }

    pub fn register(&self, scope: usize, name: &str) -> Option<Register> {
        self.find(scope, |scope| scope.registers.get(name).copied())
    }

    pub fn target(&self, scope: usize, name: &str) -> Option<u32> {
        self.find(scope, |scope| scope.labels.get(name).copied())
    }

    pub fn targets(&self, scope: usize, name: &str) -> Option<Vec<u32>> {
        let names = self.find(scope, |scope| scope.tables.get(name).cloned())?;
        names.iter().map(|name| self.target(scope, name)).collect()
    }

    fn find<T>(&self, mut scope: usize, get: impl Fn(&Scope) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = get(&self.scopes[scope]) {
                return Some(found);
            }
            scope = self.scopes[scope].outer?;
        }
    }
}
