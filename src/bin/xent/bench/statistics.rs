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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), 3.0);
    }

    #[test]
    fn percentiles_are_between_neighbours() {
        let mut numbers: Vec<f64> = (0..=10).rev().map(f64::from).collect();
        for (share, expected) in [(0.0, 0.0), (0.1, 1.0), (0.25, 2.5), (0.9, 9.0), (1.0, 10.0)] {
            assert!((percentile(&mut numbers, share) - expected).abs() < 1e-12, "{share}");
        }
        assert_eq!(percentile(&mut [7.0], 0.9), 7.0);
    }
}
