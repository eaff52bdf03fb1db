//! What callers hold handles of.

use std::collections::BTreeMap;

use crate::code::{Code, Outcome};

/// A pointer that points at nothing, as the caller sees it. None is used twice.
pub(crate) type Handle = u64;

/// Things by handle. Handles of different tables differ.
#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: &'static str,
    next: Handle,
    items: BTreeMap<Handle, T>,
}

impl<T> Table<T> {
    /// An empty table of things of this kind; its first byte tells handles apart.
    pub fn new(kind: &'static str) -> Self {
        let first = kind.as_bytes().first().copied().unwrap_or_default();
        Table { kind, next: (u64::from(first) << 40) + 0x10, items: BTreeMap::new() }
    }

    /// A handle for something to come.
    pub fn reserve(&mut self) -> Handle {
        self.next += 0x10;
        self.next - 0x10
    }

    pub fn insert(&mut self, item: T) -> Handle {
        let handle = self.reserve();
        self.items.insert(handle, item);
        handle
    }

    pub fn put(&mut self, handle: Handle, item: T) {
        self.items.insert(handle, item);
    }

    pub fn get(&self, handle: Handle) -> Outcome<&T> {
        self.items.get(&handle).ok_or(Code::INVALID_HANDLE)
    }

    pub fn get_mut(&mut self, handle: Handle) -> Outcome<&mut T> {
        self.items.get_mut(&handle).ok_or(Code::INVALID_HANDLE)
    }

    pub fn remove(&mut self, handle: Handle) -> Outcome<T> {
        self.items.remove(&handle).ok_or(Code::INVALID_HANDLE)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.items.iter().map(|(&handle, item)| (handle, item))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.values_mut()
    }

    /// Removes what fits, and names it.
    pub fn remove_where(&mut self, fits: impl Fn(&T) -> bool) -> Vec<String> {
        let found: Vec<Handle> =
            self.iter().filter(|(_, item)| fits(item)).map(|(handle, _)| handle).collect();
        found.iter().for_each(|handle| drop(self.items.remove(handle)));
        found.iter().map(|&handle| self.name(handle)).collect()
    }

    /// What a report calls it.
    pub fn name(&self, handle: Handle) -> String {
        format!("{} {handle:#x}", self.kind)
    }
}
