//! Works that are timed in turn, so that what disturbs the machine disturbs all of them.

use std::time::Instant;

use crate::statistics::median;

pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// The seconds of one call, by as many as a clock can tell.
pub fn seconds_per_call(calls: usize, mut work: impl FnMut()) -> f64 {
    seconds(|| (0..calls).for_each(|_| work())) / calls as f64
}

/// How many calls take half a millisecond.
pub fn enough_calls(mut work: impl FnMut()) -> usize {
    work();
    let one = seconds_per_call(10, work);
    ((5e-4 / one) as usize).clamp(1, 100_000)
}

/// The seconds of each work in each round.
pub struct Times<W> {
    works: Vec<W>,
    rounds: Vec<Vec<f64>>,
}

/// Runs all works, round by round, each time beginning with another one. A first round is not
/// counted.
pub fn rounds<W: Copy>(count: usize, works: &[W], mut run: impl FnMut(W) -> f64) -> Times<W> {
    let mut rounds = Vec::new();
    for round in 0..=count {
        let mut times = vec![0.0; works.len()];
        for index in (0..works.len()).map(|index| (round + index) % works.len()) {
            times[index] = run(works[index]);
        }
        rounds.push(times);
    }
    rounds.remove(0);
    Times { works: works.to_vec(), rounds }
}

impl<W: Copy + PartialEq> Times<W> {
    pub fn seconds(&self, work: W) -> f64 {
        self.median(|times| times(work))
    }

    /// The median of what a figure of the times is in each round: of ratios within a round, say.
    pub fn median(&self, figure: impl Fn(&dyn Fn(W) -> f64) -> f64) -> f64 {
        let index = |work| self.works.iter().position(|&other| other == work).unwrap();
        let in_rounds = self.rounds.iter().map(|times| figure(&|work| times[index(work)]));
        median(in_rounds.collect())
    }

    pub fn ratio(&self, work: W, to: W) -> f64 {
        self.median(|times| times(work) / times(to))
    }
}
