//! A tensor for those who have none yet.

use std::borrow::Cow;
use std::sync::Arc;

use half::{bf16, f16};

use crate::context::Backend;
use crate::cuda::buffer::Buffer;
use crate::cuda::engine::Engine;
use crate::dtype::{bytes, bytes_mut};
use crate::{Context, DType, Device, Element, Error, Layout, Result, View, ViewMut};

/// An owned, packed, row-major tensor.
///
/// ```
/// use xent::{DType, Tensor};
///
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// let half = x.cast(DType::F16)?;
/// assert_eq!(half.shape(), [2, 3]);
/// assert_eq!(half.to_vec::<xent::f16>()?[5].to_f32(), 6.0);
/// # Ok::<(), xent::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor {
    data: Data,
    shape: Vec<usize>,
    device: Device,
}

#[derive(Debug)]
enum Data {
    Host(Elements),
    Gpu(OnGpu),
}

#[derive(Debug)]
struct OnGpu {
    engine: Arc<Engine>,
    buffer: Buffer,
    dtype: DType,
}

#[derive(Clone, Debug, PartialEq)]
enum Elements {
    F32(Vec<f32>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

/// Evaluates an expression for the vector of whichever type the data is.
macro_rules! with_data {
    ($data:expr, $vec:ident => $body:expr) => {
        match $data {
            Elements::F32($vec) => $body,
            Elements::F16($vec) => $body,
            Elements::BF16($vec) => $body,
            Elements::F64($vec) => $body,
            Elements::I64($vec) => $body,
            Elements::I32($vec) => $body,
            Elements::U32($vec) => $body,
            Elements::U8($vec) => $body,
        }
    };
}

impl Tensor {
    /// A tensor of zeros on the CPU.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the product of the shape overflows.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self> {
        let data = Data::Host(Elements::zeros(dtype, len(shape)?));
        Ok(Tensor { data, shape: shape.to_vec(), device: Device::cpu() })
    }

    /// A tensor of zeros on the device of a context. It waits for all that a GPU does.
    ///
    /// # Errors
    /// As [`Tensor::zeros`]; [`Error::Cuda`] if the GPU has not so much memory, or failed.
    pub fn zeros_on(context: &Context, dtype: DType, shape: &[usize]) -> Result<Self> {
        let Backend::Cuda(engine) = context.backend() else { return Tensor::zeros(dtype, shape) };
        let buffer = engine.allocate(len(shape)? * dtype.size())?;
        buffer.clear()?;
        let data = Data::Gpu(OnGpu { engine: Arc::clone(engine), buffer, dtype });
        Ok(Tensor { data, shape: shape.to_vec(), device: context.device().clone() })
    }

    /// A copy on the device of a context. From or to a GPU, it waits for all that the GPU does.
    ///
    /// # Errors
    /// [`Error::Cuda`] if the GPU has not so much memory, or failed.
    pub fn to(&self, context: &Context) -> Result<Tensor> {
        let elements = self.elements()?;
        let data = match context.backend() {
            Backend::Cpu(_) => Data::Host(elements.into_owned()),
            Backend::Cuda(engine) => {
                let bytes = with_data!(&*elements, vec => bytes(vec));
                let buffer = engine.allocate(bytes.len())?;
                buffer.write(bytes)?;
                Data::Gpu(OnGpu { engine: Arc::clone(engine), buffer, dtype: self.dtype() })
            }
        };
        Ok(Tensor { data, shape: self.shape.clone(), device: context.device().clone() })
    }

    /// The elements, copied if a GPU has them.
    fn elements(&self) -> Result<Cow<'_, Elements>> {
        match &self.data {
            Data::Host(elements) => Ok(Cow::Borrowed(elements)),
            Data::Gpu(OnGpu { buffer, dtype, .. }) => {
                let mut elements = Elements::zeros(*dtype, self.len());
                with_data!(&mut elements, vec => buffer.read(bytes_mut(vec)))?;
                Ok(Cow::Owned(elements))
            }
        }
    }

    /// What only a tensor on the CPU can do.
    fn not_here(&self) -> Error {
        Error::Unsupported {
            what: format!("the elements of a tensor on {}, in place", self.device),
            instead: "take a copy by to_vec, or to(&Context::cpu())".into(),
        }
    }

    /// A tensor on the CPU with a copy of these elements.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are more or fewer of them than the shape holds.
    pub fn from_slice<T: Element>(elements: &[T], shape: &[usize]) -> Result<Self> {
        let mut tensor = Tensor::zeros(T::DTYPE, shape)?;
        if elements.len() != tensor.len() {
            let needed = format!("{} for the shape {shape:?}", tensor.len());
            return Err(Error::mismatch("elements", elements.len(), needed));
        }
        tensor.as_mut_slice()?.copy_from_slice(elements);
        Ok(tensor)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match &self.data {
            Data::Host(elements) => elements.dtype(),
            Data::Gpu(on_gpu) => on_gpu.dtype,
        }
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where the elements are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type, [`Error::Unsupported`] if a GPU has them.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        match &self.data {
            Data::Host(elements) => elements.as_slice(),
            Data::Gpu(..) => Err(self.not_here()),
        }
    }

    /// The elements, to write.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type, [`Error::Unsupported`] if a GPU has them.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        let (other, not_here) =
            (Error::mismatch("tensor", self.dtype(), T::DTYPE), self.not_here());
        let Data::Host(elements) = &mut self.data else { return Err(not_here) };
        let any: &mut dyn std::any::Any = with_data!(elements, vec => vec);
        any.downcast_mut::<Vec<T>>().map(Vec::as_mut_slice).ok_or(other)
    }

    /// The address of the first element, in memory of the tensor's device, for other code that reads it
    /// there as long as the tensor lives and is not written.
    pub fn as_ptr(&self) -> *const u8 {
        match &self.data {
            Data::Host(elements) => with_data!(elements, vec => vec.as_ptr().cast()),
            Data::Gpu(on_gpu) => on_gpu.buffer.address(),
        }
    }

    /// The same, for other code that writes.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match &mut self.data {
            Data::Host(elements) => with_data!(elements, vec => vec.as_mut_ptr().cast()),
            Data::Gpu(on_gpu) => on_gpu.buffer.address(),
        }
    }

    /// A copy of the elements. From a GPU, it waits for all that the GPU does.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type, [`Error::Cuda`] if the GPU failed.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.elements()?.as_slice().map(<[T]>::to_vec)
    }

    /// The same numbers as another floating-point type, rounded to nearest even, on the same device.
    ///
    /// A GPU casts among `f32`, `f16` and `bf16`, after all that it does; the first of each pair
    /// compiles a kernel. What is from or to `f64` goes through the CPU.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from or to an integer type; [`Error::Cuda`] if the GPU has not so much
    /// memory, or failed.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        let no_cast = || Error::Unsupported {
            what: format!("a cast from {} to {dtype}", self.dtype()),
            instead: "casts are between floating-point types".into(),
        };
        let cast = || self.elements()?.cast(dtype).ok_or_else(no_cast);
        let data = match &self.data {
            Data::Host(_) => Data::Host(cast()?),
            Data::Gpu(OnGpu { engine, buffer, dtype: from }) => {
                let buffer = match engine.cast(buffer, self.len(), [*from, dtype])? {
                    Some(buffer) => buffer,
                    None => with_data!(&cast()?, vec => {
                        let buffer = engine.allocate(bytes(vec).len())?;
                        buffer.write(bytes(vec))?;
                        buffer
                    }),
                };
                Data::Gpu(OnGpu { engine: Arc::clone(engine), buffer, dtype })
            }
        };
        Ok(Tensor { data, shape: self.shape.clone(), device: self.device.clone() })
    }

    fn last_axis_layout(&self) -> Option<Layout> {
        match self.shape.len() {
            0 | 1 => None,
            rank => Layout::axis(&self.shape, rank - 1).ok(),
        }
    }

    /// The tensor with `axis` as its class axis, to read.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such axis.
    pub fn with_classes(&self, axis: usize) -> Result<View<'_>> {
        let layout = Layout::axis(&self.shape, axis)?;
        Ok(View::from(self).layout(layout))
    }

    /// The tensor with `axis` as its class axis, to write.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such axis.
    pub fn with_classes_mut(&mut self, axis: usize) -> Result<ViewMut<'_>> {
        let layout = Layout::axis(&self.shape, axis)?;
        Ok(ViewMut::from(self).layout(layout))
    }
}

impl Elements {
    fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Elements::F32(vec![0.0; len]),
            DType::F16 => Elements::F16(vec![f16::ZERO; len]),
            DType::BF16 => Elements::BF16(vec![bf16::ZERO; len]),
            DType::F64 => Elements::F64(vec![0.0; len]),
            DType::I64 => Elements::I64(vec![0; len]),
            DType::I32 => Elements::I32(vec![0; len]),
            DType::U32 => Elements::U32(vec![0; len]),
            DType::U8 => Elements::U8(vec![0; len]),
        }
    }

    fn dtype(&self) -> DType {
        fn dtype<T: Element>(_: &[T]) -> DType {
            T::DTYPE
        }
        with_data!(self, vec => dtype(vec))
    }

    fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let any: &dyn std::any::Any = with_data!(self, vec => vec);
        let slice = any.downcast_ref::<Vec<T>>().map(Vec::as_slice);
        slice.ok_or_else(|| Error::mismatch("tensor", self.dtype(), T::DTYPE))
    }

    /// As another floating-point type; `None` from or to an integer type.
    fn cast(&self, dtype: DType) -> Option<Elements> {
        let wide: Vec<f64> = match self {
            Elements::F32(vec) => vec.iter().map(|&x| x.into()).collect(),
            Elements::F16(vec) => vec.iter().map(|&x| x.into()).collect(),
            Elements::BF16(vec) => vec.iter().map(|&x| x.into()).collect(),
            Elements::F64(vec) => vec.clone(),
            _ => return None,
        };
        let round = |x: &f64| odd_f32(*x);
        Some(match dtype {
            DType::F32 => Elements::F32(wide.iter().map(|&x| x as f32).collect()),
            DType::F16 => Elements::F16(wide.iter().map(round).map(f16::from_f32).collect()),
            DType::BF16 => Elements::BF16(wide.iter().map(round).map(bf16::from_f32).collect()),
            DType::F64 => Elements::F64(wide),
            _ => return None,
        })
    }
}

/// The same shape, type and elements, on whichever device. A GPU's are copied to be compared; where
/// that fails they are not equal.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.elements(), other.elements()) {
            (Ok(mine), Ok(others)) => mine == others,
            _ => false,
        };
        same && self.shape == other.shape
    }
}

/// A copy on the same device.
///
/// # Panics
/// If the GPU of a tensor has no more memory, or failed.
impl Clone for Tensor {
    fn clone(&self) -> Self {
        let data = match &self.data {
            Data::Host(elements) => Data::Host(elements.clone()),
            Data::Gpu(OnGpu { engine, buffer, dtype }) => {
                let buffer = buffer.duplicate().unwrap_or_else(|error| panic!("a copy: {error}"));
                Data::Gpu(OnGpu { engine: Arc::clone(engine), buffer, dtype: *dtype })
            }
        };
        Tensor { data, shape: self.shape.clone(), device: self.device.clone() }
    }
}

/// Rounds to odd: of the two neighbours of an inexact number, the one with the last bit set. What
/// is then rounded to 16 bits is as if it had been rounded once. (`half` drops bits of an `f64`.)
fn odd_f32(x: f64) -> f32 {
    let nearest = x as f32;
    let bits = nearest.to_bits();
    if f64::from(nearest) == x || !nearest.is_finite() || bits & 1 == 1 {
        return nearest;
    }
    f32::from_bits(if f64::from(nearest.abs()) < x.abs() { bits + 1 } else { bits - 1 })
}

fn len(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&len| len <= isize::MAX as usize / 8)
        .ok_or_else(|| Error::mismatch("shape", format!("{shape:?}"), "a size below 2^63 bytes"))
}

/// The tensor with its last axis as class axis, if it has several; else its elements.
impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        let view: View<'_> = match &tensor.data {
            Data::Host(elements) => with_data!(elements, vec => vec.into()),
            Data::Gpu(OnGpu { buffer, dtype, .. }) => buffer.view(tensor.len(), *dtype),
        };
        match tensor.last_axis_layout() {
            Some(layout) => view.layout(layout),
            None => view,
        }
    }
}

/// The tensor with its last axis as class axis, if it has several; else its elements.
impl<'a> From<&'a mut Tensor> for ViewMut<'a> {
    fn from(tensor: &'a mut Tensor) -> Self {
        let layout = tensor.last_axis_layout();
        let len = tensor.len();
        let view: ViewMut<'_> = match &mut tensor.data {
            Data::Host(elements) => with_data!(elements, vec => vec.into()),
            Data::Gpu(OnGpu { buffer, dtype, .. }) => buffer.view_mut(len, *dtype),
        };
        match layout {
            Some(layout) => view.layout(layout),
            None => view,
        }
    }
}
