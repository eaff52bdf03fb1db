//! Faults of addresses and data, each planted and each found with its place; and what a parser
//! must refuse.

mod common;

use std::sync::Arc;

use common::{kernel, run, seeded, threads};
use xent_simulator::{Fill, Kind, Launch, Memory, Module, Params};

const SHARED: &str = ".shared .align 16 .b8 a[64]; .shared .align 16 .b8 b[64];
    .extern .shared .align 16 .b8 dynamic[];";

fn fails(body: &str, kind: Kind, what: &[&str]) {
    let text = kernel(SHARED, body);
    let mut launch = threads(32);
    launch.dynamic_shared = 100;
    run(&text, launch, &[1, 2, 3]).expect(kind, what);
}

#[test]
fn one_element_beyond_either_end_of_global_memory() {
    let out = Kind::OutOfBounds;
    fails(
        "ld.global.u32 %r0, [%rd39+12];",
        out,
        &["0 bytes past the end of in (12 bytes)", "lane 0"],
    );
    fails("ld.global.u32 %r0, [%rd39-4];", out, &["4 bytes before in (12 bytes)"]);
    fails("ld.global.u8 %r0, [%rd39+12];", out, &["read of 1 bytes"]);
    fails("ld.global.v2.u32 {%r0, %r1}, [%rd39+8];", out, &["ending 4 bytes past the end of in"]);
    fails("st.global.u16 [%rd38+4096], %h1;", out, &["write of 2 bytes", "past the end of out"]);
    fails("ld.u32 %r0, [%rd39+12];", out, &["past the end of in"]);
    fails("atom.global.add.u32 %r0, [%rd39+-4], 1;", out, &["before in"]);
    // Only the lane that goes wrong is blamed.
    let error = run(
        &kernel(
            "",
            "mul.wide.u32 %rd1, %r39, 4; add.s64 %rd1, %rd39, %rd1; ld.global.u32 %r0, [%rd1];",
        ),
        threads(32),
        &[0; 17],
    )
    .expect(out, &["in k, CTA (0, 0, 0), warp 0, lane 17", "PTX line", "ld.global.u32 %r0"]);
    assert_eq!((error.lane, error.warp, error.cta), (Some(17), Some(0), Some([0; 3])));
    assert!(error.address.is_some() && error.line > 0);
}

#[test]
fn one_element_beyond_shared_memory() {
    let out = Kind::OutOfBounds;
    let at = |offset: &str| format!("mov.u32 %r1, a; st.shared.u32 [%r1{offset}], 1;");
    fails(&at("+64"), out, &["0 bytes past the end of a"]);
    fails(&at("-4"), out, &["4 bytes before a"]);
    fails("mov.u32 %r1, b; st.shared.u32 [%r1+64], 1;", out, &["past the end of b"]);
    fails("st.shared.u32 [dynamic+100], 1;", out, &["past the end of dynamic shared memory"]);
    fails("st.shared.u32 [dynamic+-4], 1;", out, &["before dynamic shared memory"]);
    fails("st.shared.u32 [0], 1;", out, &["before a"]);
    fails(
        "mov.u64 %rd1, a; cvta.shared.u64 %rd1, %rd1; st.u32 [%rd1+64], 1;",
        out,
        &["past the end of a"],
    );
}

#[test]
fn misaligned_accesses() {
    fails("ld.global.u32 %r0, [%rd39+2];", Kind::Misaligned, &["4 bytes"]);
    fails("ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [%rd39+8];", Kind::Misaligned, &["16 bytes"]);
    fails("ld.shared.v2.u32 {%r0,%r1}, [a+4];", Kind::Misaligned, &["8 bytes"]);
    // Variables are as aligned as declared and no more.
    fails("ld.shared.v4.b64 {%rd0,%rd1,%rd2,%rd3}, [a];", Kind::Misaligned, &["32 bytes"]);
}

#[test]
fn bytes_that_nobody_wrote() {
    let kind = Kind::Uninitialised;
    fails("ld.global.u32 %r0, [%rd38+8];", kind, &["out + 8 bytes"]);
    fails("ld.shared.u32 %r0, [b+4];", kind, &["nobody wrote b + 4 bytes"]);
    fails("ld.shared.u8 %r0, [dynamic+99];", kind, &["dynamic shared memory + 99 bytes"]);
    fails(
        "setp.eq.u32 %p0, %r39, 0; @%p0 st.shared.u16 [a], 1; bar.sync 0; ld.shared.u32 %r0, [a];",
        kind,
        &["a + 2 bytes"],
    );
    fails(".local .align 4 .b8 l[8]; ld.local.u32 %r0, [l];", kind, &["local"]);
    fails(".local .align 4 .b8 l[8]; st.local.u32 [l+8], 1;", Kind::OutOfBounds, &["local"]);
    let text = kernel("", "st.global.u16 [%rd38+2], 7;");
    let mut launch = threads(1);
    launch.seed = 3;
    let mut done = run(&text, launch, &[0]);
    assert!(done.result.is_ok());
    let (memory, out) = (&mut done.memory, done.out);
    assert_eq!(memory.read(out + 2, 2).unwrap(), [7, 0]);
    let error = memory.read(out, 4).unwrap_err();
    assert_eq!((error.kind, error.address), (kind, Some(out)));
    assert!(memory.is_written(out + 2, 2).unwrap() && !memory.is_written(out + 2, 3).unwrap());
    memory.forget(out + 2, 1).unwrap();
    assert!(!memory.is_written(out + 2, 2).unwrap());
}

#[test]
fn races_in_global_memory() {
    let same = "st.global.u32 [%rd38], %r39;";
    fails(same, Kind::Race, &["write of 4 bytes of out + 0 bytes is not ordered after a write"]);
    let mut grid = threads(1);
    grid.grid = [4, 1, 1];
    for seed in 0..8 {
        let across = run(&kernel("", same), seeded(grid.clone(), seed), &[0]);
        across.expect(Kind::Race, &["of another cluster, that of CTA"]);
        let text = kernel(
            "",
            "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p0, %r1, 2; @%p0 st.global.u32 [%rd39], 5; @!%p0 ld.global.u32 %r2, [%rd39];",
        );
        run(&text, seeded(grid.clone(), seed), &[0]).expect(Kind::Race, &["of another cluster"]);
        // Atomics may meet.
        let text = kernel(
            "",
            "atom.global.add.u32 %r1, [%rd39], 2; red.global.max.u32 [%rd39+4], 7;
            atom.relaxed.gpu.global.cas.b32 %r1, [%rd39+8], 1, 5;",
        );
        let mut done = run(&text, seeded(grid.clone(), seed), &[1; 3]);
        assert!(done.result.is_ok(), "{:?}", done.result);
        let input = done.memory.allocate("x", 1, 0, Fill::Byte(0)).address();
        assert!(input > done.out);
    }
    // An atomic and a plain read may not.
    let text = kernel(
        "",
        "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p0, %r1, 2; @%p0 red.global.add.u32 [%rd39], 5; @!%p0 ld.global.u32 %r2, [%rd39];",
    );
    run(&text, grid, &[0]).expect(Kind::Race, &["another cluster"]);
}

#[test]
fn constant_loads_and_writes_do_not_mix() {
    let one = "setp.eq.u32 %p0, %r39, 0; @!%p0 exit;";
    let both = |a: &str, b: &str| kernel("", &format!("{one} {a} {b}"));
    let (load, store) = ("ld.global.nc.u32 %r1, [%rd39];", "st.global.u32 [%rd39], 5;");
    for text in [both(load, store), both(store, load)] {
        run(&text, threads(32), &[1]).expect(Kind::Race, &["with .nc", "lane 0"]);
    }
    let text = both("ld.global.u32 %r1, [%rd39];", store);
    assert!(run(&text, threads(32), &[1]).result.is_ok());
}

#[test]
fn a_shuffle_orders_memory_only_if_asked_to() {
    let text = kernel(
        SHARED,
        "setp.eq.u32 %p0, %r39, 0; @%p0 st.shared.u32 [a], 5;
         shfl.sync.bfly.b32 %r1, %r39, 1, 31, -1; ld.shared.u32 %r2, [a];",
    );
    assert!(run(&text, threads(32), &[0]).result.is_ok());
    let mut strict = threads(32);
    strict.shuffles_order = false;
    run(&text, strict.clone(), &[0]).expect(Kind::Race, &["not ordered after a write"]);
    let text = text.replace("ld.shared", "bar.warp.sync -1; ld.shared");
    assert!(run(&text, strict, &[0]).result.is_ok());
}

#[test]
fn some_clusters_of_a_grid() {
    let text = kernel(
        "",
        "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ctaid.y; mad.lo.u32 %r1, %r2, 10, %r1;
        mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %rd38, %rd1; st.global.u32 [%rd1], %r1;",
    );
    let mut launch = threads(1);
    launch.grid = [10, 3, 1];
    assert_eq!(run(&text, launch.clone(), &[0]).words(30), (0..30).collect::<Vec<_>>());
    launch.only = vec![7, 21];
    let mut done = run(&text, launch, &[0]);
    assert_eq!(done.result.as_ref().map(|stats| stats.by_opcode["st.global.u32"]), Ok((2, 2)));
    let out = done.out;
    assert!(done.memory.is_written(out + 28, 4).unwrap());
    assert!(done.memory.is_written(out + 84, 4).unwrap());
    assert!(!done.memory.is_written(out + 32, 4).unwrap());
}

#[test]
fn atomics_do_what_they_say() {
    let text = kernel(
        "",
        "
        atom.global.exch.b32 %r1, [%rd39], 9; atom.global.add.u32 %r2, [%rd39], 1;
        atom.global.min.s32 %r3, [%rd39], -3; atom.global.and.b32 %r4, [%rd39], 0xff;
        atom.global.or.b32 %r5, [%rd39], 0x100; atom.global.xor.b32 %r6, [%rd39], 1;
        atom.global.inc.u32 %r7, [%rd39], 5; atom.global.dec.u32 %r8, [%rd39], 4;
        atom.global.cas.b32 %r9, [%rd39], 4, 77; atom.global.max.u32 %r10, [%rd39], 3;
        atom.global.add.f32 %f1, [%rd39+4], 0f3F800000; mov.b32 %r11, %f1;
        atom.global.add.u64 %rd1, [%rd39+8], 5; cvt.u32.u64 %r12, %rd1;
        st.global.v4.u32 [%rd38], {%r1,%r2,%r3,%r4}; st.global.v4.u32 [%rd38+16], {%r5,%r6,%r7,%r8};
        st.global.v4.u32 [%rd38+32], {%r9,%r10,%r11,%r12};",
    );
    let words = run(&text, threads(1), &[5, 0x4000_0000, 1, 0]).words(12);
    assert_eq!(words, [5, 9, 10, -3i32 as u32, 0xfd, 0x1fd, 0x1fc, 0, 4, 77, 0x4000_0000, 1]);
}

#[test]
fn traps_loops_and_launches() {
    run(&kernel("", "setp.eq.u32 %p0, %r39, 5; @%p0 trap;"), threads(32), &[0])
        .expect(Kind::Trap, &["lane 5"]);
    let mut launch = threads(32);
    launch.limit = 10_000;
    run(&kernel("", "L: bra L;"), launch, &[0]).expect(Kind::Limit, &["endless"]);
    run(&kernel("", ""), threads(1025), &[0]).expect(Kind::Launch, &["1025 threads"]);
    let module = Module::parse(&kernel("", "")).unwrap();
    let mut launch = Launch::new("k");
    let fails = |launch: &Launch, what: &str| {
        let error = launch.run(&module, &mut Memory::new()).unwrap_err();
        assert!(error.kind == Kind::Launch && error.to_string().contains(what), "{error}");
    };
    fails(&launch, "0 bytes of parameters, the kernel takes 16");
    launch.params = Params::new().u64(0).u64(0).finish();
    launch.dynamic_shared = 300_000;
    fails(&launch, "300000 bytes of shared memory");
    launch.dynamic_shared = 0;
    launch.cluster = Some([2, 1, 1]);
    fails(&launch, "grid [1, 1, 1] of clusters [2, 1, 1]");
    launch.entry = "other".into();
    fails(&launch, "no kernel is named other");
}

#[test]
fn what_is_not_known_is_refused_with_its_line() {
    for (body, what) in [
        ("frobnicate.u32 %r0, %r1;", "frobnicate.u32 is not modelled"),
        ("add.wrong.u32 %r0, %r1, %r2;", "with .wrong is not modelled"),
        ("add.u32 %r0, %r1, %r2, %r3, %r4;", "add"),
        ("add.u32 %r0, %r1;", "add"),
        ("add.u32 %r0, %x, %r1;", "%x is not declared"),
        ("ld.global.v4.u32 {%r0,%r1}, [%rd39];", "does not fit the width"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0}, {%r0}, {%r1}, {%f1};", "mma"),
        ("tex.2d.v4.f32.f32 {%f0,%f1,%f2,%f3}, [%rd0, {%f0,%f1}];", ""),
        ("call.uni (%r0), f, (%r1);", "unexpected \"(\""),
        ("shfl.bfly.b32 %r0, %r1, 1, 31;", "shfl.bfly.b32"),
        ("cvt.rn.satfinite.e4m3x2.f32 %h0, %f1, %f2;", "cvt"),
        ("bra NOWHERE;", "no label NOWHERE"),
        ("add.u64 %rd0, %r1, %rd2;", "fewer bits"),
        ("st.global.u32 [%rd39], %p1;", "is a predicate"),
    ] {
        let error = Module::parse(&kernel("", &format!("\n{body}"))).unwrap_err();
        assert_eq!(error.kind, Kind::Parse, "{body}");
        assert!(error.to_string().contains(what), "{body}: {error}");
        assert_eq!(error.line, 12, "{body}: {error}");
    }
    for text in
        [".frob 3", ".version 8.0\n.entry k() { ", ".address_size 32", ".entry k() .what { }"]
    {
        assert_eq!(Module::parse(text).unwrap_err().kind, Kind::Parse, "{text}");
    }
}

#[test]
fn memory_beyond_four_giga_elements_need_not_exist() {
    let text = kernel(
        "",
        "ld.global.u64 %rd1, [%rd39]; shl.b64 %rd2, %rd1, 1; mov.u64 %rd3, %rd2;
        ld.global.u64 %rd4, [%rd39+8]; add.s64 %rd4, %rd4, %rd3; ld.global.u16 %h1, [%rd4];
        cvt.u32.u16 %r1, %h1; st.global.u32 [%rd38], %r1;",
    );
    let module = Module::parse(&text).unwrap();
    let elements = (1u64 << 32) + 1000;
    for element in [0, 1, (1 << 31) + 7, elements - 1] {
        let mut memory = Memory::new();
        let rule = Arc::new(|offset: u64, bytes: &mut [u8]| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                let place = offset + at as u64;
                *byte = (place / 2 % 65521).to_le_bytes()[(place % 2) as usize];
            }
        });
        let large = memory.allocate("large", 2 * elements, 6, Fill::Rule(rule)).address();
        let words = [element.to_le_bytes(), large.to_le_bytes()].concat();
        let from = memory.allocate_from("in", &words, 0).address();
        let out = memory.allocate("out", 4, 0, Fill::Unwritten).address();
        let mut launch = threads(1);
        launch.params = Params::new().u64(out).u64(from).finish();
        launch.run(&module, &mut memory).unwrap();
        let word = memory.read(out, 4).unwrap();
        assert_eq!(u32::from_le_bytes(word.try_into().unwrap()), (element % 65521) as u32);
    }
}

#[test]
fn noise_depends_on_the_operand_and_the_seed_alone() {
    let text = kernel(
        "",
        "cvt.rn.f32.u32 %f1, %r39; mul.f32 %f1, %f1, 0f3DCCCCCD; ex2.approx.ftz.f32 %f2, %f1;
        mul.wide.u32 %rd1, %r39, 4; add.s64 %rd1, %rd38, %rd1; st.global.f32 [%rd1], %f2;",
    );
    let with = |noise: Option<u64>, seed: u64| {
        let mut launch = seeded(threads(256), seed);
        launch.noise = noise;
        run(&text, launch, &[0]).words(256)
    };
    let exact = with(None, 0);
    let noisy = with(Some(1), 0);
    assert_eq!(noisy, with(Some(1), 9));
    assert_ne!(noisy, with(Some(2), 0));
    let worst = exact.iter().zip(&noisy).map(|(a, b)| a.abs_diff(*b)).max();
    assert_eq!(worst, Some(2));
}

#[test]
fn variables_of_the_module() {
    let head = ".const .align 4 .b32 table[4] = {10, 20, 0x1e};
        .visible .global .align 4 .f32 scale = 0f40000000; .global .align 1 .b8 text[3] = {104, 105};";
    let text = kernel(head, "mov.u64 %rd1, table; ld.const.u32 %r1, [%rd1+8]; ld.const.u32 %r2, [table+12];
        ld.global.f32 %f1, [scale]; cvt.rzi.u32.f32 %r3, %f1; mov.u64 %rd2, text; cvta.global.u64 %rd2, %rd2;
        ld.u8 %r4, [%rd2+1]; st.global.v4.u32 [%rd38], {%r1, %r2, %r3, %r4};");
    assert_eq!(run(&text, threads(1), &[0]).words(4), [30, 0, 2, 105]);
}

#[test]
fn parameters_are_laid_out_and_bounded() {
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u32 n,
        .param .align 8 .b8 s[20], .param .u64 .ptr .global .align 4 out) .maxntid 32, 1, 1 .minnctapersm 2
        { .reg .b32 %r<9>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [out]; ld.param.v2.u32 {%r1, %r2}, [s+8];
        ld.param.u32 %r3, [n]; mov.u64 %rd2, s; ld.param.u32 %r4, [%rd2+16];
        st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r4}; ret; }";
    let module = Module::parse(text).unwrap();
    let entry = module.entry("k").unwrap();
    assert_eq!(entry.parameters().collect::<Vec<_>>(), [(4, 0), (20, 8), (8, 32)]);
    assert_eq!((entry.parameter_bytes(), entry.most_threads()), (40, Some(32)));
    assert_eq!((module.version(), module.target()), ("8.0", "sm_90"));
    let mut memory = Memory::new();
    let out = memory.allocate("out", 16, 0, Fill::Unwritten).address();
    let bytes: Vec<u8> = (0..20).collect();
    let mut launch = threads(1);
    launch.params = Params::new().u32(77).bytes(&bytes, 8).u64(out).finish();
    launch.run(&module, &mut memory).unwrap();
    assert_eq!(
        memory.read(out, 16).unwrap(),
        [8, 9, 10, 11, 12, 13, 14, 15, 77, 0, 0, 0, 16, 17, 18, 19]
    );
    let beyond = Module::parse(&text.replace("[%rd2+16]", "[%rd2+32]")).unwrap();
    assert_eq!(launch.run(&beyond, &mut memory).unwrap_err().kind, Kind::OutOfBounds);
}
