//! Every operation of every instruction set of this processor, against plain Rust.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use half::{bf16, f16};

use super::{InstructionSet, LANES, Lanes, Simd, TILE, Vectorised};

/// Ends of ranges, halves between results, and what is no number; the last with payloads, quiet and
/// signalling.
const SPECIAL: [u32; 40] = [
    0x0000_0000, // 0
    0x0000_0001, // the smallest number
    0x0000_0002,
    0x0040_0000, // subnormal
    0x007f_ffff, // the largest of them
    0x0080_0000, // 2^-126
    0x0080_0001,
    0x3300_0000, // 2^-25, half of the smallest f16
    0x3300_0001,
    0x3380_0000, // 2^-24
    0x387f_c000, // the largest subnormal f16
    0x387f_e000, // half-way to the next
    0x3880_0000, // 2^-14
    0x3f00_0000, // 1/2
    0x3f7f_ffff, // the number before 1
    0x3f80_0000, // 1
    0x3f80_0001,
    0x3f80_1000, // 1 + 2^-11, half-way between two f16: even below
    0x3f80_3000, // even above
    0x3f80_8000, // 1 + 2^-8, half-way between two bf16: even below
    0x3f81_8000, // even above
    0x3fb8_aa3b, // log2(e)
    0x4b40_0000, // 1.5 2^23
    0x4b40_00bb,
    0x477f_e000, // the largest f16
    0x477f_efff,
    0x477f_f000, // rounds to infinity
    0x7f7f_7fff, // the last to round to a finite bf16
    0x7f7f_8000,
    0x7f7f_ffff, // the largest number
    0x7f80_0000, // infinity
    0x7fc0_0000, // NaN
    0x7fc0_0001,
    0x7fff_ffff,
    0x7fa0_1234,
    0x7f80_0001, // signalling, and bf16 would make infinity of it
    0xbf80_0000, // -1
    0xbfc0_0000,
    0xc2fe_0000, // -127
    0x5f00_0000, // 2^63
];

/// All of them, with both signs.
fn special() -> impl Iterator<Item = f32> + Clone {
    SPECIAL.into_iter().flat_map(|bits| [bits, bits ^ 0x8000_0000]).map(f32::from_bits)
}

/// Every so many-th of what a test loops over: all, or under Miri fewer.
const fn every(miri: usize) -> usize {
    if cfg!(miri) { miri } else { 1 }
}

/// A test, once for each instruction set.
fn on_all(test: impl Vectorised<Output = ()> + Copy) {
    for set in InstructionSet::available() {
        println!("{}", set.name());
        set.run(test);
    }
}

/// Whether two results are one, where all NaNs are: which of them arithmetic gives is unspecified.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits()
}

/// Applies an operation to all lanes of blocks.
fn apply<S: Simd, const N: usize>(
    s: S,
    inputs: [&[f32; LANES]; N],
    operation: impl Fn([S::V; N]) -> S::V,
) -> [f32; LANES] {
    let blocks = inputs.map(|input| s.load(input));
    let mut result = s.fill(f32::NAN);
    for (at, to) in result.as_mut().iter_mut().enumerate() {
        *to = operation(std::array::from_fn(|input| blocks[input].as_ref()[at]));
    }
    let mut lanes = [0.0; LANES];
    s.store(result, &mut lanes);
    lanes
}

/// Blocks of `N`-tuples of special numbers: all of them, or under Miri some.
fn tuples<const N: usize>() -> impl Iterator<Item = [[f32; LANES]; N]> {
    let numbers: Vec<f32> = special().collect();
    let count = numbers.len().pow(N as u32);
    let step = every(41 * (count / 10_000).max(1));
    let tuple = move |index: usize| {
        let at = |position| index / numbers.len().pow(position as u32) % numbers.len();
        std::array::from_fn::<f32, N, _>(|position| numbers[at(position)])
    };
    (0..count.div_ceil(step)).step_by(LANES).map(move |first| {
        let tuples: [_; LANES] = std::array::from_fn(|lane| tuple((first + lane) * step % count));
        std::array::from_fn(|position| tuples.map(|tuple| tuple[position]))
    })
}

/// Holds an operation on all tuples against plain Rust.
fn hold<S: Simd, const N: usize>(
    s: S,
    name: &str,
    same: impl Fn(f32, f32) -> bool,
    operation: impl Fn([S::V; N]) -> S::V,
    plain: impl Fn([f32; N]) -> f32,
) {
    for inputs in tuples::<N>() {
        let actual = apply(s, inputs.each_ref(), &operation);
        for lane in 0..LANES {
            let input = inputs.map(|input| input[lane]);
            let expected = plain(input);
            let actual = actual[lane];
            let [a, b] = [actual, expected].map(f32::to_bits);
            assert!(same(actual, expected), "{name} of {input:?}: {a:#x}, not {b:#x}");
        }
    }
}

#[test]
fn arithmetic() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            hold(s, "add", same, |[a, b]| s.add(a, b), |[a, b]| a + b);
            hold(s, "sub", same, |[a, b]| s.sub(a, b), |[a, b]| a - b);
            hold(s, "mul", same, |[a, b]| s.mul(a, b), |[a, b]| a * b);
            hold(s, "div", same, |[a, b]| s.div(a, b), |[a, b]| a / b);
        }
    }
    on_all(Test);
}

/// Once, unless the instruction set is the portable one.
#[test]
fn a_product_and_a_sum_are_rounded_once() {
    #[derive(Clone, Copy)]
    struct Test {
        once: bool,
    }
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let plain = |[a, b, c]: [f32; 3]| if self.once { a.mul_add(b, c) } else { a * b + c };
            hold(s, "mul_add", same, |[a, b, c]| s.mul_add(a, b, c), plain);
        }
    }
    for set in InstructionSet::available() {
        set.run(Test { once: !matches!(set, InstructionSet::Portable) });
    }
}

#[test]
fn selections_keep_all_bits() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let max = |[a, b]: [f32; 2]| if a > b { a } else { b };
            hold(s, "max", same_bits, |[a, b]| s.max(a, b), max);
            let copysign = |[a, b]: [f32; 2]| a.copysign(b);
            hold(s, "copysign", same_bits, |[a, b]| s.copysign(a, b), copysign);
            let if_equal = |[a, b, x]: [f32; 3]| if a == b { x } else { a };
            hold(s, "if_equal", same_bits, |[a, b, x]| s.if_equal(a, b, x, a), if_equal);
            let if_less = |[a, b, x]: [f32; 3]| if a < b { x } else { a };
            hold(s, "if_less", same_bits, |[a, b, x]| s.if_less(a, b, x, a), if_less);
            let shifted = |[a]: [f32; 1]| f32::from_bits(a.to_bits() << 23);
            hold(s, "exponent", same_bits, |[a]| s.integer_to_exponent(a), shifted);
            for x in special().step_by(every(9)) {
                assert!(same_bits(s.first(s.splat(x)), x));
                hold(s, "splat", same_bits, |[_]| s.splat(x), |[_]| x);
                hold(s, "fill", same_bits, |[_]| s.fill(x).as_ref()[0], |[_]| x);
            }
        }
    }
    on_all(Test);
}

/// At the ends of the range of significands, too.
#[test]
fn numbers_are_split_into_significand_and_exponent() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let split = |[a]: [f32; 1]| {
                let mut n = 0;
                let mut v = f64::from(a);
                while v < f64::from(FRAC_1_SQRT_2) {
                    (v, n) = (2.0 * v, n - 1);
                }
                while v >= 2.0 * f64::from(FRAC_1_SQRT_2) {
                    (v, n) = (v / 2.0, n + 1);
                }
                (v as f32, n as f32)
            };
            let numbers: Vec<f32> = (-126..=127)
                .step_by(every(19))
                .flat_map(|n| {
                    [1.0, 1.25, SQRT_2.next_down(), SQRT_2, 1.5].map(|v| v * 2f32.powi(n))
                })
                .chain([f32::MAX])
                .collect();
            for numbers in numbers.chunks(LANES) {
                let a = std::array::from_fn(|lane| numbers[lane % numbers.len()]);
                let significands = apply(s, [&a], |[a]| s.split(a).0);
                let exponents = apply(s, [&a], |[a]| s.split(a).1);
                for lane in 0..LANES {
                    let actual = (significands[lane], exponents[lane]);
                    assert_eq!(actual, split([a[lane]]), "{:e}", a[lane]);
                }
            }
            let range = FRAC_1_SQRT_2..SQRT_2;
            hold(s, "split", |a, b| range.contains(&a) && b == 0.0, |[a]| s.split(a).0, |_| 0.0);
        }
    }
    on_all(Test);
}

#[test]
fn equal_sees_every_lane() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let equal = |a: &[f32; LANES], b: &[f32; LANES]| {
                let (a, b) = (s.load(a), s.load(b));
                let width = LANES / a.as_ref().len();
                let registers = a.as_ref().iter().zip(b.as_ref()).enumerate();
                registers.fold(0, |lanes, (register, (&a, &b))| {
                    lanes | s.equal(a, b) << (register * width)
                })
            };
            let pairs = special().flat_map(|a| special().map(move |b| (a, b)));
            for (a, b) in pairs.step_by(every(641)) {
                for lane in [0, 1, 3, 4, 7, 8, 15, 16, 30, 31] {
                    let (mut x, mut y) = ([1.0; LANES], [2.0; LANES]);
                    (x[lane], y[lane]) = (a, b);
                    assert_eq!(
                        equal(&x, &y),
                        u32::from(a == b) << lane,
                        "{a:e}, {b:e} in lane {lane}"
                    );
                }
            }
        }
    }
    on_all(Test);
}

/// L = high + low, x up to where |L x| is 2^21, and n the integers around.
#[test]
fn the_remainder_is_that_of_the_long_product() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            for factor in [std::f64::consts::LOG2_E, 0.7, -1.5, 1e-3, 1e6] {
                let high = factor as f32;
                let low = (factor - f64::from(high)) as f32;
                let long = f64::from(high) + f64::from(low);
                for exponent in (-20..21).step_by(every(8)) {
                    let x: [f32; LANES] = std::array::from_fn(|lane| {
                        let size = 2f64.powi(exponent) * (1.0 + lane as f64 / 37.7);
                        (if lane % 2 == 0 { size } else { -size } / factor) as f32
                    });
                    let n = x.map(|x| (f64::from(x) * long).round_ties_even() as f32);
                    let actual =
                        apply(s, [&x, &n], |[x, n]| s.remainder(x, s.splat(high), s.splat(low), n));
                    for lane in 0..LANES {
                        let exact = f64::from(x[lane]) * long - f64::from(n[lane]);
                        let second = f64::from(x[lane]) * f64::from(low);
                        let allowed = (2.0 * exact.abs() + second.abs()) * 2f64.powi(-24);
                        let error = (f64::from(actual[lane]) - exact).abs();
                        assert!(error <= allowed, "{:e} * {factor}: {error:e}", x[lane]);
                    }
                }
            }
        }
    }
    on_all(Test);
}

#[test]
fn a_block_has_the_order_of_memory() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let numbers: [f32; LANES] = std::array::from_fn(|lane| lane as f32);
            let blocks = [
                s.load(&numbers),
                s.load_f16(&numbers.map(f16::from_f32)),
                s.load_bf16(&numbers.map(bf16::from_f32)),
            ];
            for block in blocks {
                let registers = block.as_ref();
                let width = LANES / registers.len();
                for (at, &register) in registers.iter().enumerate() {
                    assert_eq!(s.first(register), (at * width) as f32);
                }
                let mut long = [0.0; LANES];
                let mut f16s = [f16::NAN; LANES];
                let mut bf16s = [bf16::NAN; LANES];
                s.store(block, &mut long);
                s.store_f16(block, &mut f16s);
                s.store_bf16(block, &mut bf16s);
                assert_eq!(long, numbers);
                assert_eq!(f16s.map(f16::to_f32), numbers);
                assert_eq!(bf16s.map(bf16::to_f32), numbers);
            }
        }
    }
    on_all(Test);
}

/// A signalling NaN of bf16 stays one, since it is only shifted; that of f16 becomes quiet.
#[test]
fn every_number_of_16_bits_is_loaded() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let all: Vec<u16> = (0..=u16::MAX).step_by(every(83)).collect();
            for bits in all.chunks_exact(LANES) {
                let bits: [u16; LANES] = bits.try_into().unwrap();
                let mut wide = [0.0; LANES];
                s.store(s.load_bf16(&bits.map(bf16::from_bits)), &mut wide);
                for (bits, wide) in bits.iter().zip(wide) {
                    assert_eq!(wide.to_bits(), u32::from(*bits) << 16);
                }
                s.store(s.load_f16(&bits.map(f16::from_bits)), &mut wide);
                for (bits, wide) in bits.iter().zip(wide) {
                    let expected = f16::from_bits(*bits).to_f32_const().to_bits();
                    assert_eq!(wide.to_bits(), expected, "{bits:#x}");
                }
            }
        }
    }
    on_all(Test);
}

/// All upper halves of an `f32`; lower halves around every point where a rounding changes.
#[test]
fn numbers_are_rounded_to_16_bits() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let lower: Vec<u32> = (0..16u32)
                .flat_map(|k| [(k << 12).wrapping_sub(1), k << 12, (k << 12) + 1])
                .map(|x| x & 0xffff)
                .chain((0..16).map(|k| 1 << k))
                .collect();
            assert_eq!(lower.len() % LANES, 0);
            for upper in (0..0x1_0000u32).step_by(every(2027)) {
                for lower in lower.chunks_exact(LANES) {
                    let x: [f32; LANES] =
                        std::array::from_fn(|lane| f32::from_bits(upper << 16 | lower[lane]));
                    let (mut f16s, mut bf16s) = ([f16::ZERO; LANES], [bf16::ZERO; LANES]);
                    s.store_f16(s.load(&x), &mut f16s);
                    s.store_bf16(s.load(&x), &mut bf16s);
                    for lane in 0..LANES {
                        let bits = x[lane].to_bits();
                        // Without the instructions that a processor has for it.
                        let expected = f16::from_f32_const(x[lane]).to_bits();
                        assert_eq!(f16s[lane].to_bits(), expected, "f16 of {bits:#x}");
                        let expected = bf16::from_f32(x[lane]).to_bits();
                        assert_eq!(bf16s[lane].to_bits(), expected, "bf16 of {bits:#x}");
                    }
                }
            }
        }
    }
    on_all(Test);
}

#[test]
fn any_alignment() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            /// The first index from which a vector has this address modulo 64.
            fn first<T>(memory: &[T], address: usize) -> usize {
                address.wrapping_sub(memory.as_ptr().addr()) % 64 / size_of::<T>()
            }
            fn hold<T: Copy + PartialEq + std::fmt::Debug>(
                number: impl Fn(usize) -> T,
                copy: impl Fn(&[T; LANES], &mut [T; LANES]),
            ) {
                let (guard, wide) = (number(99), 3 * 64 + LANES);
                for address in (0..64).step_by(size_of::<T>() * every(5)) {
                    let mut from = vec![guard; wide];
                    let mut to = vec![guard; wide];
                    let start = first(&from, address);
                    let source = from[start..].first_chunk_mut().unwrap();
                    *source = std::array::from_fn(&number);
                    let start = 64 + first(&to, 64 - size_of::<T>() - address);
                    copy(source, to[start..].first_chunk_mut().unwrap());
                    let end = start + LANES;
                    assert_eq!(to[start..end], source[..], "address {address}");
                    assert!(to[..start].iter().chain(&to[end..]).all(|&x| x == guard));
                }
            }
            hold(|lane| lane as f32 - 7.0, |from, to| s.store(s.load(from), to));
            let f16s = |lane| f16::from_f32(lane as f32 - 7.0);
            hold(f16s, |from, to| s.store_f16(s.load_f16(from), to));
            let bf16s = |lane| bf16::from_f32(lane as f32 - 7.0);
            hold(bf16s, |from, to| s.store_bf16(s.load_bf16(from), to));
        }
    }
    on_all(Test);
}

#[test]
fn blocks_and_lines_pass_the_caches() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            fn hold<S: Simd, T: Copy + PartialEq + std::fmt::Debug>(
                s: S,
                number: impl Fn(usize) -> T,
                stream: impl Fn(&[T; LANES], &mut Lanes<T>),
            ) {
                let from = std::array::from_fn(&number);
                let mut to = [Lanes([number(LANES); LANES]); 3];
                stream(&from, &mut to[1]);
                s.fence();
                assert_eq!(to[1].0, from);
                assert!([to[0].0, to[2].0].as_flattened().iter().all(|x| *x == number(LANES)));
            }
            hold(s, |lane| lane as f32 - 7.0, |from, to| s.stream(s.load(from), to));
            let f16s = |lane| f16::from_f32(lane as f32 - 7.0);
            hold(s, f16s, |from, to| s.stream_f16(s.load_f16(from), to));
            let bf16s = |lane| bf16::from_f32(lane as f32 - 7.0);
            hold(s, bf16s, |from, to| s.stream_bf16(s.load_bf16(from), to));
            hold(s, |lane| lane as u16, |from, to| s.stream_line(&Lanes(*from), to));
        }
    }
    on_all(Test);
}

#[test]
fn the_best_instruction_set_is_the_last() {
    let names: Vec<_> = InstructionSet::available().map(InstructionSet::name).collect();
    assert_eq!(names[0], "portable");
    assert_eq!(names.last(), Some(&InstructionSet::best().name()));
    println!("{names:?}");
}

#[test]
fn tiles_are_transposed() {
    #[derive(Clone, Copy)]
    struct Test;
    impl Vectorised for Test {
        type Output = ();
        fn run<S: Simd>(self, s: S) {
            let number = |row: usize, column: usize| (100 * row + column) as f32;
            let mut columns = [f32::NAN; TILE.1 * LANES];
            for stride in [8, 11, 63] {
                let mut rows: Vec<f32> = vec![f32::NAN; TILE.0 * stride];
                for (row, numbers) in rows.chunks_mut(stride).enumerate() {
                    (0..TILE.1).for_each(|column| numbers[column] = number(row, column));
                }
                columns.fill(f32::NAN);
                s.to_columns(&rows, stride, &mut columns);
                for (column, numbers) in columns.chunks(LANES).enumerate() {
                    let (tile, rest) = numbers.split_at(TILE.0);
                    assert!(tile.iter().enumerate().all(|(row, &x)| x == number(row, column)));
                    assert!(rest.iter().all(|x| x.is_nan()), "written beside the tile");
                }
                let mut again = vec![f32::NAN; rows.len()];
                s.to_rows(&columns, &mut again, stride);
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&again), bits(&rows));
            }
            // Rows that overlap: each but the last keeps what the next one does not have.
            let mut rows = [f32::NAN; 15 * 3 + 8];
            s.to_rows(&columns, &mut rows, 3);
            for (at, &x) in rows.iter().enumerate() {
                let row = (at / 3).min(15);
                assert_eq!(x, number(row, at - 3 * row));
            }
        }
    }
    on_all(Test);
}
