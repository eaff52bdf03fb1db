//! What the tests of the CUDA kernels share: compiling them, with a cache between runs, and running
//! cases in the interpreter of `tests/simulator`.
#![allow(dead_code)] // each test file uses its part

pub mod check;
pub mod cover;
pub mod family;
pub mod force;
pub mod launch;
pub mod pairs;
pub mod pool;
pub mod run;
pub mod sample;
pub mod sparse;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use xent::cuda::compile::{Request, Source, compile};
use xent::cuda::nvrtc::Nvrtc;
use xent::cuda::report::{self, Resources};
use xent::cuda::source;
use xent::cuda::target::{Capability, Target};
use xent::cuda::variant::Variant;

pub use crate::common::simulated::{any_nvrtc, nvrtc};

/// A kernel, compiled.
pub struct Kernel {
    /// Its name in the PTX.
    pub name: String,
    pub ptx: String,
    /// Of machine code.
    pub resources: Option<Resources>,
}

/// What a test panics with where a kernel does not become a module: no finding about the kernel.
pub struct NotCompiled;

impl NotCompiled {
    pub fn panic(error: impl std::fmt::Display) -> ! {
        eprintln!("{error}");
        std::panic::panic_any(NotCompiled)
    }
}

/// A fault, planted in the kernels: text that occurs once in all files, and what replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patch {
    pub from: &'static str,
    pub to: &'static str,
}

impl Patch {
    /// The file that has the text.
    fn file(&self) -> &'static str {
        let places = source::FILES
            .iter()
            .flat_map(|(name, text)| std::iter::repeat_n(*name, text.matches(self.from).count()));
        let places: Vec<&str> = places.collect();
        assert_eq!(
            places.len(),
            1,
            "files {places:?} have this text; it must be there once:\n{}",
            self.from
        );
        places[0]
    }

    /// Whether a program is another one with it.
    pub fn touches(&self, program: &str) -> bool {
        let file = self.file();
        file.ends_with(".cuh") || file == program
    }
}

/// The file that a program is, and all headers.
fn sources(program: &str, patch: Option<Patch>) -> Vec<(&'static str, String)> {
    let own = source::FILES.iter().filter(|(name, _)| name.ends_with(".cuh") || *name == program);
    let patched =
        |text: &str| patch.map_or(text.to_owned(), |patch| text.replace(patch.from, patch.to));
    own.map(|&(name, text)| (name, patched(text))).collect()
}

/// Compiles a kernel for an architecture (90 for `sm_90`), to machine code or to PTX alone. What
/// has been compiled before, of the same text by the same version, comes from `target/tmp/kernels`.
pub fn build(nvrtc: &Nvrtc, variant: &Variant, arch: u32, machine_code: bool) -> Kernel {
    build_patched(nvrtc, variant, arch, machine_code, None)
}

/// The same with a fault in a source.
pub fn build_patched(
    nvrtc: &Nvrtc,
    variant: &Variant,
    arch: u32,
    machine_code: bool,
    patch: Option<Patch>,
) -> Kernel {
    let sources = sources(variant.program, patch);
    let mut hasher = DefaultHasher::new();
    (&sources, variant, arch, machine_code, nvrtc.version()).hash(&mut hasher);
    let place = cache().join(format!("{:016x}", hasher.finish()));
    let text = match std::fs::read_to_string(&place) {
        Ok(text) => text,
        Err(_) => {
            let text = compile_fresh(nvrtc, &sources, variant, arch, machine_code);
            // Others may do the same; a name of its own keeps the file whole.
            let thread = std::thread::current().id();
            let draft = place.with_extension(format!("{}{thread:?}", std::process::id()));
            std::fs::write(&draft, &text).unwrap();
            std::fs::rename(&draft, &place).unwrap();
            text
        }
    };
    let (name, rest) = text.split_once('\n').unwrap();
    let (log, ptx) = rest.split_once("\n====\n").unwrap();
    let functions = report::functions(log);
    let resources = functions.iter().find(|function| function.name == name);
    let resources = resources.map(|function| function.resources);
    Kernel { name: name.to_owned(), ptx: ptx.to_owned(), resources }
}

fn compile_fresh(
    nvrtc: &Nvrtc,
    sources: &[(&str, String)],
    variant: &Variant,
    arch: u32,
    machine_code: bool,
) -> String {
    let capability = Capability::from_arch(arch);
    let target = if machine_code { Target::Cubin(capability) } else { Target::Ptx(capability) };
    let files: Vec<(&str, &str)> = sources.iter().map(|(name, text)| (*name, &**text)).collect();
    let (_, text) = files.iter().find(|(name, _)| *name == variant.program).unwrap();
    let program = Source { name: variant.program, text, headers: &files };
    let request = Request { kernels: &[&variant.expression], ..Request::new(target) };
    let compiled =
        compile(nvrtc, program, request).unwrap_or_else(|error| NotCompiled::panic(error));
    let warned = compiled.log.lines().any(|line| line.contains("warning #"));
    if warned || !compiled.functions.is_empty() {
        NotCompiled::panic(format!(
            "{}, which calls {:?}: {}",
            variant.expression, compiled.functions, compiled.log
        ));
    }
    format!("{}\n{}\n====\n{}", compiled.kernels[0].name, compiled.log, compiled.ptx)
}

fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}
