//! The floating-point environment: kernels run under the default one, whatever the caller set.
#![allow(unsafe_code)] // control registers

/// Runs `work` rounding to nearest, with subnormals, and with exceptions masked; then restores
/// the caller's environment, also when `work` panics.
pub(crate) fn with_default<R>(work: impl FnOnce() -> R) -> R {
    // A function of its own, so that none of its arithmetic moves out of the guarded stretch.
    #[inline(never)]
    fn call<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
    let _restore = Restore(control::swap(control::DEFAULT));
    call(work)
}

struct Restore(control::Word);

impl Drop for Restore {
    fn drop(&mut self) {
        control::swap(self.0);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod control {
    use std::arch::asm;

    pub type Word = u32;

    /// MXCSR after reset: all exceptions masked, round to nearest, no flush to zero.
    pub const DEFAULT: Word = 0x1f80;

    /// Sets the control word and returns the previous one.
    pub fn swap(new: Word) -> Word {
        let mut old: Word = 0;
        // SAFETY: both instructions only access the word that they point to, and MXCSR.
        unsafe {
            asm!("stmxcsr [{old}]", "ldmxcsr [{new}]",
                 old = in(reg) &mut old, new = in(reg) &new, options(nostack));
        }
        old
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod control {
    use std::arch::asm;

    pub type Word = u64;

    /// FPCR after reset: round to nearest, no flush to zero, no trapped exceptions.
    pub const DEFAULT: Word = 0;

    /// Sets the control word and returns the previous one.
    pub fn swap(new: Word) -> Word {
        let old: Word;
        // SAFETY: reads and writes FPCR only.
        unsafe {
            asm!("mrs {old}, fpcr", "msr fpcr, {new}",
                 old = out(reg) old, new = in(reg) new, options(nostack));
        }
        old
    }
}

/// Elsewhere, and under Miri, the environment cannot be changed from Rust and is left as it is.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod control {
    pub type Word = ();

    pub const DEFAULT: Word = ();

    pub fn swap(_: Word) -> Word {}
}
