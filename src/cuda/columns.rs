//! Tensors whose class axis is not the last: how their columns are cut into vectors, a decision of
//! each call.

use crate::DType;

/// A tensor of shape (outer, classes, inner) in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Strided {
    /// Of its first element.
    pub address: u64,
    /// Of its elements.
    pub dtype: DType,
    /// Distance of neighbours along (outer, classes, inner), in elements.
    pub strides: [usize; 3],
}

/// The columns of an outer index, cut into vectors of `width` neighbours that begin `shift` columns
/// before the first: every whole vector of every tensor is then aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Columns of a vector.
    pub width: u32,
    /// Columns that the first vector lacks at its beginning.
    pub shift: u32,
    /// Vectors of an outer index.
    pub vectors: u64,
}

impl Cut {
    /// The first of these widths, the widest first, that serves all tensors; a width of 1 serves
    /// any. `others`: gradient and probabilities, where there are any.
    pub fn new(inner: usize, logits: &Strided, others: &[Option<Strided>], widths: &[u32]) -> Cut {
        let fit = |&width: &u32| Self::of(width, inner, logits, others);
        let single = Cut { width: 1, shift: 0, vectors: inner as u64 };
        widths.iter().find_map(fit).unwrap_or(single)
    }

    fn of(width: u32, inner: usize, logits: &Strided, others: &[Option<Strided>]) -> Option<Cut> {
        let shift = logits.address / logits.dtype.size() as u64 % u64::from(width);
        let aligned = |tensor: &Strided| {
            let size = tensor.dtype.size();
            let piece = (width as usize * size).min(16);
            let [outer, classes, inner] = tensor.strides;
            let start = tensor.address.wrapping_sub(shift * size as u64);
            inner == 1
                && (outer * size).is_multiple_of(piece)
                && (classes * size).is_multiple_of(piece)
                && start.is_multiple_of(piece as u64)
        };
        let end = inner as u64 + shift;
        let vectors = end.div_ceil(width.into());
        let whole = (end / u64::from(width)).saturating_sub(u64::from(shift != 0));
        // Partial vectors go by elements.
        let mostly_whole = 2 * whole >= vectors;
        let serves = mostly_whole && aligned(logits) && others.iter().flatten().all(aligned);
        serves.then_some(Cut { width, shift: shift as u32, vectors })
    }

    /// The vectors of all outer indices: what [`Variant::grid`](super::variant::Variant::grid)
    /// counts for the kernel of columns.
    pub fn total(&self, outer: usize) -> Option<u64> {
        self.vectors.checked_mul(outer as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DType, offset: u64, strides: [usize; 3]) -> Strided {
        Strided { address: (1 << 40) + offset * dtype.size() as u64, dtype, strides }
    }

    fn width(inner: usize, logits: Strided, others: &[Strided]) -> (u32, u32, u64) {
        let others: Vec<_> = others.iter().copied().map(Some).collect();
        let cut = Cut::new(inner, &logits, &others, &[8, 4, 2, 1]);
        (cut.width, cut.shift, cut.vectors)
    }

    #[test]
    fn vectors_are_as_wide_as_all_tensors_allow() {
        use DType::{BF16, F32};
        let packed = |inner| [7 * inner, inner, 1];
        assert_eq!(width(64, tensor(BF16, 0, packed(64)), &[]), (8, 0, 8));
        assert_eq!(width(196, tensor(BF16, 0, packed(196)), &[]), (4, 0, 49));
        assert_eq!(width(49, tensor(BF16, 0, packed(49)), &[]), (1, 0, 49));
        // A view that begins within a vector; its gradient at the same place, or at another.
        let logits = tensor(BF16, 3, packed(64));
        assert_eq!(width(61, logits, &[logits]), (8, 3, 8));
        assert_eq!(width(61, logits, &[tensor(BF16, 7, packed(64))]), (4, 3, 16));
        assert_eq!(width(61, logits, &[tensor(F32, 3, packed(64))]), (8, 3, 8));
        assert_eq!(width(61, logits, &[tensor(F32, 2, packed(64))]), (1, 0, 61));
        // Strides that are no multiples, columns that are no neighbours, and too few of them.
        assert_eq!(width(64, tensor(BF16, 0, [7 * 64 + 2, 64, 1]), &[]), (2, 0, 32));
        assert_eq!(width(64, tensor(BF16, 0, [7 * 64, 1, 7]), &[]), (1, 0, 64));
        assert_eq!(width(7, tensor(BF16, 0, [64, 8, 1]), &[]), (4, 0, 2));
        assert_eq!(width(1, tensor(BF16, 0, [64, 8, 1]), &[]), (1, 0, 1));
    }

    #[test]
    fn vectors_are_counted_through_all_outer_indices() {
        let cut = Cut { width: 8, shift: 3, vectors: 1 << 40 };
        assert_eq!(cut.total(1 << 20), Some(1 << 60));
        assert_eq!(cut.total(1 << 24), None);
    }
}
