//! Rounds of runs that are timed in turn, so that what disturbs the machine disturbs all of them.

use super::buffers::{Buffers, Call};
use super::cell::Mode;
use super::contender::Contender;
use super::device::{Machine, Seconds};
use super::statistics::{median, percentile};
use super::{Result, report};

/// The times of all that ran in a cell, round by round.
pub struct Times {
    copy: Vec<f64>,
    contenders: Vec<Vec<Seconds>>,
    /// Bytes that the copy moved.
    copied: usize,
}

/// What is said of a contender.
pub struct Speed {
    pub seconds: report::Spread,
    pub gb_per_s: f64,
    pub copy_gb_per_s: f64,
    pub of_copy: f64,
    pub host_seconds: Option<f64>,
}

impl Times {
    /// Each round runs the copy and all contenders, and begins with another one. A first round is not
    /// counted.
    pub fn measure(
        machine: &dyn Machine,
        buffers: &Buffers,
        contenders: &mut [Box<dyn Contender + '_>],
        rounds: usize,
    ) -> Result<Times> {
        let sets = buffers.sets.len();
        let mut times = Times {
            copy: vec![],
            contenders: contenders.iter().map(|_| vec![]).collect(),
            copied: 2 * buffers.cell.size(),
        };
        for round in 0..=rounds {
            for turn in 0..=contenders.len() {
                match (round + turn) % (contenders.len() + 1) {
                    0 => {
                        let copy = &mut |call: usize| {
                            let (logits, gradient) = &buffers.sets[call % sets];
                            machine.copy(logits, gradient)
                        };
                        times.copy.push(machine.time(machine.calls(sets), copy)?.device);
                    }
                    number => {
                        let contender = &mut contenders[number - 1];
                        let seconds = pass(machine, buffers, contender.as_mut())?;
                        times.contenders[number - 1].push(seconds);
                    }
                }
            }
        }
        times.copy.remove(0);
        for seconds in &mut times.contenders {
            seconds.remove(0);
        }
        Ok(times)
    }

    /// Of the contender of this number, which moves so many bytes in a call.
    pub fn speed(&self, contender: usize, bytes: usize) -> Speed {
        let seconds = &self.contenders[contender];
        let mut device: Vec<f64> = seconds.iter().map(|seconds| seconds.device).collect();
        let gb_per_s = |bytes: usize, seconds: f64| 1e-9 * bytes as f64 / seconds;
        let of_copy = device
            .iter()
            .zip(&self.copy)
            .map(|(&seconds, &copy)| gb_per_s(bytes, seconds) / gb_per_s(self.copied, copy));
        let of_copy = median(of_copy.collect());
        let [low, median_of_all, high] =
            [0.1, 0.5, 0.9].map(|share| percentile(&mut device, share));
        let spread = report::Spread { median: median_of_all, low, high };
        let host: Option<Vec<f64>> = seconds.iter().map(|seconds| seconds.host).collect();
        Speed {
            seconds: spread,
            gb_per_s: gb_per_s(bytes, spread.median),
            copy_gb_per_s: gb_per_s(self.copied, median(self.copy.clone())),
            of_copy,
            host_seconds: host.map(median),
        }
    }
}

/// Calls on each set of buffers, after what a run in place overwrites was restored. Where it has a set
/// several times, the later runs find a gradient in the place of logits.
fn pass(
    machine: &dyn Machine,
    buffers: &Buffers,
    contender: &mut dyn Contender,
) -> Result<Seconds> {
    let sets = &buffers.sets;
    if contender.mode() == Mode::InPlace {
        sets.iter().try_for_each(|(logits, both)| machine.copy(logits, both))?;
    }
    machine.time(machine.calls(sets.len()), &mut |call| {
        let (set, rows) = (call % sets.len(), 0..buffers.cell.rows);
        let call = Call { buffers, set, rows, denominator: None, stream: machine.stream() };
        Ok(contender.run(&call)?)
    })
}

/// What a call takes of the calling thread where the processor is the device: a call without rows.
pub fn empty_call(
    machine: &dyn Machine,
    buffers: &Buffers,
    contender: &mut dyn Contender,
) -> Result<f64> {
    const CALLS: usize = 1000;
    let seconds = machine.time(CALLS, &mut |_| {
        let call =
            Call { buffers, set: 0, rows: 0..0, denominator: None, stream: machine.stream() };
        Ok(contender.run(&call)?)
    })?;
    Ok(seconds.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_medians_of_the_rounds() {
        let at = |device: f64, host: f64| Seconds { device, host: Some(host) };
        let times = Times {
            copy: vec![1e-3, 2e-3, 4e-3],
            contenders: vec![vec![at(2e-3, 5e-6), at(2e-3, 9e-6), at(4e-3, 1e-6)]],
            copied: 2_000_000,
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * b, "{a} {b}");
        let speed = times.speed(0, 1_000_000);
        near(speed.seconds.median, 2e-3);
        near(speed.seconds.low, 2e-3);
        near(speed.seconds.high, 3.6e-3);
        near(speed.gb_per_s, 0.5);
        near(speed.copy_gb_per_s, 1.0);
        // Half as many bytes; in the rounds in 2, 1 and 1 times the time of the copy.
        near(speed.of_copy, 0.5);
        near(speed.host_seconds.unwrap(), 5e-6);
    }

    #[test]
    fn a_device_without_host_time_has_none() {
        let only = Seconds { device: 1.0, host: None };
        let times = Times { copy: vec![1.0], contenders: vec![vec![only]], copied: 2 };
        assert!(times.speed(0, 1).host_seconds.is_none());
    }

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
