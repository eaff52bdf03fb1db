//! Values of arguments that several commands take.

use xent::DType;

/// Types of logits that have kernels.
pub const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

pub fn dtype(name: &str) -> Result<DType, String> {
    let found = TYPES.into_iter().find(|dtype| dtype.to_string() == name);
    found.ok_or_else(|| "expected f32, f16 or bf16".into())
}

/// A number of things, of which there are some.
pub fn count(text: &str) -> Result<usize, String> {
    const MOST: usize = i32::MAX as usize;
    match text.parse() {
        Ok(count @ 1..=MOST) => Ok(count),
        _ => Err(format!("expected a number from 1 to {MOST}")),
    }
}
