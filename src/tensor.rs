//! A tensor for those who have none yet.

use half::{bf16, f16};

use crate::{DType, Device, Element, Error, Layout, Result, View, ViewMut};

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
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    data: Data,
    shape: Vec<usize>,
    device: Device,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
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
            Data::F32($vec) => $body,
            Data::F16($vec) => $body,
            Data::BF16($vec) => $body,
            Data::F64($vec) => $body,
            Data::I64($vec) => $body,
            Data::I32($vec) => $body,
            Data::U32($vec) => $body,
            Data::U8($vec) => $body,
        }
    };
}

impl Tensor {
    /// A tensor of zeros on the CPU.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the product of the shape overflows.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self> {
        let len = len(shape)?;
        let data = match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::F16 => Data::F16(vec![f16::ZERO; len]),
            DType::BF16 => Data::BF16(vec![bf16::ZERO; len]),
            DType::F64 => Data::F64(vec![0.0; len]),
            DType::I64 => Data::I64(vec![0; len]),
            DType::I32 => Data::I32(vec![0; len]),
            DType::U32 => Data::U32(vec![0; len]),
            DType::U8 => Data::U8(vec![0; len]),
        };
        Ok(Tensor { data, shape: shape.to_vec(), device: Device::cpu() })
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
        fn dtype<T: Element>(_: &[T]) -> DType {
            T::DTYPE
        }
        with_data!(&self.data, vec => dtype(vec))
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
        with_data!(&self.data, vec => vec.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let other = Error::mismatch("tensor", self.dtype(), T::DTYPE);
        let any: &dyn std::any::Any = with_data!(&self.data, vec => vec);
        any.downcast_ref::<Vec<T>>().map(Vec::as_slice).ok_or(other)
    }

    /// The elements, to write.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        let other = Error::mismatch("tensor", self.dtype(), T::DTYPE);
        let any: &mut dyn std::any::Any = with_data!(&mut self.data, vec => vec);
        any.downcast_mut::<Vec<T>>().map(Vec::as_mut_slice).ok_or(other)
    }

    /// A copy of the elements.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.as_slice().map(<[T]>::to_vec)
    }

    /// The same numbers as another floating-point type, rounded to nearest even.
    ///
    /// # Errors
    /// [`Error::Unsupported`] from or to an integer type.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        let wide: Vec<f64> = match &self.data {
            Data::F32(vec) => vec.iter().map(|&x| x.into()).collect(),
            Data::F16(vec) => vec.iter().map(|&x| x.into()).collect(),
            Data::BF16(vec) => vec.iter().map(|&x| x.into()).collect(),
            Data::F64(vec) => vec.clone(),
            _ => return Err(self.no_cast(dtype)),
        };
        let data = match dtype {
            DType::F32 => Data::F32(wide.iter().map(|&x| x as f32).collect()),
            DType::F16 => Data::F16(wide.iter().map(|&x| f16::from_f64(x)).collect()),
            DType::BF16 => Data::BF16(wide.iter().map(|&x| bf16::from_f64(x)).collect()),
            DType::F64 => Data::F64(wide),
            _ => return Err(self.no_cast(dtype)),
        };
        Ok(Tensor { data, shape: self.shape.clone(), device: self.device.clone() })
    }

    fn no_cast(&self, dtype: DType) -> Error {
        Error::Unsupported {
            what: format!("a cast from {} to {dtype}", self.dtype()),
            instead: "casts are between floating-point types".into(),
        }
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
        let view: View<'_> = with_data!(&tensor.data, vec => vec.into());
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
        let view: ViewMut<'_> = with_data!(&mut tensor.data, vec => vec.into());
        match layout {
            Some(layout) => view.layout(layout),
            None => view,
        }
    }
}
