//! As much of ELF as finding sections takes.

/// The bytes of the header that says where the sections are.
pub(crate) const HEADER: usize = 64;

const NO_BITS: u64 = 8; // SHT_NOBITS: a section without content

/// A little-endian number of so many bytes.
fn number(elf: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let found = elf.get(at..at.checked_add(bytes)?)?;
    Some(found.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// Offset, size of an entry and number of the section headers.
fn table(elf: &[u8]) -> Option<(usize, usize, usize)> {
    let at = |at, bytes| number(elf, at, bytes).map(|value| value as usize);
    Some((at(0x28, 8)?, at(0x3a, 2)?, at(0x3c, 2)?))
}

/// How many bytes of an image hold its section headers, by its header.
pub(crate) fn bytes_of_table(elf: &[u8]) -> usize {
    table(elf).map_or(0, |(offset, size, count)| offset + size * count)
}

/// Offset and size of the content of each section.
fn places(elf: &[u8]) -> Vec<(usize, usize)> {
    let Some((offset, size, count)) = table(elf) else { return Vec::new() };
    let place = |section: usize| {
        let header = offset + section * size;
        let kind = number(elf, header + 4, 4)?;
        let place = (number(elf, header + 0x18, 8)?, number(elf, header + 0x20, 8)?);
        (kind != NO_BITS).then_some((place.0 as usize, place.1 as usize))
    };
    (0..count).filter_map(place).collect()
}

/// How many bytes an image has, by its section headers.
pub(crate) fn bytes(elf: &[u8]) -> usize {
    let ends = places(elf).into_iter().map(|(offset, size)| offset.saturating_add(size));
    ends.chain([elf.len()]).max().unwrap_or_default()
}

/// The content of each section.
pub(crate) fn sections(elf: &[u8]) -> Vec<&[u8]> {
    let content = |(offset, size): (usize, usize)| elf.get(offset..offset.checked_add(size)?);
    places(elf).into_iter().filter_map(content).collect()
}
