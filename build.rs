//! Tells dependents where the header is; with the feature `header`, generates it in `OUT_DIR`.

use std::env;
use std::path::Path;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=include={}", Path::new(&root).join("include").display());
    #[cfg(feature = "header")]
    header::generate(Path::new(&root));
}

#[cfg(feature = "header")]
mod header {
    use super::{Path, env};
    use std::fs;

    pub fn generate(root: &Path) {
        println!("cargo::rerun-if-changed=cbindgen.toml");
        println!("cargo::rerun-if-changed=src/capi");
        println!("cargo::rerun-if-env-changed=XENT_UPDATE_HEADER");
        let capi = root.join("src/capi");
        let part = |name| fs::read_to_string(capi.join(name)).expect("a part of the header");
        let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("valid");
        config.header = Some(part("conventions.h"));
        config.after_includes = Some(format!("\n{}\n{}", version(), part("after_includes.h")));
        config.trailer = Some(part("helpers.h"));
        let builder = cbindgen::Builder::new().with_config(config).with_src(capi.join("mod.rs"));
        let mut text = Vec::new();
        builder.generate().expect("src/capi is what cbindgen understands").write(&mut text);

        let out = env::var("OUT_DIR").expect("cargo sets it");
        fs::write(Path::new(&out).join("xent.h"), &text).expect("a writable OUT_DIR");
        if env::var("XENT_UPDATE_HEADER").is_ok_and(|update| update == "1") {
            fs::write(root.join("include/xent.h"), &text).expect("a writable include/");
        }
    }

    fn version() -> String {
        let number = |name| env::var(format!("CARGO_PKG_VERSION_{name}")).expect("cargo sets it");
        let lines = ["MAJOR", "MINOR", "PATCH"]
            .map(|name| format!("#define XENT_VERSION_{name} {}\n", number(name)));
        format!(
            "/// The version of this header. xent_version() is that of the library.\n{}\
                 #define XENT_VERSION_NUMBER \\\n  (XENT_VERSION_MAJOR * 1000000 + \
                 XENT_VERSION_MINOR * 1000 + XENT_VERSION_PATCH)\n",
            lines.concat()
        )
    }
}
