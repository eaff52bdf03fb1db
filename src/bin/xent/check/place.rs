//! Where tensors lie in their buffers.

use xent::Layout;

/// Where logits, their gradient and probabilities lie in their buffers.
#[derive(Clone, Debug)]
pub struct Place {
    pub layout: Layout,
    /// Elements before the first one.
    pub offset: usize,
}

impl Place {
    fn position(&self, row: usize, class: usize) -> usize {
        let Layout { inner, strides, .. } = self.layout;
        let at = [row / inner, class, row % inner];
        self.offset + at.iter().zip(strides).map(|(index, stride)| index * stride).sum::<usize>()
    }

    /// The position of each element, in the order of packed rows.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let Layout { outer, classes, inner, .. } = self.layout;
        (0..outer * inner).flat_map(move |row| (0..classes).map(move |c| self.position(row, c)))
    }

    /// A buffer with these elements, and `gap` wherever there is none: between, before and after.
    pub fn scatter(&self, elements: &[f64], gap: f64) -> Vec<f64> {
        let after = 3;
        let mut buffer = vec![gap; self.offset + self.layout.span().unwrap_or(0) + after];
        self.positions().zip(elements).for_each(|(at, &element)| buffer[at] = element);
        buffer
    }

    /// The elements of a buffer, packed; and whether anything that is none of them is not `gap`.
    pub fn gather(&self, mut buffer: Vec<f64>, gap: f64) -> (Vec<f64>, bool) {
        let elements = self.positions().map(|at| std::mem::replace(&mut buffer[at], gap)).collect();
        let kept = |x: &f64| *x == gap || x.is_nan() && gap.is_nan();
        (elements, !buffer.iter().all(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scattered_is_gathered() {
        let elements: Vec<f64> = (0..24).map(f64::from).collect();
        let rows = Layout::rows(6, 4);
        for layout in [rows, rows.row_stride(7), Layout::packed(2, 4, 3), Layout::packed(1, 4, 6)] {
            let place = Place { layout, offset: 5 };
            let mut buffer = place.scatter(&elements, f64::NAN);
            assert_eq!(place.gather(buffer.clone(), f64::NAN), (elements.clone(), false));
            for at in [4, buffer.len() - 1] {
                let before = std::mem::replace(&mut buffer[at], 0.0);
                assert!(place.gather(buffer.clone(), f64::NAN).1, "{at} of {layout:?}");
                buffer[at] = before;
            }
        }
    }
}
