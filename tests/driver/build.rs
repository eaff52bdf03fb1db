//! Links the stand-in so that it means its own functions by their names, whichever others a process
//! has loaded.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo::rerun-if-changed=build.rs");
}
