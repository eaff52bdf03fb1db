//! The committed header is what the sources generate, and names the version of the crate.
//! `XENT_UPDATE_HEADER=1 cargo build --features header` writes it anew.
#![cfg(feature = "header")]

const COMMITTED: &str = include_str!("../include/xent.h");
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/xent.h"));

#[test]
fn the_committed_header_is_the_generated_one() {
    let lines = COMMITTED.lines().zip(GENERATED.lines()).enumerate();
    for (index, (committed, generated)) in lines {
        assert_eq!(committed, generated, "line {} of include/xent.h is out of date", index + 1);
    }
    assert!(COMMITTED == GENERATED, "include/xent.h is out of date at its end");
}

#[test]
fn the_macros_are_the_version_of_the_crate() {
    let number = |name: &str| {
        let define = format!("#define XENT_VERSION_{name} ");
        COMMITTED.lines().find_map(|line| line.strip_prefix(&define)).unwrap().to_owned()
    };
    let version = ["MAJOR", "MINOR", "PATCH"].map(number).join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}
