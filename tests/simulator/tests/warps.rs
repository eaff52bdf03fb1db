//! Divergence, and what the lanes of a warp do together.

mod common;

use common::{kernel, run, seeded, threads};
use xent_simulator::Kind;

/// Every lane stores `%r0`.
const STORE: &str =
    "mul.wide.u32 %rd0, %r39, 4; add.s64 %rd0, %rd38, %rd0; st.global.u32 [%rd0], %r0;";

/// What 32 lanes get from a body that leaves its result in `%r0`, under several schedules.
fn lanes(body: &str) -> Vec<u32> {
    let text = kernel("", &format!("{body} {STORE}"));
    let first = run(&text, threads(32), &[0]).words(32);
    for seed in 1..6 {
        assert_eq!(run(&text, seeded(threads(32), seed), &[0]).words(32), first, "seed {seed}");
    }
    first
}

fn all(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles_stay_within_their_segments() {
    let shuffle = |mode: &str, b: &str, c: &str| {
        lanes(&format!(
            "add.u32 %r1, %r39, 100; shfl.sync.{mode}.b32 %r0|%p0, %r1, {b}, {c}, -1; @!%p0 add.u32 %r0, %r0, 1000;"
        ))
    };
    assert_eq!(shuffle("bfly", "1", "31"), all(|l| 100 + (l ^ 1)));
    assert_eq!(shuffle("idx", "7", "31"), all(|_| 107));
    assert_eq!(shuffle("idx", "35", "31"), all(|_| 103));
    assert_eq!(shuffle("up", "1", "0"), all(|l| if l == 0 { 1100 } else { 99 + l }));
    assert_eq!(shuffle("down", "2", "31"), all(|l| if l > 29 { 1100 + l } else { 102 + l }));
    // Width 8: c = (32 - 8) << 8 | clamp.
    assert_eq!(shuffle("idx", "3", "0x181f"), all(|l| 100 + (l & 24) + 3));
    assert_eq!(shuffle("up", "3", "0x1800"), all(|l| if l % 8 < 3 { 1100 + l } else { 97 + l }));
    assert_eq!(shuffle("down", "3", "0x181f"), all(|l| if l % 8 > 4 { 1100 + l } else { 103 + l }));
    // A clamp below the width: lanes above it are out of range.
    assert_eq!(shuffle("idx", "20", "15"), all(|l| 1100 + l));
    assert_eq!(shuffle("bfly", "16", "15"), all(|l| if l < 16 { 1100 + l } else { 84 + l }));
}

#[test]
fn votes_matches_and_reductions() {
    let odd = "and.b32 %r1, %r39, 1; setp.ne.s32 %p1, %r1, 0;";
    let vote = |what: &str| lanes(&format!("{odd} {what} selp.b32 %r0, 1, 0, %p0;"));
    assert_eq!(vote("vote.sync.any.pred %p0, %p1, -1;"), all(|_| 1));
    assert_eq!(vote("vote.sync.all.pred %p0, %p1, -1;"), all(|_| 0));
    assert_eq!(vote("vote.sync.uni.pred %p0, !%p1, -1;"), all(|_| 0));
    assert_eq!(
        vote("@%p1 vote.sync.all.pred %p0, %p1, 0xaaaaaaaa; @!%p1 mov.pred %p0, 0;"),
        all(|l| l & 1)
    );
    assert_eq!(lanes(&format!("{odd} vote.sync.ballot.b32 %r0, %p1, -1;")), all(|_| 0xaaaa_aaaa));
    let third = "mov.u32 %r2, 3; rem.u32 %r1, %r39, %r2;";
    let same = |l: u32| (0..32).filter(|o| o % 3 == l % 3).fold(0, |m, o| m | 1 << o);
    assert_eq!(lanes(&format!("{third} match.any.sync.b32 %r0, %r1, -1;")), all(same));
    assert_eq!(lanes("match.all.sync.b32 %r0|%p0, %r39, -1; @%p0 mov.u32 %r0, 9;"), all(|_| 0));
    assert_eq!(lanes("mov.u64 %rd1, 5; match.all.sync.b64 %r0|%p0, %rd1, -1;"), all(|_| u32::MAX));
    assert_eq!(lanes("redux.sync.add.u32 %r0, %r39, -1;"), all(|_| 496));
    assert_eq!(
        lanes("sub.s32 %r1, %r39, 5; redux.sync.min.s32 %r0, %r1, -1;"),
        all(|_| -5i32 as u32)
    );
    assert_eq!(lanes("redux.sync.or.b32 %r0, %r39, -1;"), all(|_| 31));
    assert_eq!(
        lanes(
            "cvt.rn.f32.u32 %f1, %r39; redux.sync.max.f32 %f2, %f1, -1; cvt.rzi.u32.f32 %r0, %f2;"
        ),
        all(|_| 31)
    );
    assert_eq!(
        lanes("elect.sync %r0|%p0, -1; @%p0 add.u32 %r0, %r0, 50;"),
        all(|l| if l == 0 { 50 } else { 0 })
    );
    assert_eq!(lanes("activemask.b32 %r0;"), all(|_| u32::MAX));
}

#[test]
fn special_registers() {
    assert_eq!(lanes("mov.u32 %r0, %laneid;"), all(|l| l));
    assert_eq!(lanes("mov.u32 %r0, %lanemask_lt;"), all(|l| (1 << l) - 1));
    assert_eq!(lanes("mov.u32 %r0, %ntid.x;"), all(|_| 32));
    assert_eq!(lanes("mov.u32 %r0, %nctaid.y;"), all(|_| 1));
    assert_eq!(lanes("mov.u32 %r0, %cluster_nctarank;"), all(|_| 1));
    assert_eq!(lanes("mov.u32 %r0, %dynamic_smem_size;"), all(|_| 0));
}

#[test]
fn lanes_part_and_meet_again() {
    // The sum of 0..lane by a loop of as many rounds, then a shuffle that needs all of them.
    let body = "mov.u32 %r1, 0; mov.u32 %r2, 0;
        LOOP: setp.ge.u32 %p0, %r2, %r39; @%p0 bra DONE;
        add.u32 %r1, %r1, %r2; add.u32 %r2, %r2, 1; bra.uni LOOP;
        DONE: shfl.sync.bfly.b32 %r0, %r1, 31, 31, -1;";
    assert_eq!(
        lanes(body),
        all(|l| {
            let l = 31 - l;
            l * l.saturating_sub(1) / 2
        })
    );
}

#[test]
fn branch_tables_and_nested_scopes() {
    let body = "and.b32 %r1, %r39, 1;
        T: .branchtargets EVEN, ODD;
        brx.idx %r1, T;
        EVEN: { .reg .u32 x; mov.u32 x, 10; mov.u32 %r0, x; } bra DONE;
        ODD: { .reg .u32 x; mov.u32 x, 20; { .reg .u32 x; mov.u32 x, 30; add.u32 %r0, x, 1; }
               add.u32 %r0, %r0, x; }
        DONE:";
    assert_eq!(lanes(body), all(|l| if l % 2 == 0 { 10 } else { 51 }));
}

#[test]
fn halves_of_a_warp_shuffle_apart() {
    let body = "setp.lt.u32 %p0, %r39, 16; @%p0 bra LOW;
        shfl.sync.bfly.b32 %r0, %r39, 1, 31, 0xffff0000; bra DONE;
        LOW: shfl.sync.bfly.b32 %r0, %r39, 2, 31, 0x0000ffff;
        DONE: bar.warp.sync -1;";
    assert_eq!(lanes(body), all(|l| if l < 16 { l ^ 2 } else { l ^ 1 }));
}

#[test]
fn a_mask_must_hold_those_who_are_there() {
    let faults = |body: &str, what: &[&str]| {
        for seed in 0..4 {
            run(&kernel("", body), seeded(threads(32), seed), &[0]).expect(Kind::Mask, what);
        }
    };
    faults("shfl.sync.bfly.b32 %r0, %r39, 1, 31, 1;", &["lacks it"]);
    faults("setp.gt.u32 %p0, %r39, 3; @%p0 exit; bar.warp.sync -1;", &["mask 0xffffffff", "exit"]);
    faults(
        "setp.gt.u32 %p0, %r39, 3; @%p0 exit; shfl.sync.idx.b32 %r0, %r39, 9, 31, 15;",
        &["reads lane 9", "lacks"],
    );
    faults("bar.warp.sync %r39;", &["lane 0 has mask"]);
    let text = kernel("", "bar.warp.sync -1;");
    run(&text, threads(20), &[0]).expect(Kind::Mask, &["lane 20", "does not exist"]);
    // Lanes that never come.
    let text = kernel(
        "",
        "setp.gt.u32 %p0, %r39, 3; @%p0 bra WAIT; shfl.sync.bfly.b32 %r0, %r39, 1, 31, -1; ret;
        WAIT: bar.sync 1;",
    );
    run(&text, threads(32), &[0])
        .expect(Kind::Deadlock, &["lanes 0x0000000f", "mask 0xffffffff", "barrier 1"]);
}
