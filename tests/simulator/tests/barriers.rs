//! Barriers, clusters, mbarriers and asynchronous copies: right uses under many schedules, and
//! wrong ones, each of which must be found.

mod common;

use common::{cluster, kernel, run, seeded, threads};
use xent_simulator::{Kind, Launch};

const SHARED: &str = ".shared .align 16 .b8 a[256]; .shared .align 8 .b8 m[16];";

/// Each thread writes its number to `a`, passes `between`, reads that of its neighbour (64 threads).
fn exchange(between: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r1, a; shl.b32 %r2, %r39, 2; add.u32 %r2, %r1, %r2; st.shared.u32 [%r2], %r39;
             {between}
             xor.b32 %r3, %r39, 33; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3;
             ld.shared.u32 %r4, [%r3];
             mul.wide.u32 %rd1, %r39, 4; add.s64 %rd1, %rd38, %rd1; st.global.u32 [%rd1], %r4;"
        ),
    )
}

/// Runs under several schedules.
fn passes(text: &str, launch: &Launch, expected: &[u32]) {
    for seed in 0..12 {
        let found = run(text, seeded(launch.clone(), seed), &[7; 64]).words(expected.len());
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// Is found, whatever the schedule.
fn fails(text: &str, launch: &Launch, kind: Kind, what: &[&str]) {
    for seed in 0..12 {
        run(text, seeded(launch.clone(), seed), &[7; 64]).expect(kind, what);
    }
}

fn crossed() -> Vec<u32> {
    (0..64).map(|thread| thread ^ 33).collect()
}

#[test]
fn barriers_order_shared_memory() {
    for between in [
        "bar.sync 0;",
        "barrier.sync.aligned 0;",
        "barrier.cta.sync 3, 64;",
        "bar.sync 1, 64;",
        "setp.lt.u32 %p0, %r39, 32; @%p0 bra A; barrier.sync 2; bra B; A: barrier.sync 2; B:",
    ] {
        passes(&exchange(between), &threads(64), &crossed());
    }
    let text = kernel(
        "",
        "setp.lt.u32 %p0, %r39, 40; bar.red.popc.u32 %r0, 0, %p0; bar.red.and.pred %p1, 0, %p0;
        bar.red.or.pred %p2, 0, %p0; @%p1 add.u32 %r0, %r0, 100; @%p2 add.u32 %r0, %r0, 1000;
        mul.wide.u32 %rd1, %r39, 4; add.s64 %rd1, %rd38, %rd1; st.global.u32 [%rd1], %r0;",
    );
    passes(&text, &threads(64), &[1040; 64]);
}

#[test]
fn a_missing_barrier_is_a_race() {
    // Depending on who comes first, the read is not ordered after the write, or finds nothing.
    let text = exchange("");
    let mut kinds = Vec::new();
    for seed in 0..12 {
        let error = run(&text, seeded(threads(64), seed), &[0]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
        kinds.push(error.to_string());
    }
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() > 1, "every seed found the same");
    let same = || run(&text, seeded(threads(64), 5), &[0]).result.unwrap_err();
    assert_eq!(same(), same());
    // A barrier of only one's own warp does not help either; named barriers must be the same.
    fails_any(&exchange("bar.warp.sync -1;"));
    fails_any(&exchange(
        "setp.lt.u32 %p0, %r39, 32; @%p0 bra A; bar.sync 1, 32; bra B; A: bar.sync 2, 32; B:",
    ));
}

fn fails_any(text: &str) {
    for seed in 0..12 {
        let error = run(text, seeded(threads(64), seed), &[0]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
    }
}

#[test]
fn a_write_after_a_read_needs_a_barrier_too() {
    let body = |between: &str| {
        kernel(
            SHARED,
            &format!(
                "mov.u32 %r1, a; setp.eq.u32 %p0, %r39, 0; @%p0 st.shared.u32 [%r1], 1; bar.sync 0;
         ld.shared.u32 %r2, [%r1]; {between} @%p0 st.shared.u32 [%r1], 2; bar.sync 0;
         @%p0 ld.shared.u32 %r2, [%r1]; @%p0 st.global.u32 [%rd38], %r2;"
            ),
        )
    };
    passes(&body("bar.sync 0;"), &threads(96), &[2]);
    fails(&body(""), &threads(96), Kind::Race, &["not ordered after", "a + 0 bytes"]);
    // Within a warp the lanes need a barrier of the warp.
    fails(&body(""), &threads(32), Kind::Race, &["not ordered after"]);
    passes(&body("bar.warp.sync -1;"), &threads(32), &[2]);
}

#[test]
fn arrivals_without_waiting_order_the_waiter() {
    let text = kernel(
        SHARED,
        "mov.u32 %r1, a; setp.ge.u32 %p0, %r39, 32; @%p0 bra CONSUMER;
        setp.eq.u32 %p1, %r39, 0; @%p1 st.shared.u32 [%r1], 5; bar.arrive 4, 64; ret;
        CONSUMER: bar.sync 4, 64; ld.shared.u32 %r2, [%r1]; sub.u32 %r3, %r39, 32;
        mul.wide.u32 %rd1, %r3, 4; add.s64 %rd1, %rd38, %rd1; st.global.u32 [%rd1], %r2;",
    );
    passes(&text, &threads(64), &[5; 32]);
}

#[test]
fn divergent_barriers_are_found() {
    let split = "and.b32 %r5, %r39, 1; setp.eq.u32 %p0, %r5, 0; @%p0 bra A; bar.sync 0; bra B; A: bar.sync 0; B:";
    fails(&exchange(split), &threads(64), Kind::Barrier, &["divergent"]);
    let half = "setp.lt.u32 %p0, %r39, 32; @%p0 bar.sync 0; @!%p0 bar.sync 1;";
    fails(
        &kernel("", half),
        &threads(64),
        Kind::Deadlock,
        &["32 of 64 threads have arrived", "warp 0", "warp 1"],
    );
    fails(&kernel("", "bar.sync 0, 33;"), &threads(64), Kind::Barrier, &["no multiple of 32"]);
    // A partial warp counts in full.
    passes(
        &kernel("", "bar.sync 0, 64; st.global.u32 [%rd38], 3;")
            .replace("st.", "setp.eq.u32 %p0, %r39, 0; @%p0 st."),
        &threads(40),
        &[3],
    );
    fails(&kernel("", "bar.sync 0, 96;"), &threads(40), Kind::Deadlock, &["40 of 96"]);
    // Those who have exited are not waited for.
    let text = kernel(
        "",
        "setp.lt.u32 %p0, %r39, 32; @%p0 exit; bar.sync 0; @!%p0 st.global.u32 [%rd38], 3;",
    );
    run(&text, threads(64), &[0]).expect(Kind::Race, &["not ordered after a write"]);
}

/// Rank r writes r + 10 into its peer's `a`; then each reads its own.
fn peers(before: &str, between: &str, after: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r10, %cluster_ctarank; setp.eq.u32 %p0, %r39, 0; mov.u32 %r1, a; {before}
         xor.b32 %r2, %r10, 1; mapa.shared::cluster.u32 %r3, %r1, %r2; add.u32 %r4, %r10, 10;
         @%p0 st.shared::cluster.u32 [%r3], %r4;
         {between}
         ld.shared.u32 %r5, [%r1]; mul.wide.u32 %rd1, %r10, 4; add.s64 %rd1, %rd38, %rd1;
         @%p0 st.global.u32 [%rd1], %r5; {after}"
        ),
    )
}

const FULL: &str = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";

#[test]
fn clusters_exchange_through_distributed_shared_memory() {
    let relaxed = "barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;";
    let released = "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;";
    for before in [FULL, relaxed] {
        for between in [FULL, released] {
            passes(&peers(before, between, ""), &cluster(2, 64), &[11, 10]);
        }
    }
    // Through generic addresses.
    let text = kernel(
        SHARED,
        &format!(
            "{FULL} mov.u32 %r10, %cluster_ctarank; setp.eq.u32 %p0, %r39, 0; xor.b32 %r2, %r10, 1;
         mov.u64 %rd1, a; cvta.shared.u64 %rd2, %rd1; mapa.u64 %rd3, %rd2, %r2;
         @%p0 st.u32 [%rd3], %r10; {FULL} ld.u32 %r5, [%rd2]; getctarank.u64 %r6, %rd3;
         mad.lo.u32 %r5, %r6, 16, %r5;
         mul.wide.u32 %rd4, %r10, 4; add.s64 %rd4, %rd38, %rd4; @%p0 st.global.u32 [%rd4], %r5;"
        ),
    );
    passes(&text, &cluster(2, 64), &[17, 0]);
}

#[test]
fn cluster_faults_are_found() {
    let two = cluster(2, 64);
    fails(&peers("", FULL, ""), &two, Kind::Cluster, &["may not have started"]);
    let relaxed = "barrier.cluster.arrive.relaxed; barrier.cluster.wait;";
    for seed in 0..12 {
        let text = peers(FULL, relaxed, "");
        let error = run(&text, seeded(two.clone(), seed), &[0]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
    }
    // The peer reads this CTA's memory, and nothing keeps this one from leaving.
    let read = |end: &str| {
        kernel(SHARED, &format!(
        "mov.u32 %r10, %cluster_ctarank; mov.u32 %r1, a; setp.eq.u32 %p0, %r39, 0;
         @%p0 st.shared.u32 [%r1], 4; {FULL} xor.b32 %r2, %r10, 1;
         mapa.shared::cluster.u32 %r3, %r1, %r2; @%p0 ld.shared::cluster.u32 %r5, [%r3];
         mul.wide.u32 %rd1, %r10, 4; add.s64 %rd1, %rd38, %rd1; @%p0 st.global.u32 [%rd1], %r5; {end}"))
    };
    passes(&read(FULL), &two, &[4, 4]);
    fails(&read(""), &two, Kind::Cluster, &["exit"]);
    fails(&kernel("", "barrier.cluster.wait;"), &two, Kind::Barrier, &["without having arrived"]);
    fails(
        &kernel("", "barrier.cluster.arrive; barrier.cluster.arrive;"),
        &two,
        Kind::Barrier,
        &["twice"],
    );
    let text = kernel(
        "",
        "mov.u32 %r1, %cluster_ctarank; setp.eq.u32 %p0, %r1, 0; barrier.cluster.arrive;
        @%p0 bra W; bar.sync 1, 96; W: barrier.cluster.wait;",
    );
    fails(&text, &two, Kind::Deadlock, &["barrier 1", "CTA (1, 0, 0)"]);
    let text =
        kernel(SHARED, "mov.u32 %r1, a; mov.u32 %r2, 2; mapa.shared::cluster.u32 %r3, %r1, %r2;");
    fails(&text, &two, Kind::Cluster, &["no CTA of rank 2"]);
}

/// Thread 0 makes the mbarrier `m` for `count` arrivals, then all go on.
fn with_mbarrier(count: u32, body: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r1, a; mov.u32 %r2, m; setp.eq.u32 %p0, %r39, 0;
         @%p0 mbarrier.init.shared::cta.b64 [%r2], {count};
         @%p0 fence.mbarrier_init.release.cluster; bar.sync 0; {body}"
        ),
    )
}

const WAIT: &str = "{ .reg .pred p; W: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%r2], %r7; @!p bra W; }";
const EACH: &str =
    "mul.wide.u32 %rd1, %r39, 4; add.s64 %rd1, %rd38, %rd1; st.global.u32 [%rd1], %r5;";

#[test]
fn mbarriers_count_arrivals() {
    let body = format!("shl.b32 %r3, %r39, 2; add.u32 %r3, %r1, %r3; st.shared.u32 [%r3], %r39;
        mbarrier.arrive.shared::cta.b64 _, [%r2]; mov.u32 %r7, 0; {WAIT}
        xor.b32 %r3, %r39, 33; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r5, [%r3]; {EACH}");
    passes(&with_mbarrier(64, &body), &threads(64), &crossed());
    // With the token of the arrival, and a second phase.
    let token = format!("mbarrier.arrive.shared::cta.b64 %rd5, [%r2];
        A: mbarrier.test_wait.shared::cta.b64 %p1, [%r2], %rd5; @!%p1 bra A;
        mbarrier.arrive.release.cta.shared::cta.b64 %rd5, [%r2];
        B: mbarrier.try_wait.shared::cta.b64 %p1, [%r2], %rd5, 1000; @!%p1 bra B; cvt.u32.u64 %r5, %rd5; {EACH}");
    passes(&with_mbarrier(64, &token), &threads(64), &[1; 64]);
    // The phase before the first is over.
    let before = format!("mov.u32 %r7, 1; {WAIT} mov.u32 %r5, 3; {EACH}");
    passes(&with_mbarrier(64, &before), &threads(64), &[3; 64]);
}

#[test]
fn mbarrier_faults_are_found() {
    let one = threads(64);
    let arrive = "mbarrier.arrive.shared::cta.b64 _, [%r2];";
    let wait = format!("mov.u32 %r7, 0; {WAIT}");
    fails(
        &with_mbarrier(65, &format!("{arrive} {wait}")),
        &one,
        Kind::Deadlock,
        &["waits for parity 0 of the mbarrier m + 0 bytes"],
    );
    fails(
        &with_mbarrier(128, &format!("{arrive} @%p0 mbarrier.init.shared::cta.b64 [%r2], 1;")),
        &one,
        Kind::Barrier,
        &["in use"],
    );
    fails(
        &with_mbarrier(1, "@%p0 mbarrier.arrive.shared::cta.b64 _, [%r2], 2;"),
        &one,
        Kind::Barrier,
        &["2 arrivals"],
    );
    fails(
        &with_mbarrier(1, "ld.shared.u32 %r5, [%r2];"),
        &one,
        Kind::Barrier,
        &["as if it were data"],
    );
    fails(
        &kernel(SHARED, "mov.u32 %r2, m; mbarrier.arrive.shared::cta.b64 _, [%r2];"),
        &one,
        Kind::Barrier,
        &["not initialised"],
    );
    // Nobody waits for the one who makes it.
    let text = with_mbarrier(64, arrive).replace("bar.sync 0;", "");
    for seed in 0..12 {
        let error = run(&text, seeded(one.clone(), seed), &[0]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Barrier), "{error}");
    }
}

/// Thread 0 copies 64 words from the input to `a`; then, or at once, all read them.
fn bulk(wait: &str, bytes: u32) -> String {
    with_mbarrier(1, &format!(
        "@%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], {bytes};
         @%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd39], 256, [%r2];
         mov.u32 %r7, 0; {wait}
         shl.b32 %r3, %r39, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r5, [%r3]; {EACH}"))
}

#[test]
fn bulk_copies_are_complete_when_the_mbarrier_says_so() {
    passes(&bulk(WAIT, 256), &threads(64), &[7; 64]);
    for seed in 0..12 {
        let error = run(&bulk("", 256), seeded(threads(64), seed), &[7; 64]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
    }
    fails(&bulk(WAIT, 272), &threads(64), Kind::Deadlock, &["m + 0 bytes"]);
    let long = bulk(WAIT, 272).replace("256, [%r2]", "272, [%r2]");
    fails(
        &long,
        &threads(64),
        Kind::OutOfBounds,
        &["past the end of in", "lane 0", "cp.async.bulk"],
    );
    let odd = bulk(WAIT, 256).replace("[%r1], [%rd39]", "[%r1], [%rd39+4]");
    fails(&odd, &threads(64), Kind::Misaligned, &["multiples of 16"]);
}

#[test]
fn copies_in_groups() {
    let out = |wait: &str| {
        kernel(SHARED, &format!(
        "mov.u32 %r1, a; shl.b32 %r3, %r39, 2; add.u32 %r3, %r1, %r3; st.shared.u32 [%r3], %r39;
         fence.proxy.async.shared::cta; bar.sync 0; setp.eq.u32 %p0, %r39, 0; @!%p0 bra E;
         cp.async.bulk.global.shared::cta.bulk_group [%rd38], [%r1], 256; cp.async.bulk.commit_group; {wait} E:"))
    };
    let expected: Vec<u32> = (0..64).collect();
    passes(&out("cp.async.bulk.wait_group.read 0;"), &threads(64), &expected);
    let mut found = 0;
    for seed in 0..12 {
        found += u32::from(run(&out(""), seeded(threads(64), seed), &[0]).result.is_err());
    }
    assert!(found > 0, "no schedule saw the copy under way at the exit");
    let small = |wait: &str, width: u32| {
        kernel(
            SHARED,
            &format!(
        "mov.u32 %r1, a; shl.b32 %r3, %r39, 2; add.u32 %r3, %r1, %r3; mul.wide.u32 %rd2, %r39, 4;
         add.s64 %rd2, %rd39, %rd2; cp.async.ca.shared.global [%r3], [%rd2], 4, {width};
         cp.async.commit_group; {wait} ld.shared.u32 %r5, [%r3]; {EACH}"),
        )
    };
    passes(&small("cp.async.wait_group 0;", 4), &threads(64), &[7; 64]);
    passes(&small("cp.async.wait_all;", 0), &threads(64), &[0; 64]);
    for seed in 0..12 {
        let text = small("cp.async.wait_group 1;", 4);
        let error = run(&text, seeded(threads(64), seed), &[7; 64]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
    }
}

#[test]
fn stores_to_a_peer_are_counted_by_its_mbarrier() {
    let body = |wait: &str| {
        with_mbarrier(1, &format!(
        "mov.u32 %r10, %cluster_ctarank; {FULL}
         @%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 8; xor.b32 %r11, %r10, 1;
         mapa.shared::cluster.u32 %r3, %r1, %r11; mapa.shared::cluster.u32 %r4, %r2, %r11;
         add.u32 %r6, %r10, 20;
         @%p0 st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%r3], {{%r6, %r10}}, [%r4];
         mov.u32 %r7, 0; {wait} ld.shared.u32 %r5, [%r1]; mul.wide.u32 %rd1, %r10, 4;
         add.s64 %rd1, %rd38, %rd1; @%p0 st.global.u32 [%rd1], %r5; {FULL}"))
    };
    passes(&body(WAIT), &cluster(2, 64), &[21, 20]);
    for seed in 0..12 {
        let error = run(&body(""), seeded(cluster(2, 64), seed), &[0]).result.unwrap_err();
        assert!(matches!(error.kind, Kind::Race | Kind::Uninitialised), "{error}");
    }
}
