//! The runtime where the compiler of its kernels fails: each call of NVRTC in turn, and programs that
//! do not compile. A library in its place forwards calls to it.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the library in between

mod common;

use std::ffi::{CStr, c_char, c_int, c_long};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::simulated::{Machine, any_nvrtc, assert_passes, here};
use common::standin::{StandIn, abort_on_panic};
use xent::cuda::compile::{Request, Source, compile};
use xent::cuda::nvrtc::Nvrtc;
use xent::cuda::target::{Capability, Target};
use xent::{Context, DType, Device, Error, Plan, Problem};

/// The library in between, of this process.
struct Proxy(libloading::Library);

impl Proxy {
    fn here() -> Proxy {
        // SAFETY: it has no constructors.
        Proxy(unsafe { libloading::Library::new(std::env::var_os("XENT_NVRTC").unwrap()).unwrap() })
    }

    /// A function of its own, of the type that it has there.
    fn function<T: Copy>(&self, name: &str) -> T {
        // SAFETY: the callers name the type.
        unsafe { *self.0.get::<T>(name).unwrap() }
    }

    /// Which call fails from now on; 0: none.
    fn fail(&self, k: u64) {
        let fail: extern "C" fn(c_long) = self.function("proxy_fail");
        fail(k as c_long);
    }

    fn break_programs(&self, yes: bool) {
        let set: extern "C" fn(c_int) = self.function("proxy_break");
        set(yes.into());
    }

    fn number(&self, name: &str) -> u64 {
        let get: extern "C" fn() -> c_long = self.function(name);
        u64::try_from(get()).unwrap()
    }

    /// The last call that failed.
    fn failed(&self) -> String {
        let get: extern "C" fn() -> *const c_char = self.function("proxy_failed");
        // SAFETY: a literal.
        unsafe { CStr::from_ptr(get()) }.to_string_lossy().into_owned()
    }
}

/// Builds the library in between into a folder, with the builtins beside it.
fn build(folder: &Path, nvrtc: &Nvrtc) -> Option<PathBuf> {
    let library = folder.join("libnvrtc.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/nvrtc_proxy.c");
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]);
    let Ok(status) = command.arg(&library).args([source, "-ldl"]).status() else {
        common::skip("no C compiler");
        return None;
    };
    assert!(status.success());
    let builtins = format!("libnvrtc-builtins.so.{}", nvrtc.version());
    let beside = nvrtc.path().with_file_name(&builtins);
    std::os::unix::fs::symlink(beside, folder.join(builtins)).unwrap();
    Some(library)
}

/// Whether this process has the simulated GPU, and a compiler that can fail; if not, another one runs
/// the test, without kernels from earlier runs.
fn with_a_failing_compiler(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
        && let Some(nvrtc) = any_nvrtc()
        && let Some(proxy) = build(machine.folder(), nvrtc)
    {
        let mut command = machine.test(name);
        command.env("XENT_TEST_NVRTC", nvrtc.path()).env("XENT_NVRTC", proxy);
        assert_passes(command.env("XENT_CACHE", machine.folder().join("cache")));
    }
    if here() {
        abort_on_panic();
    }
    here()
}

const NO_MEMORY: &str = "NVRTC_ERROR_OUT_OF_MEMORY (error 1)";

#[test]
fn every_call_of_the_compiler_can_fail() {
    if !with_a_failing_compiler("every_call_of_the_compiler_can_fail") {
        return;
    }
    let proxy = Proxy::here();

    // While it is loaded.
    for (k, call) in
        [(1, "nvrtcVersion"), (2, "nvrtcGetSupportedArchs"), (3, "nvrtcGetSupportedArchs")]
    {
        proxy.fail(k);
        let context = Context::auto();
        let reason = context.device().fallback_reason().unwrap();
        assert!(reason.contains(&format!("{call}: {NO_MEMORY}")), "{reason}");
        assert!(reason.contains("pip install nvidia-cuda-nvrtc"), "{reason}");
        proxy.fail(k);
        let Err(Error::Unavailable { what }) = Device::cuda(0) else { panic!("call {k}") };
        assert!(what.contains(reason), "{what}");
    }
    proxy.fail(0);
    assert_eq!(Context::auto().device().fallback_reason(), None);

    // While it compiles.
    let nvrtc = Nvrtc::find().unwrap();
    let text = "template <int N> __global__ void k(int *x) { *x = N; }";
    let source = Source { name: "k.cu", text, headers: &[] };
    for target in [Target::Ptx, Target::Cubin] {
        let target = target(Capability::new(9, 0));
        let request = Request { kernels: &["k<1>", "k<2>"], ..Request::new(target) };
        proxy.fail(0);
        let expected = compile(nvrtc, source, request).unwrap();
        let calls = proxy.number("proxy_calls");
        assert_eq!(calls, if matches!(target, Target::Ptx(_)) { 11 } else { 13 });
        for k in 1..=calls {
            proxy.fail(k);
            let result = compile(nvrtc, source, request);
            let call = proxy.failed();
            match result {
                Ok(compiled) => {
                    assert_eq!((k, &*call), (calls, "nvrtcDestroyProgram"));
                    assert_eq!(compiled.image, expected.image);
                }
                Err(error) => {
                    let text = error.to_string();
                    let named = match call.as_str() {
                        "nvrtcCompileProgram" => "k.cu",
                        sized => sized.strip_suffix("Size").unwrap_or(sized),
                    };
                    assert!(text.starts_with(named) && text.contains(NO_MEMORY), "{call}: {text}");
                    assert!(text.contains(&format!("NVRTC {}", nvrtc.version())), "{call}: {text}");
                }
            }
            assert_eq!(proxy.number("proxy_programs"), 0, "{call}");
        }
        proxy.fail(0);
        assert_eq!(compile(nvrtc, source, request).unwrap().image, expected.image);
    }
}

#[test]
fn a_plan_that_cannot_be_compiled_says_so_and_the_next_one_can() {
    if !with_a_failing_compiler("a_plan_that_cannot_be_compiled_says_so_and_the_next_one_can") {
        return;
    }
    let (proxy, sim) = (Proxy::here(), StandIn::here());
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 5);
    let failed = |plan: xent::Result<Plan>| match plan {
        Err(Error::Unavailable { what }) => what,
        other => panic!("{other:?}"),
    };

    proxy.break_programs(true);
    let text = failed(Plan::new(&context, &problem));
    let error = "error: identifier \"broken_on_purpose\" is undefined";
    assert!(text.starts_with("xent.cu(") && text.contains(error), "{text}");
    assert!(text.contains("[xent.cu for compute_90, NVRTC "), "{text}");
    proxy.break_programs(false);

    // Each call before the program is compiled.
    for k in 1.. {
        proxy.fail(k);
        let text = failed(Plan::new(&context, &problem));
        assert!(text.contains(NO_MEMORY), "{text}");
        if proxy.failed() == "nvrtcCompileProgram" {
            break;
        }
        assert!(text.starts_with(&proxy.failed()), "{text}");
    }
    proxy.fail(0);
    let plan = Plan::new(&context, &problem).unwrap();
    assert!(!plan.kernel_name().is_empty());
    assert_eq!(proxy.number("proxy_programs"), 0);
    drop((plan, context));
    assert_eq!(sim.leaks(), 0);
}
