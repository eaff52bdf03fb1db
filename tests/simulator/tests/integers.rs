//! Integer instructions, against results worked out by hand.

mod common;

use common::check;

const MINUS: u64 = 0xffff_ffff;

#[test]
fn sums_and_products_wrap() {
    check(&[
        ("add.s32 %r0, %r1, %r2;", &[MINUS, 2], 1),
        ("add.s16 %h0, %h1, %h2;", &[0xffff, 2], 1),
        ("add.u64 %rd0, %rd1, %rd2;", &[u64::MAX, 2], 1),
        ("add.sat.s32 %r0, %r1, %r2;", &[0x7fff_ffff, 1], 0x7fff_ffff),
        ("sub.sat.s32 %r0, %r1, %r2;", &[0x8000_0000, 1], 0x8000_0000),
        ("sub.s32 %r0, %r1, %r2;", &[1, 2], MINUS),
        ("sub.s64 %rd0, %rd1, %rd2;", &[1, 2], u64::MAX),
        ("mul.lo.s32 %r0, %r1, %r2;", &[0x1_0000, 0x1_0001], 0x1_0000),
        ("mul.hi.u32 %r0, %r1, %r2;", &[MINUS, MINUS], 0xffff_fffe),
        ("mul.hi.s32 %r0, %r1, %r2;", &[MINUS, MINUS], 0),
        ("mul.hi.s64 %rd0, %rd1, %rd2;", &[u64::MAX, 5], u64::MAX),
        ("mul.hi.u64 %rd0, %rd1, %rd2;", &[u64::MAX, u64::MAX], u64::MAX - 1),
        ("mul.wide.s32 %rd0, %r1, %r2;", &[MINUS, 3], -3i64 as u64),
        ("mul.wide.u32 %rd0, %r1, %r2;", &[MINUS, 3], 0x2_ffff_fffd),
        ("mul.wide.s16 %r0, %h1, %h2;", &[0xffff, 3], 0xffff_fffd),
        ("mul.wide.u16 %r0, %h1, %h2;", &[0xffff, 3], 0x2_fffd),
        ("mad.lo.s32 %r0, %r1, %r2, %r3;", &[MINUS, 3, 5], 2),
        ("mad.lo.s64 %rd0, %rd1, %rd2, %rd3;", &[7, 8, 9], 65),
        ("mad.hi.u32 %r0, %r1, %r2, %r3;", &[MINUS, 2, 7], 8),
        ("mad.wide.s32 %rd0, %r1, %r2, %rd3;", &[MINUS, 3, 1], -2i64 as u64),
        ("sad.s32 %r0, %r1, %r2, %r3;", &[MINUS, 2, 10], 13),
        ("sad.u32 %r0, %r1, %r2, %r3;", &[5, 2, 10], 13),
    ]);
}

#[test]
fn quotients_round_to_zero_and_remainders_have_the_sign_of_the_dividend() {
    check(&[
        ("div.s32 %r0, %r1, %r2;", &[-7i32 as u32 as u64, 2], -3i32 as u32 as u64),
        ("rem.s32 %r0, %r1, %r2;", &[-7i32 as u32 as u64, 2], MINUS),
        ("rem.s32 %r0, %r1, %r2;", &[7, -2i32 as u32 as u64], 1),
        ("div.u32 %r0, %r1, %r2;", &[-7i32 as u32 as u64, 2], 0x7fff_fffc),
        ("div.s32 %r0, %r1, %r2;", &[0x8000_0000, MINUS], 0x8000_0000),
        ("div.s64 %rd0, %rd1, %rd2;", &[-9i64 as u64, 4], -2i64 as u64),
        ("rem.u64 %rd0, %rd1, %rd2;", &[1 << 40, 1000], (1u64 << 40) % 1000),
        ("div.u32 %r0, %r1, %r2;", &[5, 0], MINUS),
    ]);
}

#[test]
fn shifts_beyond_the_width_clamp() {
    check(&[
        ("shl.b32 %r0, %r1, %r2;", &[1, 31], 1 << 31),
        ("shl.b32 %r0, %r1, %r2;", &[1, 32], 0),
        ("shl.b32 %r0, %r1, %r2;", &[1, MINUS], 0),
        ("shl.b64 %rd0, %rd1, %r2;", &[1, 63], 1 << 63),
        ("shl.b64 %rd0, %rd1, %r2;", &[1, 64], 0),
        ("shl.b16 %h0, %h1, %r2;", &[3, 15], 0x8000),
        ("shr.u32 %r0, %r1, %r2;", &[MINUS, 32], 0),
        ("shr.s32 %r0, %r1, %r2;", &[0x8000_0000, 40], MINUS),
        ("shr.s32 %r0, %r1, 31;", &[0x7fff_ffff], 0),
        ("shr.s64 %rd0, %rd1, %r2;", &[1 << 63, 100], u64::MAX),
        ("shr.u64 %rd0, %rd1, %r2;", &[1 << 63, 63], 1),
        ("shr.u16 %h0, %h1, %r2;", &[0x8000, 15], 1),
        ("shf.l.wrap.b32 %r0, %r1, %r2, %r3;", &[0x8000_0000, 1, 33], 3),
        ("shf.l.clamp.b32 %r0, %r1, %r2, %r3;", &[0x8000_0000, 1, 33], 0x8000_0000),
        ("shf.r.wrap.b32 %r0, %r1, %r2, %r3;", &[2, 1, 33], 0x8000_0001),
        ("shf.r.clamp.b32 %r0, %r1, %r2, %r3;", &[2, 1, 33], 1),
    ]);
}

#[test]
fn bits_are_counted_found_and_moved() {
    check(&[
        ("and.b32 %r0, %r1, %r2;", &[0b1100, 0b1010], 0b1000),
        ("or.b64 %rd0, %rd1, %rd2;", &[1 << 40, 1], 1 << 40 | 1),
        ("xor.b32 %r0, %r1, -1;", &[5], !5u32 as u64),
        ("not.b32 %r0, %r1;", &[5], !5u32 as u64),
        ("not.b16 %h0, %h1;", &[5], 0xfffa),
        ("cnot.b32 %r0, %r1;", &[0], 1),
        ("clz.b32 %r0, %r1;", &[0], 32),
        ("clz.b64 %r0, %rd1;", &[1], 63),
        ("popc.b32 %r0, %r1;", &[0xf0f0], 8),
        ("popc.b64 %r0, %rd1;", &[u64::MAX], 64),
        ("brev.b32 %r0, %r1;", &[1], 1 << 31),
        ("bfind.u32 %r0, %r1;", &[0x10], 4),
        ("bfind.u32 %r0, %r1;", &[0], MINUS),
        ("bfind.s32 %r0, %r1;", &[MINUS], MINUS),
        ("bfind.shiftamt.u32 %r0, %r1;", &[0x10], 27),
        ("bfe.u32 %r0, %r1, 8, 8;", &[0x12_34_56], 0x34),
        ("bfe.s32 %r0, %r1, 8, 8;", &[0xf400], 0xffff_fff4),
        ("bfe.u32 %r0, %r1, %r2, %r3;", &[MINUS, 28, 8], 0xf),
        ("bfe.s32 %r0, %r1, %r2, %r3;", &[0x8000_0000, 40, 8], MINUS),
        ("bfe.u32 %r0, %r1, %r2, %r3;", &[MINUS, 0, 0], 0),
        ("bfe.u64 %rd0, %rd1, 40, 8;", &[0xab << 40], 0xab),
        ("bfi.b32 %r0, %r1, %r2, 8, 4;", &[0xff, 0], 0xf00),
        ("bfi.b32 %r0, %r1, %r2, 32, 4;", &[0xff, 7], 7),
        ("prmt.b32 %r0, %r1, %r2, 0x5410;", &[0x1111_2222, 0x3333_4444], 0x4444_2222),
        ("prmt.b32 %r0, %r1, 0, 0x1044;", &[0xaabb_ccdd], 0xccdd_0000),
        ("prmt.b32 %r0, %r1, 0, 0xbbbb;", &[0x8000_0000], MINUS),
        ("prmt.b32.rc16 %r0, %r1, %r2, %r3;", &[0x1111_2222, 0, 1], 0x1111_1111),
        ("prmt.b32.f4e %r0, %r1, %r2, %r3;", &[0x0403_0201, 0x0807_0605, 1], 0x0504_0302),
        ("lop3.b32 %r0, %r1, %r2, %r3, 0x96;", &[0b1100, 0b1010, 0b1001], 0b1111),
        ("lop3.b32 %r0, %r1, %r2, %r3, 0xea;", &[0b1100, 0b1010, 1], 0b1001),
    ]);
}

#[test]
fn extremes_and_signs() {
    check(&[
        ("min.s32 %r0, %r1, %r2;", &[MINUS, 1], MINUS),
        ("min.u32 %r0, %r1, %r2;", &[MINUS, 1], 1),
        ("max.s64 %rd0, %rd1, %rd2;", &[u64::MAX, 1], 1),
        ("max.u64 %rd0, %rd1, %rd2;", &[u64::MAX, 1], u64::MAX),
        ("max.s16 %h0, %h1, %h2;", &[0xffff, 1], 1),
        ("neg.s32 %r0, %r1;", &[1], MINUS),
        ("abs.s32 %r0, %r1;", &[MINUS], 1),
        ("abs.s32 %r0, %r1;", &[0x8000_0000], 0x8000_0000),
        ("neg.s64 %rd0, %rd1;", &[1], u64::MAX),
    ]);
}

#[test]
fn comparisons_select() {
    check(&[
        ("setp.lt.s32 %p0, %r1, %r2;", &[MINUS, 0], 1),
        ("setp.lt.u32 %p0, %r1, %r2;", &[MINUS, 0], 0),
        ("setp.ge.s64 %p0, %rd1, %rd2;", &[u64::MAX, 0], 0),
        ("setp.hi.u32 %p0, %r1, %r2;", &[MINUS, 0], 1),
        ("setp.eq.b16 %p0, %h1, %h2;", &[7, 7], 1),
        ("setp.gt.s16 %p0, %h1, -1;", &[0], 1),
        ("setp.ne.b64 %p0, %rd1, 0;", &[1 << 50], 1),
        ("setp.eq.s32 %p1|%p0, %r1, %r2;", &[1, 2], 1),
        ("setp.eq.s32 %p1, %r1, 1; setp.eq.and.s32 %p0, %r2, 2, %p1;", &[1, 2], 1),
        ("setp.eq.s32 %p1, %r1, 1; setp.eq.and.s32 %p0, %r2, 2, !%p1;", &[1, 2], 0),
        ("setp.eq.s32 %p1, %r1, 1; setp.eq.or.s32 %p0, %r2, 3, %p1;", &[1, 2], 1),
        ("setp.eq.s32 %p1, %r1, 1; setp.eq.xor.s32 %p0, %r2, 2, %p1;", &[1, 2], 0),
        ("set.lt.u32.s32 %r0, %r1, 0;", &[MINUS], MINUS),
        ("set.lt.f32.s32 %r0, %r1, 0;", &[MINUS], 0x3f80_0000),
        ("setp.ne.s32 %p1, %r1, 0; selp.b32 %r0, %r2, %r3, %p1;", &[1, 5, 6], 5),
        ("setp.ne.s32 %p1, %r1, 0; selp.b64 %rd0, %rd2, %rd3, !%p1;", &[1, 5, 6], 6),
        ("slct.b32.s32 %r0, %r1, %r2, %r3;", &[5, 6, MINUS], 6),
        ("mov.pred %p1, -1; mov.pred %p2, 0; and.pred %p0, %p1, %p2;", &[], 0),
        ("mov.pred %p1, 1; not.pred %p0, %p1;", &[], 0),
        ("setp.eq.s32 %p1, %r1, 1; setp.eq.s32 %p2, %r1, 2; xor.pred %p0, %p1, %p2;", &[1], 1),
    ]);
}

#[test]
fn integers_change_their_width() {
    check(&[
        ("cvt.s64.s32 %rd0, %r1;", &[MINUS], u64::MAX),
        ("cvt.u64.u32 %rd0, %r1;", &[MINUS], MINUS),
        ("cvt.u32.u64 %r0, %rd1;", &[0x1_2345_6789], 0x2345_6789),
        ("cvt.s32.s16 %r0, %h1;", &[0xffff], MINUS),
        ("cvt.u32.u16 %r0, %h1;", &[0xffff], 0xffff),
        ("cvt.s32.s8 %r0, %r1;", &[0x80], 0xffff_ff80),
        ("cvt.u32.u8 %r0, %r1;", &[0x1ff], 0xff),
        ("cvt.u16.u32 %h0, %r1;", &[0x12345], 0x2345),
        ("cvt.s64.s8 %rd0, %r1;", &[0x80], -128i64 as u64),
        ("cvt.sat.u8.s32 %r0, %r1;", &[MINUS], 0),
        ("cvt.sat.u8.u32 %r0, %r1;", &[300], 255),
        ("cvt.sat.s32.s64 %r0, %rd1;", &[1 << 40], 0x7fff_ffff),
        ("mov.b64 %rd0, {%r1, %r2};", &[1, 2], 2 << 32 | 1),
        ("mov.b64 {%r5, %r0}, %rd1;", &[0x7_0000_0001], 7),
        ("mov.b64 {_, %r0}, %rd1;", &[0x7_0000_0001], 7),
        ("mov.b32 %r0, {%h1, %h2};", &[1, 2], 0x2_0001),
        ("mov.b32 {%h5, %h0}, %r1;", &[0x7_0001], 7),
    ]);
}

#[test]
fn a_false_predicate_leaves_the_destination() {
    check(&[
        ("mov.u32 %r0, 7; setp.ne.s32 %p1, %r1, 0; @%p1 mov.u32 %r0, 8;", &[0], 7),
        ("mov.u32 %r0, 7; setp.ne.s32 %p1, %r1, 0; @!%p1 mov.u32 %r0, 8;", &[0], 8),
        ("mov.u32 %r0, 7; setp.ne.s32 %p1, %r1, 0; @%p1 ld.global.u32 %r0, [0];", &[0], 7),
    ]);
}
