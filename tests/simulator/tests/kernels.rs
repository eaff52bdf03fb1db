//! Whole kernels as NVRTC emits them: the committed PTX in `ptx/`, and, where NVRTC is found, what
//! it makes of the same sources now. Results are compared, never text.
#![allow(unsafe_code)] // NVRTC is a C library, loaded at run time

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::{Library, Symbol};
use xent_simulator::{Error, Fill, Kind, Launch, Memory, Module, Params};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ptx");

/// A value that looks random, in -8..8.
fn value(at: usize) -> f32 {
    (at as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 16.0 - 8.0
}

fn floats(memory: &mut Memory, address: u64, count: usize) -> Result<Vec<f32>, Error> {
    let bytes = memory.read(address, 4 * count)?;
    Ok(bytes.chunks(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn softmax(ptx: &str, seed: u64) -> Result<(), Error> {
    let (rows, classes) = (3, 1000);
    let module = Module::parse(ptx)?;
    let logits: Vec<u16> =
        (0..rows * classes).map(|at| (value(at).to_bits() >> 16) as u16).collect();
    let content: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let mut memory = Memory::new();
    let from = memory.allocate_from("logits", &content, 0).address();
    let to = memory.allocate("probabilities", 4 * (rows * classes) as u64, 4, Fill::Unwritten);
    let mut launch = Launch::new("softmax");
    (launch.grid, launch.block) = ([rows as u32, 1, 1], [128, 1, 1]);
    launch.params = Params::new().u64(from).u64(to.address()).u32(classes as u32).finish();
    launch.seed = seed;
    launch.noise = (seed % 2 == 1).then_some(seed);
    let stats = launch.run(&module, &mut memory)?;
    assert_eq!(stats.wide_loads, (rows * classes / 8) as u64);
    assert!(stats.barriers >= 3 * 2 * 4); // more where a diverged warp arrives in parts
    assert!(stats.mufu >= 2 * (rows * classes) as u64);
    let found = floats(&mut memory, to.address(), rows * classes)?;
    for (row, logits) in logits.chunks(classes).enumerate() {
        let logits: Vec<f64> =
            logits.iter().map(|&bits| f64::from(f32::from_bits(u32::from(bits) << 16))).collect();
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (class, logit) in logits.iter().enumerate() {
            let (found, expected) = (found[row * classes + class], logit.exp() / sum);
            assert!((f64::from(found) / expected - 1.0).abs() < 4e-6, "{found} {expected}");
        }
    }
    Ok(())
}

fn cluster_sum(ptx: &str, seed: u64) -> Result<(), Error> {
    let (rows, count) = (2, 700);
    let module = Module::parse(ptx)?;
    let values: Vec<f32> = (0..rows * count).map(value).collect();
    let mut memory = Memory::new();
    let from = memory.allocate_from("values", &bytes(&values), 12).address();
    let to = memory.allocate("totals", 4 * 4 * rows as u64, 0, Fill::Unwritten).address();
    let mut launch = Launch::new("cluster_sum");
    (launch.grid, launch.block) = ([4 * rows as u32, 1, 1], [64, 1, 1]);
    launch.params = Params::new().u64(from).u64(to).u32(count as u32).finish();
    launch.seed = seed;
    launch.run(&module, &mut memory)?;
    for (at, found) in floats(&mut memory, to, 4 * rows)?.into_iter().enumerate() {
        let row = at / 4 * count;
        let expected: f64 = values[row..row + count].iter().map(|&v| f64::from(v)).sum();
        assert!((f64::from(found) - expected).abs() < 1e-3, "{found} {expected}");
    }
    Ok(())
}

fn pipeline(ptx: &str, seed: u64) -> Result<(), Error> {
    let (rows, count) = (5, 256);
    let module = Module::parse(ptx)?;
    let values: Vec<f32> = (0..rows * count).map(value).collect();
    let mut memory = Memory::new();
    let from = memory.allocate_from("values", &bytes(&values), 0).address();
    let to = memory.allocate("totals", 4 * rows as u64, 0, Fill::Unwritten).address();
    let mut launch = Launch::new("pipeline");
    launch.block = [96, 1, 1];
    launch.dynamic_shared = 2 * 4 * count as u32;
    launch.params = Params::new().u64(from).u64(to).u32(rows as u32).u32(count as u32).finish();
    launch.seed = seed;
    launch.run(&module, &mut memory)?;
    let found = floats(&mut memory, to, rows)?;
    for (row, found) in found.into_iter().enumerate() {
        let expected: f64 =
            values[row * count..(row + 1) * count].iter().map(|&v| f64::from(v)).sum();
        assert!((f64::from(found) - expected).abs() < 1e-3, "{found} {expected}");
    }
    Ok(())
}

type Function = fn(f64) -> f64;

/// The library functions in double precision, and how far a result may be off, relatively.
const FUNCTIONS: [(Function, f64); 18] = [
    (|x| x.exp(), 3e-7),
    (|x| x.abs().ln(), 3e-7),
    (|x| x.abs().ln_1p(), 3e-7),
    (|x| x.tanh(), 3e-7),
    (|x| x.abs().sqrt(), 1e-7),
    (|x| 1.0 / x.abs().sqrt(), 3e-7),
    (|x| f64::from(x as f32 * 1000.0).sin(), 1e-6),
    (|x| x.abs().powf(f64::from(1.7f32)), 1e-6),
    (|x| x % f64::from(0.7f32), 0.0),
    (|x| x.exp(), 2e-6),
    (|x| x / 3.0, 3e-7),
    (|x| 1.0 / x, 1e-7),
    (|x| x * 32.0, 0.0),
    (|x| x.round_ties_even(), 0.0),
    (|x| x.exp_m1(), 3e-7),
    (|x| x.exp(), 1e-7),
    (|x| x, f64::INFINITY), // erf is not in the standard library
    (|x| x.exp2(), 3e-7),
];

fn math(ptx: &str, seed: u64) -> Result<(), Error> {
    let module = Module::parse(ptx)?;
    let values: Vec<f32> = (0..32).map(|at| value(at + 1)).collect();
    let whole: Vec<i64> =
        (0..32).map(|at| (at - 9) * 1_234_567_890_123 + at * at * 7 + 1).collect();
    let content: Vec<u8> = whole.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut memory = Memory::new();
    let from = memory.allocate_from("in", &bytes(&values), 0).address();
    let to = memory.allocate("out", 18 * 128, 0, Fill::Unwritten).address();
    let integers = memory.allocate_from("integers", &content, 0).address();
    let counts = memory.allocate("whole", 10 * 256, 0, Fill::Unwritten).address();
    let mut launch = Launch::new("math");
    launch.block = [32, 1, 1];
    launch.params = Params::new().u64(from).u64(to).u64(integers).u64(counts).finish();
    launch.seed = seed;
    launch.run(&module, &mut memory)?;
    let found = floats(&mut memory, to, 18 * 32)?;
    for (number, (function, bound)) in FUNCTIONS.into_iter().enumerate() {
        for (lane, &x) in values.iter().enumerate() {
            let (found, exact) = (f64::from(found[32 * number + lane]), function(f64::from(x)));
            let error = (found - exact).abs() / exact.abs().max(1e-30);
            assert!(error <= bound || found == exact, "function {number} of {x}: {found} {exact}");
        }
    }
    let found = memory.read(counts, 10 * 256)?;
    let found: Vec<i64> =
        found.chunks(8).map(|word| i64::from_le_bytes(word.try_into().unwrap())).collect();
    let positive =
        values.iter().enumerate().fold(0, |all, (at, &x)| all | i64::from(x > 0.0) << at);
    for (lane, (&i, &x)) in whole.iter().zip(&values).enumerate() {
        let expected = [
            i / 7,
            i % 1_000_003,
            i64::from(i.count_ones() + 100 * i.leading_zeros()),
            ((u128::from(i as u64) * 0x9e37_79b9_7f4a_7c15) >> 64) as i64,
            (i as f64 * 0.5) as i64,
            x.round_ties_even() as i64 + x as i64 * 1000,
            i64::from((i as u32).reverse_bits() as i32 as u32),
            i64::from(whole[lane.saturating_sub(1)] as i32),
            positive,
            match i as u64 % 6 {
                0 => i,
                1 => -i,
                2 => i.wrapping_mul(i),
                3 => i ^ 5,
                4 => i + 77,
                _ => 3,
            },
        ];
        for (number, expected) in expected.into_iter().enumerate() {
            assert_eq!(found[32 * number + lane], expected, "{number} of {i} and {x}");
        }
    }
    Ok(())
}

type Run = fn(&str, u64) -> Result<(), Error>;

/// Each kernel with the first architecture that has what it uses.
const KERNELS: [(&str, u32, Run); 4] = [
    ("softmax", 70, softmax),
    ("math", 70, math),
    ("cluster_sum", 90, cluster_sum),
    ("pipeline", 90, pipeline),
];

fn committed(kernel: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(&format!("{kernel}.")) && name.ends_with(".ptx") {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn committed_ptx_computes_what_it_should() {
    for (kernel, _, run) in KERNELS {
        for (path, text) in committed(kernel) {
            for seed in 0..8 {
                run(&text, seed).unwrap_or_else(|e| panic!("{} seed {seed}: {e}", path.display()));
            }
        }
    }
}

/// A line of the text that holds `part`, replaced wherever it stands, for the n-th time.
fn without(text: &str, part: &str, nth: usize, by: &str) -> String {
    let mut seen = 0;
    let lines = text.lines().map(|line| {
        seen += usize::from(line.contains(part));
        if line.contains(part) && seen == nth + 1 { line.replace(part, by) } else { line.into() }
    });
    let lines: Vec<String> = lines.collect();
    assert!(seen > nth, "{part}");
    lines.join("\n")
}

#[test]
fn bugs_in_whole_kernels_are_found() {
    let any = [
        Kind::Race,
        Kind::Uninitialised,
        Kind::Deadlock,
        Kind::Barrier,
        Kind::Cluster,
        Kind::OutOfBounds,
        Kind::Mask,
    ];
    /// Kernel, the n-th line that holds a text, what stands there instead, what is found.
    type Case<'a> = (&'a str, Run, &'a str, usize, &'a str, &'a [Kind]);
    let cases: [Case<'_>; 9] = [
        ("softmax", softmax, "bar.sync \t0", 0, "bar.warp.sync -1", &any[..2]),
        ("softmax", softmax, "bar.sync \t0", 1, "bar.warp.sync -1", &any[..2]),
        ("cluster_sum", cluster_sum, "barrier.cluster.wait.acquire.aligned;", 1, "", &any[..2]),
        ("cluster_sum", cluster_sum, "barrier.cluster.wait.acquire.aligned;", 0, "", &any[3..5]),
        ("cluster_sum", cluster_sum, "arrive.release", 0, "arrive.relaxed", &any[..2]),
        ("pipeline", pipeline, "bar.sync \t0", 0, "bar.warp.sync -1", &any),
        ("pipeline", pipeline, "bar.warp.sync", 0, "membar.cta; // ", &any[..2]),
        ("pipeline", pipeline, "bar.sync 1, 64;", 1, "", &any[..2]),
        ("pipeline", pipeline, "mbarrier.arrive.shared::cta.b64 _,", 0, "// ", &any[2..3]),
    ];
    for (kernel, run, part, nth, by, kinds) in cases {
        for (path, text) in committed(kernel) {
            let part = if text.contains(part) { part.to_owned() } else { part.replace('\t', "") };
            let broken = without(&text, &part, nth, by);
            let mut found = 0;
            for seed in 0..10 {
                if let Err(error) = run(&broken, seed) {
                    assert!(kinds.contains(&error.kind), "{}: {part} {error}", path.display());
                    found += 1;
                }
            }
            assert!(found == 10, "{}: {part} found by {found} of 10 seeds", path.display());
        }
    }
}

// ---- NVRTC

/// Every libnvrtc of `XENT_NVRTC` (paths separated by colons) and of wheels in `target/tools`.
fn libraries() -> Vec<PathBuf> {
    if let Some(paths) = std::env::var_os("XENT_NVRTC") {
        return std::env::split_paths(&paths).collect();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for venv in ["target/tools/lib", ".venv/lib"] {
        for python in std::fs::read_dir(root.join(venv)).into_iter().flatten().flatten() {
            let wheels = python.path().join("site-packages/nvidia");
            for folder in ["cu13/lib", "cuda_nvrtc/lib"] {
                for file in std::fs::read_dir(wheels.join(folder)).into_iter().flatten().flatten() {
                    let name = file.file_name().to_string_lossy().into_owned();
                    if name.starts_with("libnvrtc.so.") {
                        found.push(file.path());
                    }
                }
            }
        }
    }
    found
}

struct Nvrtc(Library);

impl Nvrtc {
    fn open(path: &Path) -> Self {
        // The wheel of 13.0 does not find its builtins by itself.
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap().flatten() {
            if file.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
                // SAFETY: the library's initialisers are those of NVRTC, which needs it anyway.
                std::mem::forget(unsafe { Library::new(file.path()) });
            }
        }
        // SAFETY: as above.
        Nvrtc(unsafe { Library::new(path) }.unwrap())
    }

    fn call<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: every caller names the type that nvrtc.h declares.
        unsafe { self.0.get(name.as_bytes()) }.unwrap()
    }

    fn version(&self) -> (c_int, c_int) {
        let (mut major, mut minor) = (0, 0);
        let get: Symbol<'_, unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> =
            self.call("nvrtcVersion");
        // SAFETY: both pointers are valid.
        assert_eq!(unsafe { get(&mut major, &mut minor) }, 0);
        (major, minor)
    }

    fn compile(&self, source: &str, arch: u32) -> String {
        type Create = unsafe extern "C" fn(
            *mut *mut c_void,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
        type Size = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
        type Text = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
        let source = CString::new(source).unwrap();
        let options = [format!("--gpu-architecture=compute_{arch}"), "--std=c++17".into()]
            .map(|option| CString::new(option).unwrap());
        let options = options.each_ref().map(|option| option.as_ptr());
        let mut program = ptr::null_mut();
        let text = |size: &str, get: &str, program| {
            let mut length = 0;
            let (size, get) = (self.call::<Size>(size), self.call::<Text>(get));
            // SAFETY: the program exists; the buffer has the length that NVRTC asks for.
            unsafe {
                assert_eq!(size(program, &mut length), 0);
                let mut buffer = vec![0u8; length.max(1)];
                assert_eq!(get(program, buffer.as_mut_ptr().cast()), 0);
                CStr::from_bytes_until_nul(&buffer).unwrap().to_string_lossy().into_owned()
            }
        };
        // SAFETY: all strings end in NUL and outlive the calls; the program is destroyed by exit.
        unsafe {
            let create = self.call::<Create>("nvrtcCreateProgram");
            let name = c"kernel.cu".as_ptr();
            let result = create(&mut program, source.as_ptr(), name, 0, ptr::null(), ptr::null());
            assert_eq!(result, 0);
            let compile = self.call::<Compile>("nvrtcCompileProgram");
            let result = compile(program, options.len() as c_int, options.as_ptr());
            let log = text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog", program);
            assert_eq!(result, 0, "compute_{arch}: {log}");
        }
        text("nvrtcGetPTXSize", "nvrtcGetPTX", program)
    }
}

#[test]
fn fresh_ptx_computes_what_it_should() {
    let libraries = libraries();
    if libraries.is_empty() {
        eprintln!("SKIPPED: no NVRTC (set XENT_NVRTC, or pip install nvidia-cuda-nvrtc)");
    }
    for path in libraries {
        let nvrtc = Nvrtc::open(&path);
        let (major, minor) = nvrtc.version();
        let archs: &[u32] = match major {
            ..=12 => &[70, 75, 80, 90],
            _ => &[75, 80, 86, 89, 90, 100, 103, 120],
        };
        for (kernel, least, run) in KERNELS {
            let source = std::fs::read_to_string(format!("{FOLDER}/{kernel}.cu")).unwrap();
            for &arch in archs.iter().filter(|&&arch| arch >= least) {
                let ptx = nvrtc.compile(&source, arch);
                for seed in 0..2 {
                    run(&ptx, seed).unwrap_or_else(|error| {
                        panic!("{kernel} by NVRTC {major}.{minor} for sm_{arch}: {error}")
                    });
                }
            }
        }
        println!("NVRTC {major}.{minor}: all kernels for {archs:?}");
    }
}
