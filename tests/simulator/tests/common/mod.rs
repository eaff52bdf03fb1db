//! Small kernels around a few instructions.
#![allow(dead_code)] // every test file uses a part

use xent_simulator::{Error, Fill, Kind, Launch, Memory, Module, Params, Stats};

/// Registers of every test kernel: `%p %h %r %f %rd %d`, numbered from 0.
const REGISTERS: &str = "
    .reg .pred %p<10>; .reg .b16 %h<10>; .reg .b32 %r<40>; .reg .f32 %f<20>;
    .reg .b64 %rd<40>; .reg .f64 %d<10>;";

/// A module with one kernel `k(out, in)`; `%rd38` and `%rd39` hold the parameters, `%r39` `%tid.x`.
pub fn kernel(head: &str, body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_100\n.address_size 64\n{head}
        .visible .entry k(.param .u64 out, .param .u64 in) {{ {REGISTERS}
        ld.param.u64 %rd38, [out];
        ld.param.u64 %rd39, [in];
        mov.u32 %r39, %tid.x;
        {body}
        ret; }}"
    )
}

/// What a kernel did with one buffer in and one out.
pub struct Run {
    pub result: Result<Stats, Error>,
    pub memory: Memory,
    pub out: u64,
}

impl Run {
    /// The output as words.
    pub fn words(&mut self, count: usize) -> Vec<u32> {
        if let Err(error) = &self.result {
            panic!("{error}");
        }
        let bytes = self.memory.read(self.out, 4 * count).unwrap_or_else(|e| panic!("{e}"));
        bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    /// The fault, which must be of this kind and mention all of these.
    pub fn expect(self, kind: Kind, mentions: &[&str]) -> Error {
        let error = self.result.expect_err("a fault was expected");
        let text = error.to_string();
        assert_eq!(error.kind, kind, "{text}");
        for mention in mentions {
            assert!(text.contains(mention), "{mention:?} is not in: {text}");
        }
        error
    }
}

/// Runs a kernel with this launch; `out` has 4096 bytes that nobody wrote, `in` the given words.
pub fn run(text: &str, mut launch: Launch, input: &[u32]) -> Run {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory::new();
    let out = memory.allocate("out", 4096, 0, Fill::Unwritten).address();
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let from = memory.allocate_from("in", &bytes, 0).address();
    launch.entry = "k".into();
    launch.params = Params::new().u64(out).u64(from).finish();
    let result = launch.run(&module, &mut memory);
    Run { result, memory, out }
}

/// A launch of one CTA.
pub fn threads(count: u32) -> Launch {
    let mut launch = Launch::new("k");
    launch.block = [count, 1, 1];
    launch
}

/// A launch of one cluster of one-dimensional CTAs.
pub fn cluster(ctas: u32, count: u32) -> Launch {
    let mut launch = threads(count);
    launch.grid = [ctas, 1, 1];
    launch.cluster = Some([ctas, 1, 1]);
    launch
}

pub fn seeded(mut launch: Launch, seed: u64) -> Launch {
    launch.seed = seed;
    launch
}

/// Executes instructions on `%rd1 %rd2 %rd3 %rd4` and their narrower twins `%r1 %h1 %f1 %d1`, and
/// gives what they leave in the register numbered 0 that they name.
pub fn evaluate(body: &str, args: &[u64]) -> u64 {
    let mut load = String::new();
    for n in 1..=4 {
        load += &format!(
            "ld.global.u64 %rd{n}, [%rd39+{}]; cvt.u32.u64 %r{n}, %rd{n}; cvt.u16.u64 %h{n}, %rd{n};
             mov.b32 %f{n}, %r{n}; mov.b64 %d{n}, %rd{n};",
            8 * (n - 1)
        );
    }
    let store = [
        ("%rd0", ""),
        ("%r0", "cvt.u64.u32 %rd0, %r0;"),
        ("%h0", "cvt.u64.u16 %rd0, %h0;"),
        ("%f0", "mov.b32 %r0, %f0; cvt.u64.u32 %rd0, %r0;"),
        ("%d0", "mov.b64 %rd0, %d0;"),
        ("%p0", "selp.b64 %rd0, 1, 0, %p0;"),
    ];
    let store = store.iter().find(|(name, _)| body.contains(name)).expect("a result").1;
    let text = kernel("", &format!("{load} {body} {store} st.global.u64 [%rd38], %rd0;"));
    let input: Vec<u32> = (0..4)
        .map(|n| args.get(n).copied().unwrap_or(0))
        .flat_map(|value| [value as u32, (value >> 32) as u32])
        .collect();
    let words = run(&text, threads(1), &input).words(2);
    u64::from(words[0]) | u64::from(words[1]) << 32
}

/// Checks a table of instructions, operands and results.
pub fn check(cases: &[(&str, &[u64], u64)]) {
    for &(body, args, expected) in cases {
        let found = evaluate(body, args);
        assert_eq!(found, expected, "{body} of {args:x?}: {found:#x}, not {expected:#x}");
    }
}

/// The bits of a number in single precision.
pub const fn f(x: f32) -> u64 {
    x.to_bits() as u64
}
