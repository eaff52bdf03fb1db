//! Compiles the C and C++ programs of this folder and runs them.
#![allow(dead_code)] // each test file uses its part

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[cfg(all(feature = "cuda", target_os = "linux"))]
use crate::common::simulated::Machine;
use crate::common::skip;

/// The standards that the programs are compiled as.
pub const C: [&str; 3] = ["c99", "c11", "c17"];
pub const CXX: [&str; 4] = ["c++11", "c++14", "c++17", "c++20"];
const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-Wconversion"];
const SANITIZERS: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// This folder.
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c"))
}

/// The folder of the library that this test was built with.
pub fn library_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().to_owned()
}

/// A compiler for a version of C or C++, and where it puts programs.
pub struct Compiler {
    command: String,
    standard: String,
    flags: Vec<String>,
    out: tempfile::TempDir,
}

impl Compiler {
    /// `None`, and a line on stderr, where there is no compiler.
    pub fn new(standard: &str) -> Option<Compiler> {
        let (variable, usual) = if standard.contains("++") { ("CXX", "c++") } else { ("CC", "cc") };
        let command = std::env::var(variable).unwrap_or(usual.into());
        if Command::new(&command).arg("--version").output().is_err() {
            skip(&format!("there is no compiler \"{command}\" for {standard}"));
            return None;
        }
        let out = tempfile::tempdir().unwrap();
        Some(Compiler { command, standard: standard.into(), flags: vec![], out })
    }

    /// The same with the address and undefined-behaviour sanitizers.
    pub fn sanitized(standard: &str) -> Option<Compiler> {
        let mut compiler = Compiler::new(standard)?.flags(&SANITIZERS);
        let source = compiler.out.path().join("empty.c");
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let plain = compiler.command("empty").arg(source).output().unwrap();
        if !plain.status.success() {
            skip(&format!("\"{}\" has no sanitizers", compiler.command));
            return None;
        }
        compiler.flags.push("-g".into());
        Some(compiler)
    }

    pub fn flags(mut self, flags: &[&str]) -> Compiler {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.arg(format!("-std={}", self.standard)).args(WARNINGS).args(&self.flags);
        if !self.standard.contains("++") {
            command.arg("-Wstrict-prototypes");
        }
        command.arg("-I").arg(folder()).arg("-I").arg(folder().join("../../include"));
        command.arg("-o").arg(self.out.path().join(name));
        command
    }

    /// Compiles one unit, a file of this folder.
    pub fn object(&self, source: impl AsRef<OsStr>, name: &str, flags: &[&str]) -> PathBuf {
        let mut command = self.command(name);
        if self.standard.contains("++") {
            command.args(["-x", "c++"]);
        }
        command.args(flags).arg("-c").arg(folder().join(source.as_ref()));
        succeed(&mut command);
        self.out.path().join(name)
    }

    /// Links units to a program with the library.
    pub fn link(&self, name: &str, objects: &[PathBuf]) -> PathBuf {
        let library = library_folder();
        assert!(
            library.join("libxent.so").exists() || library.join("libxent.dylib").exists(),
            "cargo puts the library next to its tests, into {}",
            library.display()
        );
        let mut command = self.command(name);
        command.args(objects).arg("-L").arg(&library).args(["-lxent", "-lm", "-ldl", "-pthread"]);
        command.arg(format!("-Wl,-rpath,{}", library.display()));
        succeed(&mut command);
        self.out.path().join(name)
    }

    /// Compiles and links a program of one unit.
    pub fn program(&self, source: impl AsRef<OsStr>) -> PathBuf {
        let object = self.object(source, "program.o", &[]);
        self.link("program", &[object])
    }

    pub fn out(&self) -> &Path {
        self.out.path()
    }
}

/// Runs a tool that has to succeed.
pub fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
}

/// Runs a program that ends with 0, and returns what it prints.
pub fn run(program: &Path, arguments: &[&Path]) -> String {
    printed(Command::new(program).args(arguments), &[])
}

/// The same on the GPU of a machine, which the last argument names.
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub fn run_on_gpu(machine: &Machine, program: &Path, arguments: &[&Path]) -> String {
    printed(machine.command(program).args(arguments).arg("cuda"), &[machine.folder()])
}

/// What a command prints that ends with 0, and finds its libraries in these folders too.
pub fn printed(command: &mut Command, folders: &[&Path]) -> String {
    // Cargo's own search path, which goes before that of the program, has an older copy.
    let own = library_folder();
    let search = std::env::join_paths(std::iter::once(&*own).chain(folders.iter().copied()));
    let search = search.unwrap();
    command.env("LD_LIBRARY_PATH", &search).env("DYLD_LIBRARY_PATH", &search);
    command.env("ASAN_OPTIONS", "allocator_may_return_null=1"); // as new does
    let Output { status, stdout, stderr } = command.output().unwrap();
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?} ended with {status}\n{errors}");
    String::from_utf8(stdout).unwrap()
}
