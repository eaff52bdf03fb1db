//! What is said of many times of one thing.

/// The number below which this share of them lies, interpolated between neighbours. Sorts them.
///
/// # Panics
/// If there are none.
pub fn percentile(numbers: &mut [f64], share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = share * (numbers.len() - 1) as f64;
    let (below, above) = (numbers[at.floor() as usize], numbers[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// # Panics
/// If there are none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    percentile(&mut numbers, 0.5)
}
