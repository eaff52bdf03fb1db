//! A parsed module: its kernels with their parameters, variables and code.

use crate::error::{Error, Kind};
use crate::op::{Instruction, Lanes, Op};

/// Free bytes around every variable, so that a neighbour is not mistaken for it.
pub(crate) const GUARD: u64 = 256;

/// Where variables of the module lie.
pub(crate) const VARIABLES: u64 = 0x0500_0000_0000;

/// Where parameters lie.
pub(crate) const PARAMETERS: u64 = 0x0400_0000_0000;

/// Where generic addresses of shared memory begin.
pub(crate) const SHARED_WINDOW: u64 = 0x0200_0000_0000;

/// Where local memory of every thread begins.
pub(crate) const LOCAL_WINDOW: u64 = 0x0300_0000_0000;

/// The first address of shared memory, so that 0 is no address of anything.
pub(crate) const SHARED_START: u64 = 1024;

/// Bits of an address within the shared memory of one CTA; above them stands its rank plus 1,
/// or 0 for the thread's own CTA.
pub(crate) const SHARED_BITS: u32 = 24;

/// A variable in memory.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub name: String,
    pub address: u64,
    pub bytes: u64,
    /// Its content at the launch; `None`: not initialised.
    pub content: Option<Vec<u8>>,
}

/// Everything in one PTX text.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) entries: Vec<Entry>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) version: String,
    pub(crate) target: String,
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) name: String,
    /// Offset and size of each parameter.
    pub(crate) parameters: Vec<(String, u64, u64)>,
    pub(crate) parameter_bytes: u64,
    /// Every static variable in shared memory.
    pub(crate) shared: Vec<Variable>,
    /// Where dynamic shared memory begins.
    pub(crate) dynamic_shared: u64,
    pub(crate) local: Vec<Variable>,
    pub(crate) registers: u32,
    pub(crate) predicates: u32,
    pub(crate) constants: Vec<Lanes>,
    pub(crate) code: Vec<Instruction>,
    pub(crate) cluster: Option<[u32; 3]>,
    pub(crate) explicit_cluster: bool,
    pub(crate) most_threads: Option<[u32; 3]>,
    pub(crate) exact_threads: Option<[u32; 3]>,
}

impl Module {
    /// Reads a PTX text.
    ///
    /// # Errors
    /// [`Kind::Parse`], with the line, if the text is not PTX or uses an instruction, modifier or
    /// directive that is not modelled.
    pub fn parse(text: &str) -> Result<Self, Error> {
        crate::parse::module(text)
    }

    /// The names of the kernels, in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// A kernel.
    ///
    /// # Errors
    /// [`Kind::Launch`], with the names that there are, if there is none of that name.
    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.entries().collect();
            Error::new(Kind::Launch, format!("no kernel is named {name}; there are {names:?}"))
        })
    }

    /// The PTX version that the text states, such as `9.5`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The architecture that the text states, such as `sm_90`.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl Entry {
    /// Size and offset of each parameter in bytes.
    pub fn parameters(&self) -> impl Iterator<Item = (u64, u64)> {
        self.parameters.iter().map(|&(_, offset, bytes)| (bytes, offset))
    }

    /// The size of all parameters with the padding between them.
    pub fn parameter_bytes(&self) -> u64 {
        self.parameter_bytes
    }

    /// Static shared memory in bytes, without padding.
    pub fn static_shared(&self) -> u64 {
        self.shared.iter().map(|variable| variable.bytes).sum()
    }

    /// Local memory per thread in bytes: 0 for a kernel without arrays indexed at run time.
    pub fn local(&self) -> u64 {
        self.local.iter().map(|variable| variable.bytes).sum()
    }

    /// The cluster that the kernel is compiled for.
    pub fn cluster(&self) -> Option<[u32; 3]> {
        self.cluster
    }

    /// The largest number of threads of a CTA that the kernel is compiled for.
    pub fn most_threads(&self) -> Option<u32> {
        self.exact_threads.or(self.most_threads).map(|n| n.iter().product())
    }

    /// Opcodes with modifiers in the order of the text: what a static check counts.
    pub fn opcodes(&self) -> impl Iterator<Item = &str> {
        self.code.iter().map(|instruction| instruction.opcode.as_str())
    }

    /// Whether an instruction is a branch backwards, and to which instruction: the loops.
    pub fn loops(&self) -> impl Iterator<Item = (usize, usize)> {
        self.code.iter().enumerate().filter_map(|(at, instruction)| match instruction.op {
            Op::Branch { to } if to as usize <= at => Some((to as usize, at)),
            _ => None,
        })
    }
}
