//! Floating-point instructions and conversions, against results worked out by hand.

mod common;

use common::{check, evaluate, f};

const NAN: u64 = 0x7fff_ffff;
const TINY: u64 = 1; // the smallest subnormal f32

#[test]
fn single_precision_rounds_as_asked() {
    let third = f(1.0 / 3.0);
    check(&[
        ("add.f32 %f0, %f1, %f2;", &[f(1.0), f(2f32.powi(-24))], f(1.0)),
        ("add.rp.f32 %f0, %f1, %f2;", &[f(1.0), f(2f32.powi(-24))], f(1.0) + 1),
        ("add.rz.f32 %f0, %f1, %f2;", &[f(1.0), f(-1e-30)], f(1.0) - 1),
        ("sub.rm.f32 %f0, %f1, %f2;", &[f(1.0), f(1e-30)], f(1.0) - 1),
        ("mul.f32 %f0, %f1, %f2;", &[f(3.0), third], f(1.0)),
        ("mul.rz.f32 %f0, %f1, %f2;", &[f(3.0), third], f(1.0)),
        ("mul.sat.f32 %f0, %f1, %f2;", &[f(3.0), f(-1.0)], 0),
        ("add.sat.f32 %f0, %f1, %f2;", &[f(3.0), NAN], 0),
        ("fma.rn.f32 %f0, %f1, %f2, %f3;", &[third, f(3.0), f(-1.0)], f(2f32.powi(-25))),
        ("mul.ftz.f32 %f0, %f1, %f2;", &[TINY, f(1e30)], 0),
        ("mul.f32 %f0, %f1, %f2;", &[TINY, f(0.5)], 0),
        ("add.ftz.f32 %f0, %f1, %f2;", &[f(-1e-40), f(-0.0)], f(-0.0)),
        ("div.rn.f32 %f0, %f1, %f2;", &[f(1.0), f(3.0)], third),
        ("div.full.f32 %f0, %f1, %f2;", &[f(1.0), f(4.0)], f(0.25)),
        ("sub.f32 %f0, %f1, %f2;", &[f(f32::INFINITY), f(f32::INFINITY)], NAN),
        ("neg.f32 %f0, %f1;", &[f(1.0)], f(-1.0)),
        ("abs.ftz.f32 %f0, %f1;", &[f(-1e-40)], 0),
        ("sqrt.rn.f32 %f0, %f1;", &[f(2.0)], f(2f32.sqrt())),
        ("rcp.rn.f32 %f0, %f1;", &[f(3.0)], third),
        ("copysign.f32 %f0, %f1, %f2;", &[f(-1.0), f(3.0)], f(-3.0)),
    ]);
}

#[test]
fn extremes_ignore_or_pass_on_nans() {
    check(&[
        ("max.f32 %f0, %f1, %f2;", &[NAN, f(1.0)], f(1.0)),
        ("min.f32 %f0, %f1, %f2;", &[f(1.0), NAN], f(1.0)),
        ("max.f32 %f0, %f1, %f2;", &[NAN, NAN], NAN),
        ("max.NaN.f32 %f0, %f1, %f2;", &[NAN, f(1.0)], NAN),
        ("max.f32 %f0, %f1, %f2;", &[f(-0.0), f(0.0)], 0),
        ("min.f32 %f0, %f1, %f2;", &[f(0.0), f(-0.0)], f(-0.0)),
        ("max.f32 %f0, %f1, %f2, %f3;", &[f(1.0), NAN, f(3.0)], f(3.0)),
        ("max.ftz.f32 %f0, %f1, %f2;", &[TINY, f(-1.0)], 0),
        ("max.bf16x2 %r0, %r1, %r2;", &[0x3f80_7fc0, 0x4000_bf80], 0x4000_bf80),
        ("max.NaN.bf16x2 %r0, %r1, %r2;", &[0x3f80_7fc0, 0x4000_bf80], 0x4000_7fff),
        ("min.f16x2 %r0, %r1, %r2;", &[0x3c00_7e00, 0x4000_bc00], 0x3c00_bc00),
        ("max.f16 %h0, %h1, %h2;", &[0x8000, 0], 0),
    ]);
}

#[test]
fn comparisons_know_unordered() {
    let (one, two) = (f(1.0), f(2.0));
    for (name, ordered, unordered) in [
        ("eq", 0, 0),
        ("ne", 1, 0),
        ("lt", 1, 0),
        ("le", 1, 0),
        ("gt", 0, 0),
        ("ge", 0, 0),
        ("equ", 0, 1),
        ("neu", 1, 1),
        ("ltu", 1, 1),
        ("leu", 1, 1),
        ("gtu", 0, 1),
        ("geu", 0, 1),
        ("num", 1, 0),
        ("nan", 0, 1),
    ] {
        let body = format!("setp.{name}.f32 %p0, %f1, %f2;");
        assert_eq!(evaluate(&body, &[one, two]), ordered, "{body}");
        assert_eq!(evaluate(&body, &[one, NAN]), unordered, "{body} of a NaN");
    }
    check(&[
        ("setp.gt.ftz.f32 %p0, %f1, %f2;", &[TINY, 0], 0),
        ("setp.gt.f32 %p0, %f1, %f2;", &[TINY, 0], 1),
        ("setp.lt.f64 %p0, %d1, %d2;", &[1f64.to_bits(), 2f64.to_bits()], 1),
        ("setp.gt.bf16 %p0, %h1, %h2;", &[0x4000, 0x3f80], 1),
        ("setp.lt.f16x2 %p1|%p0, %r1, %r2;", &[0x3c00_4000, 0x4000_3c00], 1),
        ("testp.infinite.f32 %p0, %f1;", &[f(f32::NEG_INFINITY)], 1),
        ("slct.f32.f32 %f0, %f1, %f2, %f3;", &[one, two, f(-0.0)], one),
    ]);
}

#[test]
fn sixteen_bits_round_once() {
    check(&[
        // 1 + 2^-8 is a tie between 1 and 1 + 2^-7: to even.
        ("add.bf16 %h0, %h1, %h2;", &[0x3f80, 0x3b80], 0x3f80),
        ("add.bf16 %h0, %h1, %h2;", &[0x3f81, 0x3b80], 0x3f82),
        // The sum lies 2^-40 above a tie, which one rounding sees.
        ("fma.rn.bf16 %h0, %h1, %h2, %h3;", &[0x3f80, 0x3f80, 0x3b80], 0x3f80),
        (
            "fma.rn.bf16x2 %r0, %r1, %r2, %r3;",
            &[0x4000_3f80, 0x4000_4040, 0x3f80_3f80],
            0x40a0_4080,
        ),
        ("fma.rn.relu.f16x2 %r0, %r1, %r2, %r3;", &[0x3c00_bc00, 0x3c00_3c00, 0], 0x3c00_0000),
        ("mul.f16 %h0, %h1, %h2;", &[0x7bff, 0x4000], 0x7c00),
        ("sub.f16x2 %r0, %r1, %r2;", &[0x3c00_4000, 0x3c00_3c00], 0x3c00),
        ("neg.bf16x2 %r0, %r1;", &[0x3f80_bf80], 0xbf80_3f80),
        ("abs.f16 %h0, %h1;", &[0xbc00], 0x3c00),
        ("add.f32.bf16 %f0, %h1, %f2;", &[0x3f80, f(2.0)], f(3.0)),
        ("fma.rn.f32.f16 %f0, %h1, %h2, %f3;", &[0x4000, 0x4000, f(0.5)], f(4.5)),
    ]);
}

#[test]
fn pairs_of_singles_are_independent() {
    let pair = |low: f32, high: f32| f(low) | f(high) << 32;
    check(&[
        ("add.rn.f32x2 %rd0, %rd1, %rd2;", &[pair(1.0, 2.0), pair(3.0, 4.0)], pair(4.0, 6.0)),
        ("mul.f32x2 %rd0, %rd1, %rd2;", &[pair(1.0, 2.0), pair(3.0, 4.0)], pair(3.0, 8.0)),
        (
            "fma.rn.f32x2 %rd0, %rd1, %rd2, %rd3;",
            &[pair(1.0, 2.0), pair(3.0, 4.0), pair(0.5, -8.0)],
            pair(3.5, 0.0),
        ),
        ("fma.rn.ftz.f32x2 %rd0, %rd1, %rd2, %rd3;", &[TINY, pair(1.0, 1.0), 0], 0),
    ]);
}

#[test]
fn double_precision() {
    let d = f64::to_bits;
    check(&[
        ("add.f64 %d0, %d1, %d2;", &[d(1.0), d(2.5)], d(3.5)),
        ("fma.rn.f64 %d0, %d1, %d2, %d3;", &[d(2.0), d(3.0), d(1.0)], d(7.0)),
        ("div.rn.f64 %d0, %d1, %d2;", &[d(1.0), d(3.0)], d(1.0 / 3.0)),
        ("max.f64 %d0, %d1, %d2;", &[d(f64::NAN), d(3.0)], d(3.0)),
        ("neg.f64 %d0, %d1;", &[d(1.0)], d(-1.0)),
        ("rcp.approx.ftz.f64 %d0, %d1;", &[d(2.0)], d(0.5)),
    ]);
}

#[test]
fn approximations_have_their_limits() {
    check(&[
        ("ex2.approx.ftz.f32 %f0, %f1;", &[f(3.0)], f(8.0)),
        ("ex2.approx.ftz.f32 %f0, %f1;", &[f(-130.0)], 0),
        ("ex2.approx.f32 %f0, %f1;", &[f(-130.0)], f(2f32.powi(-130))),
        ("ex2.approx.ftz.f32 %f0, %f1;", &[f(f32::NEG_INFINITY)], 0),
        ("ex2.approx.ftz.f32 %f0, %f1;", &[f(200.0)], f(f32::INFINITY)),
        ("ex2.approx.ftz.f32 %f0, %f1;", &[NAN], NAN),
        ("lg2.approx.ftz.f32 %f0, %f1;", &[f(8.0)], f(3.0)),
        ("lg2.approx.ftz.f32 %f0, %f1;", &[0], f(f32::NEG_INFINITY)),
        ("lg2.approx.ftz.f32 %f0, %f1;", &[TINY], f(f32::NEG_INFINITY)),
        ("lg2.approx.f32 %f0, %f1;", &[f(-1.0)], NAN),
        ("rcp.approx.ftz.f32 %f0, %f1;", &[f(4.0)], f(0.25)),
        ("sqrt.approx.f32 %f0, %f1;", &[f(9.0)], f(3.0)),
        ("rsqrt.approx.f32 %f0, %f1;", &[f(4.0)], f(0.5)),
        ("sin.approx.f32 %f0, %f1;", &[0], 0),
        ("cos.approx.f32 %f0, %f1;", &[0], f(1.0)),
        ("tanh.approx.f32 %f0, %f1;", &[f(50.0)], f(1.0)),
        ("ex2.approx.ftz.bf16x2 %r0, %r1;", &[0x3f80_4000], 0x4000_4080),
        ("ex2.approx.f16x2 %r0, %r1;", &[0x3c00_4000], 0x4000_4400),
        ("tanh.approx.bf16 %h0, %h1;", &[0], 0),
    ]);
}

#[test]
fn numbers_become_integers() {
    check(&[
        ("cvt.rni.s32.f32 %r0, %f1;", &[f(2.5)], 2),
        ("cvt.rni.s32.f32 %r0, %f1;", &[f(3.5)], 4),
        ("cvt.rzi.s32.f32 %r0, %f1;", &[f(-2.7)], -2i32 as u32 as u64),
        ("cvt.rmi.s32.f32 %r0, %f1;", &[f(-2.1)], -3i32 as u32 as u64),
        ("cvt.rpi.s32.f32 %r0, %f1;", &[f(2.1)], 3),
        ("cvt.rzi.s32.f32 %r0, %f1;", &[f(1e20)], 0x7fff_ffff),
        ("cvt.rzi.u32.f32 %r0, %f1;", &[f(-5.0)], 0),
        ("cvt.rzi.s32.f32 %r0, %f1;", &[NAN], 0),
        ("cvt.rzi.s64.f32 %rd0, %f1;", &[f(1e10)], 10_000_000_000),
        ("cvt.rzi.u64.f64 %rd0, %d1;", &[1e10f64.to_bits()], 10_000_000_000),
        ("cvt.rpi.f32.f32 %f0, %f1;", &[f(2.1)], f(3.0)),
        ("cvt.rmi.ftz.f32.f32 %f0, %f1;", &[f(-1e-40)], f(-0.0)),
        ("cvt.rni.f32.f32 %f0, %f1;", &[f(-2.5)], f(-2.0)),
    ]);
}

#[test]
fn integers_become_numbers() {
    check(&[
        ("cvt.rn.f32.s32 %f0, %r1;", &[0xffff_ffff], f(-1.0)),
        ("cvt.rn.f32.u32 %f0, %r1;", &[0xffff_ffff], f(4294967296.0)),
        ("cvt.rz.f32.u32 %f0, %r1;", &[0xffff_ffff], f(4294967040.0)),
        ("cvt.rn.f32.s64 %f0, %rd1;", &[-3i64 as u64], f(-3.0)),
        // 2^62 + 2^38 is a tie; the 1 below decides.
        ("cvt.rn.f32.u64 %f0, %rd1;", &[(1 << 62) + (1 << 38) + 1], f(2f32.powi(62)) + 1),
        ("cvt.rn.f32.u64 %f0, %rd1;", &[(1 << 62) + (1 << 38)], f(2f32.powi(62))),
        ("cvt.rn.f64.u64 %d0, %rd1;", &[1 << 60], 2f64.powi(60).to_bits()),
        ("cvt.rn.f16.u32 %h0, %r1;", &[2049], 0x6800),
        ("cvt.rn.f32.u16 %f0, %h1;", &[65535], f(65535.0)),
        ("cvt.rn.f32.u8 %f0, %r1;", &[0x1ff], f(255.0)),
    ]);
}

#[test]
fn formats_narrow_and_widen() {
    check(&[
        ("cvt.f32.f16 %f0, %h1;", &[0x3c01], f(1.0 + 2f32.powi(-10))),
        ("cvt.f32.f16 %f0, %h1;", &[1], f(2f32.powi(-24))),
        ("cvt.f32.bf16 %f0, %h1;", &[0x3f81], f(1.0 + 2f32.powi(-7))),
        ("cvt.f32.f16 %f0, %h1;", &[0x7e00], NAN),
        ("cvt.rn.f16.f32 %h0, %f1;", &[f(65519.0)], 0x7bff),
        ("cvt.rn.f16.f32 %h0, %f1;", &[f(65520.0)], 0x7c00),
        ("cvt.rz.f16.f32 %h0, %f1;", &[f(65520.0)], 0x7bff),
        ("cvt.rn.f16.f32 %h0, %f1;", &[f(2f32.powi(-25))], 0),
        ("cvt.rn.f16.f32 %h0, %f1;", &[f(2f32.powi(-25)) + 1], 1),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0x3f80_8000], 0x3f80),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0x3f81_8000], 0x3f82),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0x3f80_8001], 0x3f81),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0x7f7f_ffff], 0x7f80),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0xffc0_0000], 0x7fff),
        ("cvt.rn.bf16.f32 %h0, %f1;", &[0x0000_8001], 1),
        ("cvt.rn.bf16x2.f32 %r0, %f1, %f2;", &[f(1.0), f(2.0)], 0x3f80_4000),
        ("cvt.rn.relu.bf16x2.f32 %r0, %f1, %f2;", &[f(-1.0), f(2.0)], 0x4000),
        ("cvt.rn.f16x2.f32 %r0, %f1, %f2;", &[f(1.0), f(2.0)], 0x3c00_4000),
        ("cvt.rz.bf16x2.f32 %r0, %f1, %f2;", &[0x3f80_ffff, f(2.0)], 0x3f80_4000),
        ("cvt.f64.f32 %d0, %f1;", &[f(1.5)], 1.5f64.to_bits()),
        ("cvt.rn.f32.f64 %f0, %d1;", &[(1.0 + 2f64.powi(-24)).to_bits()], f(1.0)),
        ("cvt.rp.f32.f64 %f0, %d1;", &[(1.0 + 2f64.powi(-24)).to_bits()], f(1.0) + 1),
        ("cvt.sat.f32.f32 %f0, %f1;", &[f(-3.0)], 0),
    ]);
}
