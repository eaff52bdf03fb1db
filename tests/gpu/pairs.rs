//! Covering all pairs of values of several factors by few rows.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Pairs of values of two factors.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// Those that met.
    pub met: usize,
    /// Those that cannot.
    pub impossible: usize,
}

/// Rows of factors' values, so that every two values of different factors meet in some row: greedy,
/// the best of a few random rows at a time. A pair that no row of hundreds makes possible is none.
pub fn pairwise(
    levels: &[usize],
    seed: u64,
    is_possible: impl Fn(&[usize]) -> bool,
) -> (Vec<Vec<usize>>, Pairs) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bases = vec![vec![0; levels.len()]; levels.len()];
    let mut pairs = Vec::new();
    for a in 0..levels.len() {
        for b in a + 1..levels.len() {
            bases[a][b] = pairs.len();
            pairs.extend(
                (0..levels[a] * levels[b]).map(|i| [(a, i / levels[b]), (b, i % levels[b])]),
            );
        }
    }
    let mut open = vec![true; pairs.len()];
    let of_row = |row: &[usize]| -> Vec<usize> {
        let partners = (0..row.len()).flat_map(|a| (a + 1..row.len()).map(move |b| (a, b)));
        partners.map(|(a, b)| bases[a][b] + row[a] * levels[b] + row[b]).collect()
    };
    let (mut rows, mut impossible) = (Vec::new(), 0);
    for (number, &[(a, i), (b, j)]) in pairs.iter().enumerate() {
        if !open[number] {
            continue;
        }
        let mut best: Option<(usize, Vec<usize>)> = None;
        let mut possible = 0;
        for _ in 0..500 {
            let mut row: Vec<usize> = levels.iter().map(|&n| rng.random_range(0..n)).collect();
            (row[a], row[b]) = (i, j);
            if !is_possible(&row) {
                continue;
            }
            let gain = of_row(&row).iter().filter(|&&pair| open[pair]).count();
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, row));
            }
            possible += 1;
            if possible == 20 {
                break;
            }
        }
        let Some((_, row)) = best else {
            impossible += 1;
            continue;
        };
        of_row(&row).into_iter().for_each(|pair| open[pair] = false);
        rows.push(row);
    }
    (rows, Pairs { met: pairs.len() - impossible, impossible })
}
