//! Loads and stores of every width and with every hint, and the parts of a text that mean nothing.

mod common;

use common::{cluster, evaluate, kernel, run, seeded, threads};
use xent_simulator::{Fill, Kind, Launch, Memory, Module, Params, Pointer};

#[test]
fn loads_extend_and_stores_cut() {
    // %rd39 points to the operands.
    for (body, expected) in [
        ("ld.global.u8 %r0, [%rd39+1];", 0xfe),
        ("ld.global.s8 %r0, [%rd39+1];", 0xffff_fffe),
        ("ld.global.s8 %rd0, [%rd39+1];", -2i64 as u64),
        ("ld.global.s8 %h0, [%rd39+1];", 0xfffe),
        ("ld.global.s16 %r0, [%rd39];", 0xffff_fe01),
        ("ld.global.u16 %r0, [%rd39];", 0xfe01),
        ("ld.global.b16 %h0, [%rd39];", 0xfe01),
        ("ld.global.s32 %rd0, [%rd39+4];", 0x1122_3344),
        ("ld.global.v2.u8 {%r5, %r0}, [%rd39];", 0xfe),
        ("ld.global.v4.u16 {%r5, %r6, _, %r0}, [%rd39];", 0x1122),
        ("ld.global.v2.u32 {%r5, %r0}, [%rd39];", 0x1122_3344),
        ("ld.global.v2.b64 {%rd5, %rd0}, [%rd39+16];", 4),
        ("ld.global.L1::no_allocate.L2::256B.v4.b32 {%r5, %r6, %r7, %r0}, [%rd39+16];", 0),
        ("ld.global.nc.L1::evict_last.L2::128B.f32 %f0, [%rd39+4];", 0x1122_3344),
        ("ld.volatile.global.u32 %r0, [%rd39+4];", 0x1122_3344),
        ("ld.relaxed.gpu.global.u32 %r0, [%rd39+4];", 0x1122_3344),
        ("ld.acquire.sys.global.u32 %r0, [%rd39+4];", 0x1122_3344),
        ("ld.global.cs.u32 %r0, [%rd39+4];", 0x1122_3344),
        ("ld.weak.global.ca.u32 %r0, [%rd39+4];", 0x1122_3344),
        (
            "createpolicy.fractional.L2::evict_first.b64 %rd9, 1.0;
             ld.global.L2::cache_hint.u32 %r0, [%rd39+4], %rd9;",
            0x1122_3344,
        ),
        ("prefetch.global.L2 [%rd39]; prefetch.global.L2::evict_last [%rd39]; mov.u32 %r0, 6;", 6),
        (
            ".shared .align 8 .b8 s[8]; st.shared.u64 [s], 0; mov.u32 %r5, 0x12345678;
             st.shared.u8 [s+1], %r5; st.shared.u16 [s+4], %r5; ld.shared.u64 %rd0, [s];",
            0x5678_0000_7800,
        ),
        (
            ".local .align 8 .b8 l[16]; st.local.v2.u32 [l+8], {%r1, 77}; mov.u64 %rd5, l;
             cvta.local.u64 %rd5, %rd5; ld.u32 %r0, [%rd5+12];",
            77,
        ),
        (
            ".shared .align 16 .b8 s[16]; st.volatile.shared.u32 [s], 5; st.shared.cs.v2.b32 [s+8], {1, 2};
             atom.shared.add.u32 %r5, [s], 4; ld.shared.u32 %r6, [s]; add.u32 %r0, %r5, %r6;",
            14,
        ),
        ("st.global.wt.f32 [%rd38+64], 0f3F800000; ld.global.u32 %r0, [%rd38+64];", 0x3f80_0000),
        ("st.release.gpu.global.u32 [%rd38+64], 3; ld.global.u32 %r0, [%rd38+64];", 3),
    ] {
        let found = evaluate(body, &[0x1122_3344_7700_fe01, 2, 3, 4]);
        assert_eq!(found, expected, "{body}: {found:#x}");
    }
}

#[test]
fn vectors_of_32_bytes() {
    let text = kernel("", "and.b64 %rd1, %rd39, -32; ld.global.v8.b32 {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, [%rd1];
        st.global.v8.b32 [%rd38], {%r8,%r7,%r6,%r5,%r4,%r3,%r2,%r1};
        ld.global.v4.b64 {%rd2,%rd3,%rd4,%rd5}, [%rd1]; st.global.v4.b64 [%rd38+32], {%rd2,%rd3,%rd4,%rd5};");
    let words = run(&text, threads(1), &[1, 2, 3, 4, 5, 6, 7, 8]).words(16);
    assert_eq!(words, [8, 7, 6, 5, 4, 3, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    let stats = run(&text, threads(1), &[0; 8]).result.unwrap();
    assert_eq!((stats.wide_loads, stats.wide_stores), (2, 2));
}

#[test]
fn atomics_reach_a_peer() {
    let text = kernel(
        ".shared .align 4 .b8 sum[4];",
        "mov.u32 %r1, sum; setp.eq.u32 %p0, %r39, 0; @%p0 st.shared.u32 [%r1], 0;
         barrier.cluster.arrive; barrier.cluster.wait; mov.u32 %r2, 0;
         mapa.shared::cluster.u32 %r3, %r1, %r2; red.relaxed.cluster.shared::cluster.add.u32 [%r3], 1;
         barrier.cluster.arrive; barrier.cluster.wait; mov.u32 %r4, %cluster_ctarank;
         setp.eq.and.u32 %p0, %r4, 0, %p0; @%p0 ld.shared.u32 %r5, [%r1]; @%p0 st.global.u32 [%rd38], %r5;",
    );
    for seed in 0..6 {
        assert_eq!(run(&text, seeded(cluster(4, 96), seed), &[0]).words(1), [384]);
    }
}

#[test]
fn debug_lines_and_comments_mean_nothing() {
    let text =
        "//\n// Generated\n/* two\n lines */ .version 9.5\n.target sm_90, debug\n.address_size 64
        .file 1 \"kernel.cu\"
        .extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);
        .func helper(.param .b32 x) { .reg .b32 %r<2>; ld.param.u32 %r1, [x]; ret; }
        .visible .entry first() { ret; }
        .visible .entry k(.param .u64 out) .maxntid 128, 1, 1 .minnctapersm 2 .pragma \"x\";
        { .pragma \"nounroll\"; .reg .b64 %rd<2>;
        .loc 1 12 3
        ld.param.u64 %rd1, [out]; // %rd9 is not there
        .loc 1 13 3, function_name $L__info_string0, inlined_at 1 20 9
        $L__BB0_1: st.global.u32 [%rd1], 42;
        ret; }
        .section .debug_str { $L__info_string0: .b8 95, 90 .b8 0 }\n";
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(module.entries().collect::<Vec<_>>(), ["first", "k"]);
    let entry = module.entry("k").unwrap();
    assert_eq!(entry.opcodes().collect::<Vec<_>>(), ["ld.param.u64", "st.global.u32", "ret"]);
    assert_eq!(entry.loops().count(), 0);
    let mut memory = Memory::new();
    let out = memory.allocate("out", 4, 0, Fill::Unwritten).address();
    let mut launch = Launch::new("k");
    launch.params = Params::new().u64(out).finish();
    launch.run(&module, &mut memory).unwrap();
    assert_eq!(memory.read(out, 4).unwrap(), [42, 0, 0, 0]);
}

#[test]
fn written_bytes_are_counted() {
    let mut memory = Memory::new();
    let at = memory.allocate("sparse", 1 << 34, 6, Fill::Unwritten).address();
    assert_eq!(memory.count_written(at), Ok(0));
    memory.write(at, &[1; 5]).unwrap();
    memory.write(at + (1 << 33) - 3, &[2; 20_000]).unwrap();
    memory.peek(at + (1 << 32), 100).unwrap();
    assert_eq!(memory.count_written(at + 1), Ok(20_005));
    memory.forget(at, 2).unwrap();
    assert_eq!(memory.count_written(at), Ok(20_003));
    assert!(memory.count_written(at - 1).is_err());
}

#[test]
fn an_address_of_the_callers_choice() {
    let mut memory = Memory::new();
    let mut allocate =
        |start, length| memory.allocate_at("x", start, length, Fill::Byte(7)).map(Pointer::address);
    let start = (1 << 52) + 256;
    assert_eq!(allocate(start, 100), Ok(start));
    for (start, length) in [(start, 1), (start + 99, 1), (start + 100, 1), (start - 8, 8)] {
        assert_eq!(allocate(start, length).unwrap_err().kind, Kind::OutOfBounds, "{length}");
    }
    assert_eq!(allocate(start + 101, 8), Ok(start + 101));
    assert_eq!(memory.read(start + 99, 1).unwrap(), [7]);
    assert_eq!(memory.read(start + 99, 3).unwrap_err().kind, Kind::OutOfBounds);
}

#[test]
fn a_launch_finds_the_variables_of_its_own_module_only() {
    let module = |variables: &str, from: &str| {
        let body = format!(
            "st.global.u32 [%rd38], 9; ld.global.u32 %r0, [{from}]; st.global.u32 [%rd38], %r0;"
        );
        let text = kernel(variables, &body);
        Module::parse(&text).unwrap_or_else(|error| panic!("{error}"))
    };
    // The second one's large variable lies where the first one's small ones were.
    let first = module(".global .u32 a[4]; .global .u32 b[1] = {1};", "b");
    let second = module(".global .u32 large[4096] = {2};", "large+280");
    let mut memory = Memory::new();
    let out = memory.allocate("out", 4, 0, Fill::Unwritten).address();
    let mut launch = Launch::new("k");
    launch.params = Params::new().u64(out).u64(0).finish();
    for (module, expected) in [(&first, 1), (&second, 0), (&first, 1)] {
        launch.run(module, &mut memory).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(memory.read(out, 4).unwrap(), [expected, 0, 0, 0]);
    }
}
