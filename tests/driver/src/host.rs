//! Memory of the host: of the caller, and what the driver gives out.
#![allow(unsafe_code)] // reads and writes through pointers of the caller

use std::ffi::{CStr, c_char, c_void};

use crate::code::{Code, Outcome};

/// Memory of the caller that a copy reads or writes when its turn has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostRange {
    pub address: u64,
    pub bytes: usize,
}

impl HostRange {
    /// # Safety
    /// So many bytes at the address may be read, or written if the copy writes them, until the copy
    /// is done: for one of a graph, the copy of the last launch.
    pub unsafe fn new(address: *const c_void, bytes: usize) -> HostRange {
        HostRange { address: address as u64, bytes }
    }

    pub fn read(self) -> Vec<u8> {
        let mut content = vec![0; self.bytes];
        // SAFETY: whoever made the range promised it. A copy, as the caller may share the memory.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.address as *const u8,
                content.as_mut_ptr(),
                self.bytes,
            );
        }
        content
    }

    pub fn write(self, content: &[u8]) {
        let bytes = self.bytes.min(content.len());
        // SAFETY: whoever made the range promised it.
        unsafe {
            std::ptr::copy_nonoverlapping(content.as_ptr(), self.address as *mut u8, bytes);
        }
    }
}

/// A function of the caller, with what it is called with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFunction {
    function: unsafe extern "C" fn(*mut c_void),
    data: u64,
}

impl HostFunction {
    /// # Safety
    /// The function may be called with this, on any thread, until the work is done.
    pub unsafe fn new(function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) -> Self {
        HostFunction { function, data: data as u64 }
    }

    pub fn call(self) {
        // SAFETY: whoever made this promised it.
        unsafe { (self.function)(self.data as *mut c_void) }
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// Page-locked memory, which the caller reads and writes.
#[derive(Debug)]
pub(crate) struct Pages {
    first: *mut Page,
    count: usize,
    bytes: usize,
}

// SAFETY: nothing here reads or writes the memory, which is freed by the one owner.
unsafe impl Send for Pages {}

impl Pages {
    pub fn new(bytes: usize) -> Pages {
        let count = bytes.div_ceil(4096);
        let pages = vec![Page([0xcd; 4096]); count].into_boxed_slice();
        Pages { first: Box::into_raw(pages).cast(), count, bytes }
    }

    pub fn address(&self) -> u64 {
        self.first as u64
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they came from a box of that many, which nobody else frees.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.first, self.count)) });
    }
}

/// A C string.
///
/// # Safety
/// The pointer is null or that of one.
pub(crate) unsafe fn text(pointer: *const c_char) -> Outcome<String> {
    if pointer.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    Ok(text.to_string_lossy().into_owned())
}

/// `count` values of an array, which may be null if there are none.
///
/// # Safety
/// The pointer is null or that of as many.
pub(crate) unsafe fn array<T: Copy>(pointer: *const T, count: usize) -> Outcome<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    Ok((0..count).map(|at| unsafe { pointer.add(at).read() }).collect())
}

/// Writes a text with its final 0 into a buffer, as much of it as fits, and returns how many bytes
/// that are.
///
/// # Safety
/// So many bytes may be written to the buffer, if it is not null.
pub(crate) unsafe fn fill(buffer: *mut c_char, bytes: usize, text: &str) -> usize {
    if buffer.is_null() || bytes == 0 {
        return 0;
    }
    let kept = text.len().min(bytes - 1);
    // SAFETY: the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), kept);
        buffer.add(kept).write(0);
    }
    kept + 1
}

/// An image of a module, as far as it is one.
#[derive(Debug)]
pub(crate) enum Image {
    Text(String),
    Elf(Vec<u8>),
    Fatbin,
}

/// The two ways in which a fat binary begins.
const FATBINS: [[u8; 4]; 2] = [0x466243b1u32.to_le_bytes(), 0xba55ed50u32.to_le_bytes()];

/// Reads the image of a module.
///
/// # Safety
/// The pointer is null or that of a C string, of an ELF image or of a fat binary.
pub(crate) unsafe fn image(pointer: *const c_void) -> Outcome<Image> {
    let first: *const u8 = pointer.cast();
    if first.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: bytes are read up to the first that differs, which is not beyond the end of a string.
    let begins = |magic: [u8; 4]| (0..4).all(|at| unsafe { *first.add(at) } == magic[at]);
    if FATBINS.into_iter().any(begins) {
        return Ok(Image::Fatbin);
    }
    if begins(*b"\x7fELF") {
        // SAFETY: an image has its header, which says where more of it is.
        let header = unsafe { array(first, crate::elf::HEADER) }?;
        // SAFETY: as above.
        let table = unsafe { array(first, crate::elf::bytes_of_table(&header)) }?;
        // SAFETY: as above.
        return Ok(Image::Elf(unsafe { array(first, crate::elf::bytes(&table)) }?));
    }
    // SAFETY: what is neither is a string.
    Ok(Image::Text(unsafe { text(first.cast()) }?))
}

/// The bytes of a kernel's parameters, each of a size and at an offset.
///
/// # Safety
/// `parameters` is null or has as many pointers, each to as many bytes; `extra` is null or a list
/// of names and values that ends with `CU_LAUNCH_PARAM_END`.
pub(crate) unsafe fn parameters(
    sizes: &[(u64, u64)],
    bytes: u64,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> Outcome<Vec<u8>> {
    let mut content = vec![0; bytes as usize];
    match (parameters.is_null(), extra.is_null()) {
        (true, true) if bytes == 0 => Ok(content),
        (false, true) => {
            // SAFETY: the caller's promise.
            let pointers = unsafe { array(parameters, sizes.len()) }?;
            for (pointer, &(size, offset)) in pointers.into_iter().zip(sizes) {
                // SAFETY: the caller's promise.
                let value = unsafe { array(pointer.cast::<u8>(), size as usize) }?;
                content[offset as usize..][..size as usize].copy_from_slice(&value);
            }
            Ok(content)
        }
        (true, false) => {
            // SAFETY: the caller's promise.
            let packed = unsafe { packed(extra) }?;
            if packed.len() as u64 == bytes { Ok(packed) } else { Err(Code::INVALID_VALUE) }
        }
        _ => Err(Code::INVALID_VALUE),
    }
}

/// All parameters in one buffer: `CU_LAUNCH_PARAM_BUFFER_POINTER` 1, `CU_LAUNCH_PARAM_BUFFER_SIZE`
/// 2, `CU_LAUNCH_PARAM_END` 0.
///
/// # Safety
/// As [`parameters`].
unsafe fn packed(extra: *const *const c_void) -> Outcome<Vec<u8>> {
    let (mut buffer, mut size): (*const u8, *const usize) = (std::ptr::null(), std::ptr::null());
    for at in (0..).step_by(2) {
        // SAFETY: the list goes on until its end.
        match unsafe { *extra.add(at) } as usize {
            0 => break,
            // SAFETY: a value follows each name.
            1 => buffer = unsafe { *extra.add(at + 1) }.cast(),
            // SAFETY: a value follows each name.
            2 => size = unsafe { *extra.add(at + 1) }.cast(),
            _ => return Err(Code::INVALID_VALUE),
        }
    }
    // SAFETY: the caller's promise.
    let size = unsafe { array(size, 1) }?[0];
    // SAFETY: the caller's promise.
    unsafe { array(buffer, size) }
}
