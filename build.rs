//! Tells dependents where the header is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
