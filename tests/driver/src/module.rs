//! Modules: what images the driver takes, and their kernels.

use std::collections::BTreeMap;
use std::sync::Arc;

use xent_simulator::Module;

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::function::Function;
use crate::host::Image as Bytes;
use crate::table::Handle;

/// A loaded module.
#[derive(Debug)]
pub(crate) struct Image {
    pub context: Handle,
    module: Arc<Module>,
    functions: BTreeMap<String, Handle>,
}

/// Whether a text begins as PTX does: with `.version`, after comments.
fn is_ptx(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        rest = match (rest.strip_prefix("//"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n').map_or("", |(_, rest)| rest),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, rest)| rest),
            _ => return rest.starts_with(".version"),
        }
        .trim_start();
    }
}

/// What follows a directive in the text.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix(name)).map(str::trim).next()
}

/// The newest PTX that a driver reads: 9.0 with CUDA 13.0.
fn newest_ptx(driver: i32) -> (i32, i32) {
    match (driver / 1000, driver % 1000 / 10) {
        (12, minor @ 6..) => (8, minor - 1), // 12.6 brought none
        (major, minor) => (major - 4, minor),
    }
}

/// Whether PTX for a target runs on a device of this capability.
fn runs_on(target: &str, capability: u32) -> bool {
    let name = target.split(',').next().unwrap_or_default().trim();
    let number = name.trim_start_matches("sm_").trim_end_matches(['a', 'f']);
    let Ok(number) = number.parse::<u32>() else { return false };
    match name.chars().last() {
        Some('a') => number == capability,
        Some('f') => number <= capability && number / 10 == capability / 10,
        _ => number <= capability,
    }
}

/// Whether machine code for a target runs on a device of this capability: of its own generation.
fn machine_code_runs_on(target: &str, capability: u32) -> bool {
    let generation = |arch: u32| arch / 10;
    let digits: String = target.chars().filter(char::is_ascii_digit).collect();
    let same = digits.parse().is_ok_and(|arch| generation(arch) == generation(capability));
    same && runs_on(target, capability)
}

/// PTX that a section of an ELF image holds: lines, with zeros between them perhaps. NVRTC adds it
/// to machine code with `--generate-line-info`.
fn ptx_of_elf(elf: &[u8]) -> Option<String> {
    crate::elf::sections(elf).into_iter().find_map(|section| {
        let text = String::from_utf8_lossy(section).replace('\0', "\n");
        is_ptx(&text).then_some(text)
    })
}

impl Driver {
    /// `cuModuleLoadData`. The error comes with what a JIT compiler has to say.
    pub fn load(&mut self, image: Bytes) -> Result<Handle, (Code, String)> {
        let bare = |code| (code, String::new());
        let context = self.current().map_err(bare)?;
        self.disturbs_captures().map_err(bare)?;
        let is_elf = matches!(image, Bytes::Elf(_));
        let text = match image {
            Bytes::Text(text) if is_ptx(&text) => text,
            Bytes::Elf(elf) => ptx_of_elf(&elf).ok_or(bare(Code::NO_BINARY_FOR_GPU))?,
            Bytes::Fatbin => return Err(bare(Code::NO_BINARY_FOR_GPU)),
            Bytes::Text(_) => return Err(bare(Code::INVALID_IMAGE)),
        };
        let number = |text: &str| text.trim().parse::<i32>().unwrap_or_default();
        let version = directive(&text, ".version").unwrap_or_default();
        let (major, minor) = version.split_once('.').unwrap_or_default();
        let (major, minor) = (number(major), number(minor));
        let newest = newest_ptx(self.config.driver_version);
        if is_elf && major > newest.0 {
            return Err(bare(Code::INVALID_IMAGE)); // within a major version all is compatible
        }
        if !is_elf && (major, minor) > newest {
            let what = format!("Unsupported .version {version}");
            return Err((Code::UNSUPPORTED_PTX_VERSION, what));
        }
        let device = &self.devices[self.context(context).map_err(bare)?.device];
        let target = directive(&text, ".target").unwrap_or_default();
        let runs = if is_elf { machine_code_runs_on } else { runs_on };
        if !runs(target, device.capability) {
            let what = format!("{target} is not for a device {}", device.version());
            return Err((Code::NO_BINARY_FOR_GPU, what));
        }
        let module = Module::parse(&text).map_err(|error| {
            crate::log::say(&error.to_string());
            (Code::INVALID_PTX, error.to_string())
        })?;
        let module = Arc::new(module);
        let handle = self.modules.insert(Image { context, module, functions: BTreeMap::new() });
        self.note(|| format!("module={handle:#x}"));
        Ok(handle)
    }

    /// `cuModuleUnload`
    pub fn unload(&mut self, handle: Handle) -> Outcome {
        self.disturbs_captures()?;
        let context = self.modules.get(handle)?.context;
        self.run_context(context);
        self.modules.remove(handle)?;
        self.functions.remove_where(|function| function.module == handle);
        self.healthy(context)
    }

    /// `cuModuleGetFunction`
    pub fn function(&mut self, handle: Handle, name: &str) -> Outcome<Handle> {
        let image = self.modules.get(handle)?;
        let context = image.context;
        self.healthy(context)?;
        if let Some(&function) = image.functions.get(name) {
            return Ok(function);
        }
        if image.module.entry(name).is_err() {
            return Err(Code::NOT_FOUND);
        }
        let image = Arc::clone(&image.module);
        let function = self.functions.insert(Function::new(context, handle, image, name));
        self.modules.get_mut(handle)?.functions.insert(name.to_owned(), function);
        self.note(|| format!("function={function:#x} of {name}"));
        Ok(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_may_come_before_ptx() {
        assert!(is_ptx("//\n// by a compiler\n\n/* two\n lines */ .version 9.0\n"));
        for no in ["", "// .version 9.0", "/* .version 9.0", "version 9.0", "\u{7f}ELF"] {
            assert!(!is_ptx(no), "{no}");
        }
    }

    #[test]
    fn ptx_of_the_driver_and_of_older_ones() {
        let newest = [(11080, (7, 8)), (12000, (8, 0)), (12050, (8, 5)), (12060, (8, 5))];
        for (driver, ptx) in newest.into_iter().chain([(12090, (8, 8)), (13000, (9, 0))]) {
            assert_eq!(newest_ptx(driver), ptx, "{driver}");
        }
    }

    #[test]
    fn targets_and_devices() {
        for (target, capability, runs) in [
            ("sm_80", 90, true),
            ("sm_90", 89, false),
            ("sm_90a", 90, true),
            ("sm_90a", 100, false),
            ("sm_100f", 103, true),
            ("sm_100f", 120, false),
            ("sm_75, debug", 75, true),
            ("x", 75, false),
        ] {
            assert_eq!(runs_on(target, capability), runs, "{target} on {capability}");
        }
        for (target, capability, runs) in
            [("sm_80", 86, true), ("sm_80", 90, false), ("sm_86", 80, false), ("sm_90a", 90, true)]
        {
            assert_eq!(machine_code_runs_on(target, capability), runs, "{target}, {capability}");
        }
    }
}
