//! From C's structs, enums and numbers to Rust's, with the first thing that is wrong.
#![allow(unsafe_code)] // reads memory of C

use std::fmt::Debug;
use std::mem::MaybeUninit;

use super::enums::*;
use super::structs::*;
use crate::{DType, Error, Form, Layout, Operation, Reduction, Renormalise, Unit};

/// A failed call, as C sees it.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: xent_status,
    pub message: String,
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Invalid { .. } => xent_status::InvalidArgument,
            Error::Missing { .. } => xent_status::NullPointer,
            Error::Unexpected { .. } => xent_status::UnexpectedPointer,
            Error::Mismatch { .. } => xent_status::SizeMismatch,
            Error::Misaligned { .. } => xent_status::Misaligned,
            Error::Overlap { .. } => xent_status::Overlap,
            Error::WorkspaceTooSmall { .. } => xent_status::WorkspaceTooSmall,
            Error::Unsupported { .. } => xent_status::Unsupported,
            Error::Unavailable { .. } => xent_status::DeviceUnavailable,
            Error::Cuda { .. } => xent_status::Cuda,
            Error::Resource { .. } => xent_status::OutOfResources,
            Error::InvalidTarget { .. } => xent_status::InvalidTarget,
        };
        // Where C has another name than Rust.
        let message = error.to_string().replace("device_denominator", "denominator_pointer");
        Failure { status, message }
    }
}

/// A struct that C fills and later versions extend.
///
/// # Safety
/// It starts with `struct_size`, and any bytes are a value of it.
pub(super) unsafe trait Extensible: Copy {
    const NAME: &'static str;
    /// Its size in the first version, below which nothing is accepted.
    const SMALLEST: usize;
}

macro_rules! extensible {
    ($($name:ident),*) => {$(
        // SAFETY: integers, floats, raw pointers, nullable functions and `MaybeUninit`.
        unsafe impl Extensible for $name {
            const NAME: &'static str = stringify!($name);
            const SMALLEST: usize = size_of::<$name>();
        }
    )*};
}

extensible! { xent_context_options, xent_problem, xent_args, xent_backward_args }

/// Copies a struct of C. What the caller's version of it lacks is zero; what ours lacks must be.
///
/// # Safety
/// `from` is NULL, or points to a `struct_size` and, if that is up to 4096, to so many bytes.
pub(super) unsafe fn load<T: Extensible>(from: *const T) -> Outcome<T> {
    const LARGEST: usize = 4096; // more is not a size but garbage
    if from.is_null() {
        return Err(Error::Missing { field: T::NAME, reason: "the call reads it" }.into());
    }
    let from = from.cast::<u8>();
    // SAFETY: the struct starts with its size. It may be misaligned, and shorter than T.
    let given = unsafe { from.cast::<usize>().read_unaligned() };
    let known = size_of::<T>();
    let mismatch = |what: String| Failure {
        status: xent_status::VersionMismatch,
        message: format!("{}: {what}", T::NAME),
    };
    if !(T::SMALLEST..=LARGEST).contains(&given) {
        return Err(mismatch(format!(
            "struct_size {given} is not allowed; it must be the sizeof of the header that the \
             program is compiled with: {known} in this version, at least {}",
            T::SMALLEST
        )));
    }
    // SAFETY: inside the struct.
    if let Some(offset) = (known..given).find(|&offset| unsafe { *from.add(offset) } != 0) {
        return Err(mismatch(format!(
            "byte {offset} is not 0, but this version knows only {known} bytes; the program uses \
             a field that is newer than the library"
        )));
    }
    let mut local = MaybeUninit::<T>::zeroed();
    // SAFETY: both hold so many bytes, and any bytes are a T.
    unsafe {
        from.copy_to_nonoverlapping(local.as_mut_ptr().cast(), given.min(known));
        Ok(local.assume_init())
    }
}

/// Overwrites a struct of C that could be loaded: all that its version of it has, but for its size.
///
/// # Safety
/// As for [`load`], and the bytes may be written.
pub(super) unsafe fn store<T: Extensible>(from: &T, to: *mut T) {
    let (from, to) = ((&raw const *from).cast::<u8>(), to.cast::<u8>());
    let size = size_of::<usize>();
    // SAFETY: both start with their size, and have so many bytes.
    unsafe {
        let given = to.cast::<usize>().read_unaligned();
        let rest = given.min(size_of::<T>()) - size;
        from.add(size).copy_to_nonoverlapping(to.add(size), rest);
    }
}

/// What a handle points to.
///
/// # Safety
/// `handle` is NULL or lives for `'a`.
pub(super) unsafe fn handle<'a, T>(field: &'static str, handle: *const T) -> Outcome<&'a T> {
    // SAFETY: the caller's promise.
    let object = unsafe { handle.as_ref() };
    object.ok_or_else(|| Error::Missing { field, reason: "the call needs one" }.into())
}

/// A place for a result.
pub(super) fn result<T>(field: &'static str, out: *mut T) -> Outcome<*mut T> {
    let missing = Error::Missing { field, reason: "the result goes there" };
    if out.is_null() { Err(missing.into()) } else { Ok(out) }
}

/// An enum that C fills, perhaps with a number that it does not have.
pub(super) trait CEnum: Copy + Debug + 'static {
    const VALUES: &'static [Self];
    fn number(self) -> u32;
}

macro_rules! c_enum {
    ($($name:ident { $($variant:ident),* })*) => {$(
        impl CEnum for $name {
            const VALUES: &'static [Self] = &[$(Self::$variant),*];
            fn number(self) -> u32 {
                self as u32
            }
        }
    )*};
}

c_enum! {
    xent_status {
        Ok, InvalidArgument, NullPointer, UnexpectedPointer, SizeMismatch, Misaligned, Overlap,
        WorkspaceTooSmall, VersionMismatch, Unsupported, DeviceUnavailable, Cuda, OutOfResources,
        InvalidTarget, Internal
    }
    xent_dtype { Default, F32, F16, Bf16, F64 }
    xent_target {
        I64, I32, U32, U8, ProbabilitiesF32, ProbabilitiesF16, ProbabilitiesBf16, ProbabilitiesF64
    }
    xent_operation {
        CrossEntropy, BinaryCrossEntropy, KlDivergence, Entropy, Softmax, LogSoftmax
    }
    xent_form { Logits, LogProbabilities, Probabilities }
    xent_clip { None, Range, Lower, Add, Logarithm }
    xent_renormalise { No, BeforeClip, AfterClip }
    xent_unit { Nats, Bits }
    xent_preset {
        CrossEntropy, Softmax, LogSoftmax, NllLoss, CrossEntropyFromProbs, BceWithLogits, Bce, KlDiv,
        Entropy, KerasCategoricalCrossentropy, KerasBinaryCrossentropy, SklearnLogLoss,
        SklearnLegacyLogLoss, CaffeMultinomialLogisticLoss
    }
    xent_reduction { Mean, None, Sum, BatchMean, RowMean, Elements }
    xent_device { Auto, Cpu, Cuda }
    xent_denominator { Default, Value, Pointer }
    xent_output { Loss, Lse, Stats, Dlogits, Argmax, Correct, Entropy, Output }
    xent_flag {
        IgnoreIndex, EmptyMeanZero, InPlace, ClassWeights, RowWeights, ElementWeights, PosWeights,
        LogTargets
    }
}

/// The variant that has the number that C wrote, or the number.
pub(super) fn variant<E: CEnum>(value: MaybeUninit<E>) -> Result<E, u32> {
    const { assert!(size_of::<E>() == size_of::<u32>()) };
    // SAFETY: an enum of C is four bytes, which come from C and so are initialised.
    let number = unsafe { value.as_ptr().cast::<u32>().read() };
    E::VALUES.iter().copied().find(|e| e.number() == number).ok_or(number)
}

/// The same for a field.
pub(super) fn choice<E: CEnum>(field: &'static str, value: MaybeUninit<E>) -> Outcome<E> {
    variant(value).map_err(|number| {
        let allowed: Vec<_> = E::VALUES.iter().map(|e| e.number().to_string()).collect();
        Error::invalid(field, number, format_args!("one of {}", allowed.join(", "))).into()
    })
}

/// Checks that a set of bits has no unknown one.
pub(super) fn bits<E: CEnum>(field: &'static str, value: u32) -> Outcome<u32> {
    let known = E::VALUES.iter().fold(0, |known, e| known | e.number());
    if value & !known == 0 {
        return Ok(value);
    }
    let allowed = format_args!("within the bits {known:#x}");
    Err(Error::invalid(field, format_args!("{value:#x}"), allowed).into())
}

/// A size or count.
pub(super) fn size(field: &'static str, value: i64) -> Outcome<usize> {
    usize::try_from(value).map_err(|_| Error::invalid(field, value, "in [0, 2^63 - 1]").into())
}

/// A layout with these strides, of which all 0 is packed.
pub(super) fn strided(field: &'static str, packed: Layout, strides: [i64; 3]) -> Outcome<Layout> {
    if strides == [0; 3] {
        return Ok(packed);
    }
    let [outer, class, inner] = strides;
    Ok(packed.strides([size(field, outer)?, size(field, class)?, size(field, inner)?]))
}

/// Elements from the first to the last, or so many that the checks refuse them.
pub(super) fn reach(layout: &Layout) -> usize {
    layout.span().unwrap_or(usize::MAX)
}

/// A request that the device does not do.
pub(super) fn unsupported(what: &str, instead: &str) -> Failure {
    Error::Unsupported { what: what.into(), instead: instead.into() }.into()
}

/// A field that must be 0, or NULL, where another one does not ask for it.
pub(super) fn zero<T: Default + PartialEq + Debug>(
    field: &'static str,
    value: T,
    unless: &'static str,
) -> Outcome<()> {
    if value == T::default() {
        return Ok(());
    }
    Err(Error::invalid(field, format_args!("{value:?}"), format_args!("0{unless}")).into())
}

impl xent_dtype {
    pub(super) fn or(self, default: DType) -> DType {
        match self {
            xent_dtype::Default => default,
            xent_dtype::F32 => DType::F32,
            xent_dtype::F16 => DType::F16,
            xent_dtype::Bf16 => DType::BF16,
            xent_dtype::F64 => DType::F64,
        }
    }
}

impl From<xent_target> for DType {
    fn from(target: xent_target) -> Self {
        match target {
            xent_target::I64 => DType::I64,
            xent_target::I32 => DType::I32,
            xent_target::U32 => DType::U32,
            xent_target::U8 => DType::U8,
            xent_target::ProbabilitiesF32 => DType::F32,
            xent_target::ProbabilitiesF16 => DType::F16,
            xent_target::ProbabilitiesBf16 => DType::BF16,
            xent_target::ProbabilitiesF64 => DType::F64,
        }
    }
}

impl From<DType> for xent_target {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::I64 => xent_target::I64,
            DType::I32 => xent_target::I32,
            DType::U32 => xent_target::U32,
            DType::U8 => xent_target::U8,
            DType::F32 => xent_target::ProbabilitiesF32,
            DType::F16 => xent_target::ProbabilitiesF16,
            DType::BF16 => xent_target::ProbabilitiesBf16,
            DType::F64 => xent_target::ProbabilitiesF64,
        }
    }
}

/// Enums of the same variants in C and in Rust.
macro_rules! twins {
    ($($c:ident = $rust:ident { $($variant:ident),* })*) => {$(
        impl From<$c> for $rust {
            fn from(value: $c) -> Self {
                match value {
                    $($c::$variant => $rust::$variant),*
                }
            }
        }

        impl From<$rust> for $c {
            fn from(value: $rust) -> Self {
                match value {
                    $($rust::$variant => $c::$variant),*
                }
            }
        }
    )*};
}

twins! {
    xent_operation = Operation {
        CrossEntropy, BinaryCrossEntropy, KlDivergence, Entropy, Softmax, LogSoftmax
    }
    xent_form = Form { Logits, LogProbabilities, Probabilities }
    xent_renormalise = Renormalise { No, BeforeClip, AfterClip }
    xent_unit = Unit { Nats, Bits }
    xent_reduction = Reduction { Mean, None, Sum, BatchMean, RowMean, Elements }
}
