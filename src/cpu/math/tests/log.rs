//! Logarithms of vectors.

use super::*;
use crate::cpu::math::log::{ln, log1p};

#[derive(Clone, Copy, Debug)]
enum Function {
    Ln,
    Log1p,
}

impl Function {
    fn exact(self, x: f32) -> f64 {
        match self {
            Function::Ln => f64::from(x).ln(),
            Function::Log1p => f64::from(x).ln_1p(),
        }
    }

    /// The errors that the documentation states: without and with a fused multiply-add.
    fn bounds(self) -> [f64; 2] {
        match self {
            Function::Ln => [1.42, 1.38],
            Function::Log1p => [2.13, 2.1],
        }
    }
}

#[derive(Clone, Copy)]
struct Logarithms<'a> {
    function: Function,
    x: &'a Chunk,
}

impl Vectorised for Logarithms<'_> {
    type Output = Chunk;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Chunk {
        let mut result = [0.0; CHUNK];
        for (x, to) in self.x.as_chunks().0.iter().zip(result.as_chunks_mut().0) {
            let mut block = s.load(x);
            for x in block.as_mut() {
                *x = match self.function {
                    Function::Ln => ln(s, *x),
                    Function::Log1p => log1p(s, *x),
                };
            }
            s.store(block, to);
        }
        result
    }
}

/// Holds a function on the numbers of a range.
fn hold(function: Function, numbers: RangeInclusive<f32>, step: usize) {
    let of = format!("{function:?} from {:e} to {:e}", numbers.start(), numbers.end());
    let errors = largest(numbers, step, |x| {
        let exact = x.map(|x| function.exact(x));
        let run = |set: InstructionSet| set.run(Logarithms { function, x });
        errors_of(run, |lane, actual| error(actual, exact[lane]))
    });
    assert_within(errors, function.bounds(), &of);
}

#[test]
fn logarithms_of_all_numbers() {
    let smallest = f32::from_bits(1);
    hold(Function::Ln, smallest..=f32::MIN_POSITIVE.next_down(), step(2003));
    hold(Function::Ln, f32::MIN_POSITIVE..=f32::MAX, step(1009));
    // Where it is small, and where the terms cancel most.
    hold(Function::Ln, 0.999..=1.001, step(31));
    hold(Function::Ln, 0.5..=2.0, step(257));
}

#[test]
fn logarithms_of_sums_with_1() {
    hold(Function::Log1p, (-1f32).next_up()..=f32::MAX, step(1009));
    hold(Function::Log1p, (-1f32).next_up()..=-0.2, step(257));
    hold(Function::Log1p, 0.4..=0.6, step(31));
    hold(Function::Log1p, 0.2..=8.0, step(257));
}

/// Arguments, and what the result is.
fn hold_exactly<const N: usize>(function: Function, pairs: [(f32, f32); N]) {
    let x = &chunk(&pairs.map(|(x, _)| x));
    for set in InstructionSet::available() {
        let results = set.run(Logarithms { function, x });
        for ((x, expected), actual) in pairs.into_iter().zip(results) {
            let same =
                actual.to_bits() == expected.to_bits() || expected.is_nan() && actual.is_nan();
            assert!(same, "{} {function:?} of {x:e}: {actual}", set.name());
        }
    }
}

#[test]
fn logarithms_at_the_ends() {
    let infinite = f32::INFINITY;
    let smallest = f32::from_bits(1);
    hold_exactly(
        Function::Ln,
        [
            (0.0, -infinite),
            (-0.0, -infinite),
            (1.0, 0.0),
            (infinite, infinite),
            (-infinite, f32::NAN),
            (-smallest, f32::NAN),
            (-f32::MIN_POSITIVE, f32::NAN),
            (-1.0, f32::NAN),
            (f32::MIN, f32::NAN),
            (f32::NAN, f32::NAN),
            (-f32::NAN, f32::NAN),
        ],
    );
    hold_exactly(
        Function::Log1p,
        [
            (0.0, 0.0),
            (-0.0, -0.0),
            (smallest, smallest),
            (-smallest, -smallest),
            (1e-40, 1e-40),
            (-1e-20, -1e-20),
            (-1.0, -infinite),
            (infinite, infinite),
            (-infinite, f32::NAN),
            ((-1f32).next_down(), f32::NAN),
            (-2.0, f32::NAN),
            (f32::MIN, f32::NAN),
            (f32::NAN, f32::NAN),
            (-f32::NAN, f32::NAN),
        ],
    );
}

/// The sum of all results' bits is the same wherever a multiply-add is rounded once.
#[test]
fn every_processor_gives_the_same_logarithms() {
    let x: Chunk = std::array::from_fn(|lane| f32::from_bits(0x001f_c3a7 * lane as u32));
    for set in InstructionSet::available().skip(1) {
        let results =
            [Function::Ln, Function::Log1p].map(|function| set.run(Logarithms { function, x: &x }));
        let sum = sum_of_bits(results.as_flattened());
        assert_eq!(sum, 0xcc80_1caa_ef8a_7b7a, "{}: {sum:#x}", set.name());
    }
}
