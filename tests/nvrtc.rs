//! NVRTC is found, loaded and called, in every version that is there, and what goes wrong is said.
//!
//! `XENT_NVRTC_13`, `XENT_NVRTC_13_0` and `XENT_NVRTC_12` name folders with NVRTC of the newest
//! 13.x, of 13.0 and of the newest 12.x, as `.ci/run` fetches them. Without them the tests use
//! whatever the library finds by itself.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use xent::cuda::compile::{Compiled, Image, Request, Source, compile};
use xent::cuda::nvrtc::{Nvrtc, OLDEST};
use xent::cuda::search::Surroundings;
use xent::cuda::target::{Capability, Target, Version};
use xent::cuda::{CompileError, Error};

const HEADER: &str = "\
#pragma once
template <class T, int N> __device__ T rotate(T value) {
    __shared__ T all[N];
    all[threadIdx.x] = value;
    __syncthreads();
    return all[(threadIdx.x + 1) % N];
}
";

const PROGRAM: &str = "\
#include \"rotate.cuh\"
template <class T, int N> __global__ void turn(T *x) {
    int unused_on_purpose;
    x[threadIdx.x] = rotate<T, N>(x[threadIdx.x]) * T(SCALE);
}
__noinline__ float far(const float *x, int n) { return n < 2 ? 1 : x[n] * far(x, n - 2); }
template <int N> __global__ void __launch_bounds__(1024, 2) spill(float *x, int n) {
    float a[N];
#pragma unroll
    for (int i = 0; i < N; i++) a[i] = x[i * n];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) x[i * n + 1] = a[i] * a[(3 * i + 1) % N];
    x[0] = far(x, n);
}
";

const SOURCE: Source<'static> =
    Source { name: "turn.cu", text: PROGRAM, headers: &[("rotate.cuh", HEADER)] };

const KERNELS: [&str; 3] = ["turn<double, 32>", "spill<80>", "turn<float, 64>"];

fn request(target: Target) -> Request<'static> {
    Request { kernels: &KERNELS, defines: &[("SCALE", "2")], ..Request::new(target) }
}

/// The library that a variable names, if it is set.
fn named(variable: &str) -> Option<&'static Nvrtc> {
    let folder = std::env::var_os(variable).filter(|folder| !folder.is_empty())?;
    Some(Nvrtc::open(PathBuf::from(folder)).unwrap_or_else(|error| panic!("{variable}: {error}")))
}

/// All libraries that are there. Empty, and said so, where there is none.
fn libraries() -> Vec<&'static Nvrtc> {
    let variables = ["XENT_NVRTC_13", "XENT_NVRTC_13_0", "XENT_NVRTC_12"];
    let mut libraries: Vec<_> = variables.into_iter().filter_map(named).collect();
    if libraries.is_empty() {
        match Nvrtc::find() {
            Ok(nvrtc) => libraries.push(nvrtc),
            Err(Error::NotFound { .. }) => {
                common::skip("NVRTC was not found (pip install nvidia-cuda-nvrtc, set XENT_NVRTC)");
            }
            Err(error) => panic!("{error}"),
        }
    }
    libraries
}

fn refusal(result: Result<Compiled, Error>) -> Box<CompileError> {
    match result {
        Err(Error::Compile(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Surroundings in which there is nothing but these files in the process.
fn surroundings(mapped: &[&Path]) -> Surroundings {
    let mapped = mapped.iter().map(|&path| path.to_owned()).collect();
    Surroundings { mapped, toolkits: "/nonexistent".into(), ..Surroundings::default() }
}

fn with_variable(name: &'static str, value: &Path) -> Surroundings {
    let variables = BTreeMap::from([(name, value.into())]);
    Surroundings { variables, ..surroundings(&[]) }
}

#[test]
fn every_version_is_opened_once_and_says_what_it_is() {
    for nvrtc in libraries() {
        println!("{nvrtc:?} {:?}", nvrtc.supported());
        assert!(nvrtc.version() >= OLDEST);
        assert!(nvrtc.path().is_absolute());
        assert!(nvrtc.supported().is_sorted());
        for arch in [75, 80, 86, 89, 90] {
            assert!(nvrtc.supported().contains(&Capability::from_arch(arch)));
        }
        assert!(std::ptr::eq(nvrtc, Nvrtc::open(nvrtc.path()).unwrap()));
        assert!(std::ptr::eq(nvrtc, Nvrtc::find_in(&surroundings(&[nvrtc.path()])).unwrap()));
    }
    for (variable, expected) in [("XENT_NVRTC_13", 13), ("XENT_NVRTC_12", 12)] {
        if let Some(nvrtc) = named(variable) {
            assert_eq!(nvrtc.version().major, expected, "{variable}");
        }
    }
}

#[test]
fn a_library_in_the_process_is_found_by_its_name() {
    let libraries = libraries();
    if libraries.is_empty() {
        return;
    }
    // Of several, the newest: libnvrtc.so.13 is asked for before libnvrtc.so.12.
    let surroundings = Surroundings { loader: true, ..surroundings(&[]) };
    let found = Nvrtc::find_in(&surroundings).unwrap();
    let newest = libraries.iter().map(|nvrtc| nvrtc.version().major).max().unwrap();
    assert_eq!(found.version().major, newest);
    assert!(found.path().is_absolute());
}

#[test]
fn every_architecture_of_every_version_compiles() {
    for nvrtc in libraries() {
        let mut table = format!("NVRTC {}, compile time in ms:", nvrtc.version());
        for &capability in nvrtc.supported() {
            let target = Target::Cubin(capability);
            let start = Instant::now();
            let compiled = compile(nvrtc, SOURCE, request(target)).unwrap();
            write!(table, " {target} {}", start.elapsed().as_millis()).unwrap();
            let Image::Cubin(cubin) = &compiled.image else { panic!("{:?}", compiled.image) };
            assert!(cubin.starts_with(b"\x7fELF"));
            assert!(compiled.ptx.contains(&format!(".target {target}")));
            let names: Vec<_> = compiled.kernels.iter().map(|kernel| &*kernel.name).collect();
            assert_eq!(
                names,
                ["_Z4turnIdLi32EEvPT_", "_Z5spillILi80EEvPfi", "_Z4turnIfLi64EEvPT_"]
            );
            for (kernel, expression) in compiled.kernels.iter().zip(KERNELS) {
                assert_eq!(kernel.expression, expression);
                assert!(compiled.ptx.contains(&format!(".entry {}", kernel.name)));
            }
            check_resources(&compiled);
            assert!(compiled.log.contains("unused_on_purpose"), "{}", compiled.log); // a warning
        }
        println!("{table}");
    }
}

fn check_resources(compiled: &Compiled) {
    let resources = |index: usize| compiled.kernels[index].resources.unwrap();
    for index in [0, 2] {
        assert!((4..=32).contains(&resources(index).registers), "{:?}", resources(index));
        assert_eq!(resources(index).shared, 256);
        assert_eq!((resources(index).spill_stores, resources(index).spill_loads), (0, 0));
    }
    let spill = resources(1);
    assert!((24..=64).contains(&spill.registers), "{spill:?}");
    assert!(spill.spill_stores > 0 && spill.spill_loads > 0 && spill.stack > 0, "{spill:?}");
    let names: Vec<_> = compiled.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(names, ["_Z3farPKfi"], "{}", compiled.log);
}

#[test]
fn ptx_is_made_for_the_capability_and_has_no_report() {
    for nvrtc in libraries() {
        let target = Target::Ptx(Capability::new(9, 0));
        let compiled = compile(nvrtc, SOURCE, request(target)).unwrap();
        assert_eq!(compiled.image, Image::Ptx(compiled.ptx.clone()));
        assert!(compiled.ptx.contains(".target sm_90\n"));
        assert!(compiled.ptx.contains(".entry _Z4turnIfLi64EEvPT_"));
        assert!(!compiled.ptx.contains('\0'));
        assert!(compiled.kernels.iter().all(|kernel| kernel.resources.is_none()));
    }
}

#[test]
fn an_error_names_the_header_and_the_line() {
    for nvrtc in libraries() {
        let target = Target::Cubin(Capability::new(9, 0));
        let header = "#pragma once\n\ninline float broken() { return nowhere; }\n";
        let source = Source {
            name: "main.cu",
            text: "#include \"reduce.cuh\"\n__global__ void k() {}\nint x = \"\";\n",
            headers: &[("reduce.cuh", header)],
        };
        let error = refusal(compile(nvrtc, source, Request::new(target)));
        let first = error.first.as_ref().unwrap();
        assert_eq!((first.file.as_str(), first.line), ("reduce.cuh", 3));
        assert!(first.message.contains("\"nowhere\" is undefined"), "{first:?}");
        assert!(error.log.contains("main.cu(3): error"), "{}", error.log);
        let text = error.to_string();
        println!("{text}");
        assert!(text.starts_with("reduce.cuh(3): error: identifier \"nowhere\""), "{text}");
        let version = format!("[main.cu for sm_90, NVRTC {} of /", nvrtc.version());
        assert!(text.contains(&version), "{text}");
    }
}

#[test]
fn whatever_else_is_wrong_with_a_program_is_said() {
    for nvrtc in libraries() {
        let target = Target::Cubin(Capability::new(9, 0));
        let plain = |text: &'static str| Source { name: "main.cu", text, headers: &[] };
        let refused = |text, request| refusal(compile(nvrtc, plain(text), request));

        let error = refused("\n#include \"none.cuh\"\n", Request::new(target));
        assert_eq!(error.first.as_ref().unwrap().line, 2);

        let kernel = "template <int N> __global__ void k() {}";
        let kernels = Request { kernels: &["k<1>", "absent<2>"], ..Request::new(target) };
        let error = refused(kernel, kernels);
        assert!(error.to_string().contains("absent"), "{error}");

        let asm = "__global__ void k() { asm(\"no.such.instruction;\"); }";
        let error = refused(asm, Request::new(target));
        println!("{error}");
        assert!(error.first.as_ref().unwrap().message.contains("'.such'"), "{error}");

        let options = Request { options: &["--no-such-option"], ..Request::new(target) };
        let error = refused(kernel, options);
        assert!(error.to_string().contains("no-such-option"), "{error}");

        let unknown = Request::new(Target::Cubin(Capability::new(6, 9)));
        let error = refused(kernel, unknown);
        assert!(error.to_string().contains("for sm_69"), "{error}");

        let zero = compile(nvrtc, plain("int a;\0"), Request::new(target)).unwrap_err();
        assert_eq!(zero, Error::ZeroByte { what: "main.cu".into() });
    }
}

#[test]
fn many_threads_compile_at_once() {
    for nvrtc in libraries() {
        let target = Target::Cubin(Capability::new(8, 0));
        let expected = compile(nvrtc, SOURCE, request(target)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let expected = &expected;
                scope.spawn(move || {
                    assert!(std::ptr::eq(nvrtc, Nvrtc::open(nvrtc.path()).unwrap()));
                    if thread % 2 == 0 {
                        let compiled = compile(nvrtc, SOURCE, request(target)).unwrap();
                        assert_eq!(compiled.image, expected.image);
                        assert_eq!(compiled.kernels, expected.kernels);
                    } else {
                        let broken = Source { text: "\nint x = nowhere;\n", ..SOURCE };
                        let error = refusal(compile(nvrtc, broken, Request::new(target)));
                        let first = error.first.as_ref().unwrap();
                        assert_eq!((first.file.as_str(), first.line), ("turn.cu", 2));
                    }
                });
            }
        });
    }
}

#[test]
fn the_library_that_suits_the_device_and_the_driver_is_chosen() {
    let (Some(new), Some(old)) = (named("XENT_NVRTC_13"), named("XENT_NVRTC_12")) else {
        return common::skip("XENT_NVRTC_13 and XENT_NVRTC_12 name no folders");
    };
    let both = surroundings(&[old.path(), new.path()]);
    for (device, driver, version, target) in [
        (90, Version::new(13, 0), new.version(), "sm_90"),
        (90, Version::new(12, 8), old.version(), "sm_90"),
        (70, Version::new(13, 0), old.version(), "sm_70"),
        (103, Version::new(13, 0), new.version(), "sm_103"),
    ] {
        let device = Capability::from_arch(device);
        let (nvrtc, chosen) = Nvrtc::find_for(device, driver, &both).unwrap();
        assert_eq!((nvrtc.version(), chosen.to_string()), (version, target.to_owned()));
    }
    let new = with_variable("XENT_NVRTC", new.path());
    let error = Nvrtc::find_for(Capability::new(9, 0), Version::new(12, 8), &new).unwrap_err();
    assert!(error.to_string().contains("pip install nvidia-cuda-nvrtc-cu12"), "{error}");
}

#[test]
fn nothing_found_says_where_it_looked_and_how_to_get_it() {
    let error = Nvrtc::find_in(&surroundings(&[])).unwrap_err();
    let text = error.to_string();
    println!("{text}");
    for part in [
        "XENT_NVRTC (not set)",
        "libraries that the process has loaded",
        "CUDA_HOME (not set)",
        "/nonexistent/cuda*",
        "VIRTUAL_ENV (not set)",
        "pip install nvidia-cuda-nvrtc",
        "CUDA toolkit",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_bad_path_that_was_asked_for_is_an_error() {
    let folder = TempDir::new().unwrap();
    let text_file = folder.path().join("libfake.so");
    std::fs::write(&text_file, "not a library").unwrap();
    for (path, reason) in [
        (folder.path().join("absent.so"), "No such file"),
        (folder.path().to_owned(), "the folder holds no libnvrtc.so"),
        (text_file, "libfake.so: "),
    ] {
        let error = Nvrtc::find_in(&with_variable("XENT_NVRTC", &path)).unwrap_err();
        assert!(matches!(&error, Error::Library { path: named, .. } if *named == path), "{error}");
        let text = error.to_string();
        println!("{text}");
        assert!(text.contains(reason) && text.contains("set XENT_NVRTC to"), "{text}");
    }
}

/// Builds a library that has some of NVRTC's functions.
fn stub(folder: &Path, name: &str, functions: &str) -> Option<PathBuf> {
    let (source, library) = (folder.join("stub.c"), folder.join(name));
    std::fs::write(&source, functions).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-w", "-o"]).args([&library, &source]);
    match command.status() {
        Ok(status) => {
            assert!(status.success());
            Some(library)
        }
        Err(_) => {
            common::skip("no C compiler");
            None
        }
    }
}

/// All functions that the table has, as no version of NVRTC has them.
fn stub_functions(version: &str) -> String {
    let mut functions = format!("int nvrtcVersion(int *a, int *b) {{ {version} }}\n");
    functions.push_str("const char *nvrtcGetErrorString(int code) { return 0; }\n");
    for name in [
        "GetNumSupportedArchs",
        "GetSupportedArchs",
        "CreateProgram",
        "DestroyProgram",
        "AddNameExpression",
        "CompileProgram",
        "GetLoweredName",
        "GetPTXSize",
        "GetPTX",
        "GetCUBINSize",
        "GetCUBIN",
        "GetProgramLogSize",
        "GetProgramLog",
    ] {
        writeln!(functions, "int nvrtc{name}() {{ return 77; }}").unwrap();
    }
    functions
}

#[test]
fn a_library_that_is_no_usable_nvrtc_is_refused() {
    let folder = TempDir::new().unwrap();
    let fine = "*a = 13; *b = 9; return 0;";
    let lacking = stub_functions(fine).replace("nvrtcGetCUBINSize", "other");
    let Some(lacking) = stub(folder.path(), "libnvrtc-lacking.so", &lacking) else { return };
    let error = Nvrtc::open(&lacking).unwrap_err();
    assert_eq!(error, Error::MissingSymbol { path: lacking.clone(), symbol: "nvrtcGetCUBINSize" });

    let old = stub_functions("*a = 11; *b = 8; return 0;");
    let old = stub(folder.path(), "libnvrtc-old.so", &old).unwrap();
    let silent = stub(folder.path(), "libnvrtc-x.so", &stub_functions("return 5;")).unwrap();
    let archless = stub(folder.path(), "libnvrtc-y.so", &stub_functions(fine)).unwrap();
    for (path, reason) in [
        (&old, "it is version 11.8, but 12.0 is needed"),
        (&silent, "nvrtcVersion: error 5"),
        (&archless, "nvrtcGetSupportedArchs: error 77"),
    ] {
        let error = Nvrtc::open(path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    // A search passes over them, and says why.
    let error = Nvrtc::find_in(&surroundings(&[&lacking, &old])).unwrap_err().to_string();
    println!("{error}");
    assert!(error.contains("libnvrtc-lacking.so: it lacks nvrtcGetCUBINSize"), "{error}");
    assert!(error.contains("libnvrtc-old.so: it is version 11.8"), "{error}");
    if let Some(nvrtc) = libraries().first() {
        let mixed = surroundings(&[&lacking, &old, nvrtc.path()]);
        assert!(std::ptr::eq(Nvrtc::find_in(&mixed).unwrap(), *nvrtc));
    }
}

/// Runs a test of this file in a process of its own, since what is loaded stays loaded, with
/// `XENT_NVRTC` set.
fn in_another_process(test: &str, library: &Path) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("XENT_NVRTC", library)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_variable_of_the_environment_decides() {
    if let Some(nvrtc) = libraries().first() {
        in_another_process("find_what_the_variable_names", nvrtc.path());
    }
}

#[test]
#[ignore = "run by the test above"]
fn find_what_the_variable_names() {
    let path = PathBuf::from(std::env::var_os("XENT_NVRTC").unwrap());
    assert_eq!(Nvrtc::find().unwrap().path(), path);
}

/// NVRTC 13.0 does not look for its builtins in its own folder.
#[test]
fn the_builtins_are_found_beside_the_library() {
    for nvrtc in libraries() {
        in_another_process("compile_with_and_without_builtins", nvrtc.path());
    }
}

#[test]
#[ignore = "run by the test above"]
fn compile_with_and_without_builtins() {
    let path = PathBuf::from(std::env::var_os("XENT_NVRTC").unwrap());
    let request = request(Target::Cubin(Capability::new(9, 0)));

    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let alone = folder.path().join(path.file_name().unwrap());
    std::fs::copy(&path, &alone).unwrap();
    let error = Nvrtc::open(&alone).unwrap_err().to_string();
    println!("{error}");
    let whole = Nvrtc::open(&path).unwrap();
    let builtins = format!("libnvrtc-builtins.so.{} does not lie beside it", whole.version());
    assert!(error.contains(&builtins) && error.contains("pip install"), "{error}");

    compile(whole, SOURCE, request).unwrap();
}
