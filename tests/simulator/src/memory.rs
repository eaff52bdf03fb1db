//! Global memory: exact allocations far apart, in pages that exist once they are touched.

use std::fmt;
use std::sync::Arc;

use crate::bytes::{Bytes, UNWRITTEN, WRITTEN};
use crate::error::{Error, Fault, Kind};
use crate::module::VARIABLES;

/// Bytes of a page; no access is larger or crosses a page.
const PAGE: u64 = 16384;

/// Free addresses between allocations, so that an index that is wrong by a whole tensor hits none.
const GAP: u64 = 1 << 32;

/// The first address.
const START: u64 = 0x7f00_0000_0000;

/// Addresses of variables of modules.
const VARIABLES_RANGE: std::ops::Range<u64> = VARIABLES..VARIABLES + (1 << 40);

/// An allocation of a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer(u64);

impl Pointer {
    /// The address, as a kernel sees it.
    pub fn address(self) -> u64 {
        self.0
    }
}

/// Writes the bytes of an allocation from an offset on.
pub type Rule = dyn Fn(u64, &mut [u8]) + Send + Sync;

/// What a kernel reads where nobody has written.
#[derive(Clone)]
pub enum Fill {
    /// Nothing: reading is an error.
    Unwritten,
    /// The same value in every byte.
    Byte(u8),
    /// Bytes from the given offset on, as a function of the offset alone: the content of tensors
    /// that are too large to exist.
    Rule(Arc<Rule>),
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fill::Unwritten => f.write_str("Unwritten"),
            Fill::Byte(byte) => f.debug_tuple("Byte").field(byte).finish(),
            Fill::Rule(_) => f.write_str("Rule"),
        }
    }
}

#[derive(Clone, Debug)]
struct Allocation {
    name: String,
    start: u64,
    length: u64,
    fill: Fill,
    read_only: bool,
    /// Pages by address, from the one that holds the first byte.
    pages: Vec<Option<Box<Bytes>>>,
}

impl Allocation {
    /// The number of the page of an address, and the place within it.
    fn place(&self, address: u64) -> (usize, usize) {
        ((address / PAGE - self.start / PAGE) as usize, (address % PAGE) as usize)
    }

    fn page(&mut self, number: usize) -> &mut Bytes {
        let (start, fill, length) = (self.start, &self.fill, self.length);
        self.pages[number].get_or_insert_with(|| {
            let begin = (start / PAGE + number as u64) * PAGE;
            let bytes = (start + length - begin).min(PAGE);
            let mut page = match fill {
                Fill::Unwritten => Bytes::new(bytes as usize, 0xcd, UNWRITTEN),
                Fill::Byte(byte) => Bytes::new(bytes as usize, *byte, WRITTEN),
                Fill::Rule(_) => Bytes::new(bytes as usize, 0, WRITTEN),
            };
            if let Fill::Rule(rule) = fill {
                let skip = start.saturating_sub(begin);
                rule(begin + skip - start, &mut page.data[skip as usize..]);
            }
            Box::new(page)
        })
    }
}

/// The global memory of a device.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    allocations: Vec<Allocation>,
}

impl Memory {
    /// A memory without allocations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allocates `length` bytes at an address that is `misalignment` above a multiple of 256 and,
    /// for a misalignment of 0, not a multiple of 512. The bytes before and after belong to nobody.
    /// `name` is what errors call it.
    pub fn allocate(&mut self, name: &str, length: u64, misalignment: u64, fill: Fill) -> Pointer {
        let end = self.allocations.last().map_or(START, |last| last.start + last.length);
        let start = (end + GAP).next_multiple_of(PAGE) + 256 + misalignment;
        self.insert(name, start, length, fill);
        Pointer(start)
    }

    /// Allocates `length` bytes at an address of the caller's choice, as a driver that never uses an
    /// address twice does. Nothing is done where they would touch another allocation.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if they would.
    pub fn allocate_at(
        &mut self,
        name: &str,
        start: u64,
        length: u64,
        fill: Fill,
    ) -> Result<Pointer, Error> {
        let free = |a: &Allocation| a.start + a.length < start || start + length < a.start;
        if !self.allocations.iter().all(free) {
            return Err(nowhere(start));
        }
        self.insert(name, start, length, fill);
        Ok(Pointer(start))
    }

    fn insert(&mut self, name: &str, start: u64, length: u64, fill: Fill) {
        let last = (start + length.max(1) - 1) / PAGE;
        let pages = vec![None; (last - start / PAGE + 1) as usize];
        let name = name.to_owned();
        let read_only = false;
        self.allocations.push(Allocation { name, start, length, fill, read_only, pages });
        self.allocations.sort_by_key(|allocation| allocation.start);
    }

    /// An allocation with this content.
    pub fn allocate_from(&mut self, name: &str, content: &[u8], misalignment: u64) -> Pointer {
        let pointer = self.allocate(name, content.len() as u64, misalignment, Fill::Unwritten);
        let at = self.find(pointer.0).unwrap_or_default();
        self.copy_in(at, pointer.0, content);
        pointer
    }

    /// Forgets the variables of all modules: a launch brings its own.
    pub(crate) fn remove_variables(&mut self) {
        self.allocations.retain(|allocation| !VARIABLES_RANGE.contains(&allocation.start));
    }

    /// Places a variable of the module, with its content, for one launch.
    pub(crate) fn place(&mut self, name: &str, start: u64, content: &[u8]) {
        self.insert(name, start, content.len() as u64, Fill::Unwritten);
        let at = self.find(start).unwrap_or_default();
        self.copy_in(at, start, content);
    }

    /// Frees an allocation.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if there is none that begins there.
    pub fn free(&mut self, pointer: Pointer) -> Result<(), Error> {
        if self.remove(pointer.0) { Ok(()) } else { Err(nowhere(pointer.0)) }
    }

    fn remove(&mut self, start: u64) -> bool {
        let before = self.allocations.len();
        self.allocations.retain(|allocation| allocation.start != start);
        self.allocations.len() < before
    }

    /// Makes every write of a kernel to an allocation an error, or allows it again.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if the address is in no allocation.
    pub fn protect(&mut self, address: u64, read_only: bool) -> Result<(), Error> {
        let at = self.find(address).ok_or_else(|| nowhere(address))?;
        self.allocations[at].read_only = read_only;
        Ok(())
    }

    /// Writes bytes from the host.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if they do not lie within one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let at = self.range(address, bytes.len() as u64)?;
        self.copy_in(at, address, bytes);
        Ok(())
    }

    /// Reads bytes to the host.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if they do not lie within one allocation; [`Kind::Uninitialised`]
    /// with the first address, if nobody has written one of them.
    pub fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let at = self.range(address, length as u64)?;
        let mut next = address;
        while next < address + length as u64 {
            let (number, place) = self.allocations[at].place(next);
            let page = self.allocations[at].page(number);
            let count = (page.data.len() - place).min((address + length as u64 - next) as usize);
            let range = place..place + count;
            if let Some(offset) = page.state[range].iter().position(|&state| state != WRITTEN) {
                let first = next + offset as u64;
                let what = format!("nobody wrote {}", self.describe(first));
                let mut error = Error::new(Kind::Uninitialised, what);
                error.address = Some(first);
                return Err(error);
            }
            next += count as u64;
        }
        self.peek(address, length)
    }

    /// Reads bytes whether or not somebody wrote them, as a copy to the host does.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if they do not lie within one allocation.
    pub fn peek(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let at = self.range(address, length as u64)?;
        let mut content = Vec::with_capacity(length);
        while content.len() < length {
            let (number, place) = self.allocations[at].place(address + content.len() as u64);
            let page = self.allocations[at].page(number);
            let count = (page.data.len() - place).min(length - content.len());
            content.extend_from_slice(&page.data[place..place + count]);
        }
        Ok(content)
    }

    /// The first address and the length of the allocation that holds an address.
    pub fn allocation(&self, address: u64) -> Option<(Pointer, u64)> {
        let allocation = &self.allocations[self.find(address)?];
        Some((Pointer(allocation.start), allocation.length))
    }

    /// Whether every byte of a range has been written, and if so, by host, fill or kernel alike.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if it does not lie within one allocation.
    pub fn is_written(&mut self, address: u64, length: usize) -> Result<bool, Error> {
        match self.read(address, length) {
            Err(error) if error.kind == Kind::Uninitialised => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// How many bytes of an allocation have been written, by host or kernel; of one that is
    /// [`Fill::Unwritten`].
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if the address is in no allocation.
    pub fn count_written(&self, address: u64) -> Result<u64, Error> {
        let at = self.find(address).ok_or_else(|| nowhere(address))?;
        let states = self.allocations[at].pages.iter().flatten().flat_map(|page| &page.state);
        Ok(states.filter(|&&state| state == WRITTEN).count() as u64)
    }

    /// Makes a range unwritten again, as a workspace between two runs is.
    ///
    /// # Errors
    /// [`Kind::OutOfBounds`] if it does not lie within one allocation.
    pub fn forget(&mut self, address: u64, length: usize) -> Result<(), Error> {
        let at = self.range(address, length as u64)?;
        for next in address..address + length as u64 {
            let (number, place) = self.allocations[at].place(next);
            self.allocations[at].page(number).state[place] = UNWRITTEN;
        }
        Ok(())
    }

    /// The name of the allocation of an address, and the offset within it.
    pub fn describe(&self, address: u64) -> String {
        match self.find(address) {
            Some(at) => {
                let allocation = &self.allocations[at];
                format!("{} + {} bytes", allocation.name, address - allocation.start)
            }
            None => self.nearest(address),
        }
    }

    /// How far an address is from the next allocation.
    fn nearest(&self, address: u64) -> String {
        let distance = |a: &&Allocation| match address < a.start {
            true => a.start - address,
            false => address - (a.start + a.length).min(address),
        };
        match self.allocations.iter().min_by_key(distance) {
            Some(a) if address < a.start => {
                format!("{} bytes before {} ({} bytes)", a.start - address, a.name, a.length)
            }
            Some(a) => {
                let past = address - a.start - a.length;
                format!("{past} bytes past the end of {} ({} bytes)", a.name, a.length)
            }
            None => "no allocation".to_owned(),
        }
    }

    fn find(&self, address: u64) -> Option<usize> {
        let at = self.allocations.partition_point(|allocation| allocation.start <= address);
        let at = at.checked_sub(1)?;
        let allocation = &self.allocations[at];
        let inside = address - allocation.start < allocation.length.max(1);
        inside.then_some(at)
    }

    fn range(&self, address: u64, length: u64) -> Result<usize, Error> {
        let at = self.find(address).ok_or_else(|| nowhere(address))?;
        let allocation = &self.allocations[at];
        if address - allocation.start + length > allocation.length {
            return Err(nowhere(address + length));
        }
        Ok(at)
    }

    fn copy_in(&mut self, at: usize, address: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (number, place) = self.allocations[at].place(address + done as u64);
            let page = self.allocations[at].page(number);
            let count = (page.data.len() - place).min(bytes.len() - done);
            page.data[place..place + count].copy_from_slice(&bytes[done..done + count]);
            page.state[place..place + count].fill(WRITTEN);
            done += count;
        }
    }

    /// Forgets who touched what: a launch begins.
    pub(crate) fn clear_records(&mut self) {
        for page in self.allocations.iter_mut().flat_map(|a| &mut a.pages).flatten() {
            page.clear_records();
        }
    }

    /// The page of an access of a kernel. `hint` is the allocation of the last access.
    pub(crate) fn access(
        &mut self,
        address: u64,
        length: u64,
        write: bool,
        hint: &mut usize,
    ) -> Result<(&mut Bytes, usize), Fault> {
        let within = |a: &Allocation| {
            address.checked_sub(a.start).is_some_and(|o| o < a.length && o + length <= a.length)
        };
        if !self.allocations.get(*hint).is_some_and(within) {
            match self.find(address).filter(|&at| within(&self.allocations[at])) {
                Some(at) => *hint = at,
                None => return Err(self.outside(address, length, write)),
            }
        }
        let allocation = &mut self.allocations[*hint];
        if write && allocation.read_only {
            let what = format!("{} is read-only", allocation.name);
            return Err(Fault::new(Kind::OutOfBounds, what).address(address));
        }
        let (number, place) = allocation.place(address);
        Ok((allocation.page(number), place))
    }

    fn outside(&self, address: u64, length: u64, write: bool) -> Fault {
        let name = if write { "write" } else { "read" };
        let place = match self.find(address) {
            Some(_) => self.nearest(address + length),
            None => self.nearest(address),
        };
        let reach = if self.find(address).is_some() { ", ending " } else { ", " };
        Fault::new(Kind::OutOfBounds, format!("{name} of {length} bytes{reach}{place}"))
            .address(address)
    }
}

fn nowhere(address: u64) -> Error {
    let mut error = Error::new(Kind::OutOfBounds, "the host's range is not in one allocation");
    error.address = Some(address);
    error
}
