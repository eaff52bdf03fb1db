//! What to compile for: a pure decision from the device, the compiler and the driver.

use std::fmt;
use std::str::FromStr;

use super::{Error, Result};

/// A version of CUDA: of NVRTC, or the newest that a driver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 13 of 13.5.
    pub major: u32,
    /// 5 of 13.5.
    pub minor: u32,
}

impl Version {
    /// `Version::new(13, 5)` is CUDA 13.5.
    pub const fn new(major: u32, minor: u32) -> Self {
        Version { major, minor }
    }

    /// From the number that `cuDriverGetVersion` gives: 13050 for 13.5.
    pub const fn from_driver(number: u32) -> Self {
        Version { major: number / 1000, minor: number % 1000 / 10 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The compute capability of a device, or of an architecture that a compiler knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// 9 of 9.0.
    pub major: u32,
    /// 0 of 9.0.
    pub minor: u32,
}

impl Capability {
    /// `Capability::new(9, 0)` is a Hopper GPU.
    pub const fn new(major: u32, minor: u32) -> Self {
        Capability { major, minor }
    }

    /// From the number in an architecture's name: 120 for `sm_120`, which is 12.0.
    pub const fn from_arch(arch: u32) -> Self {
        Capability { major: arch / 10, minor: arch % 10 }
    }

    /// The number in the architecture's name.
    pub const fn arch(self) -> u32 {
        self.major * 10 + self.minor
    }

    /// Whether this belongs to a module for embedded systems. Its machine code and that of cards
    /// do not run on each other, whatever the numbers suggest; PTX does.
    const fn embedded(self) -> bool {
        matches!(self.arch(), 53 | 62 | 72 | 87 | 88 | 101 | 110)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the compiler is to make. Never an `sm_90a`: such code runs on no other capability, and
/// the kernels need nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Machine code, `sm_90`.
    Cubin(Capability),
    /// Text that the driver compiles further, `compute_90`.
    Ptx(Capability),
}

impl Target {
    /// The capability whose instructions may be used.
    pub const fn capability(self) -> Capability {
        match self {
            Target::Cubin(capability) | Target::Ptx(capability) => capability,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Cubin(capability) => write!(f, "sm_{}", capability.arch()),
            Target::Ptx(capability) => write!(f, "compute_{}", capability.arch()),
        }
    }
}

/// From its name: `sm_90`, `compute_90`.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let arch = |number: &str| number.parse().map(Capability::from_arch).ok();
        let cubin = || arch(text.strip_prefix("sm_")?).map(Target::Cubin);
        let ptx = || arch(text.strip_prefix("compute_")?).map(Target::Ptx);
        cubin().or_else(ptx).ok_or_else(|| "expected sm_N or compute_N, with a number N".into())
    }
}

/// The oldest device that the kernels are written for.
pub const OLDEST_DEVICE: Capability = Capability::new(7, 0);

/// Chooses the target for a device, given the compiler's version, what it supports, and the newest
/// CUDA that the driver knows (`None`: there is no driver, as when kernels are only inspected).
///
/// The device's own machine code if the compiler knows the device. Else that of the nearest older
/// capability of the same major version, which runs unchanged. Else the newest PTX that the device
/// can take, which the driver compiles when it is no older than the compiler.
///
/// # Errors
/// [`Error::Target`] if nothing that this compiler makes runs on this device with this driver. It
/// names the package that would.
pub fn choose(
    device: Capability,
    nvrtc: Version,
    supported: &[Capability],
    driver: Option<Version>,
) -> Result<Target> {
    let fail = |reason: String, remedy: String| Err(Error::Target { reason, remedy });
    if device < OLDEST_DEVICE {
        return fail(
            format!("the GPU has compute capability {device}, below {OLDEST_DEVICE}"),
            "use the CPU".into(),
        );
    }
    // The file format of machine code, and the version of PTX, follow the major version. Minor
    // versions of the driver run each other's machine code.
    if let Some(driver) = driver.filter(|driver| nvrtc.major > driver.major) {
        return fail(
            format!("NVRTC {nvrtc} is of a newer major version than the driver's CUDA {driver}"),
            remedy(device, Some(driver)),
        );
    }
    let stand_in = |arch: Capability| {
        arch.major == device.major && arch <= device && !arch.embedded() && !device.embedded()
    };
    let exact = supported.iter().find(|&&arch| arch == device);
    let near = || supported.iter().filter(|&&arch| stand_in(arch)).max();
    if let Some(&arch) = exact.or_else(near) {
        return Ok(Target::Cubin(arch));
    }
    let Some(&arch) = supported.iter().filter(|&&arch| arch <= device).max() else {
        return fail(
            format!("NVRTC {nvrtc} no longer supports a GPU of compute capability {device}"),
            remedy(device, driver),
        );
    };
    match driver {
        Some(driver) if nvrtc > driver => fail(
            format!(
                "NVRTC {nvrtc} has no machine code for compute capability {device}, and its PTX \
                 is too new for the driver's CUDA {driver}"
            ),
            format!("pip install \"nvidia-cuda-nvrtc{}=={driver}.*\"", suffix(driver.major)),
        ),
        _ => Ok(Target::Ptx(arch)),
    }
}

/// The end of the package's name: only those before 13 carry the major version.
fn suffix(major: u32) -> String {
    if major < 13 { format!("-cu{major}") } else { String::new() }
}

/// How to get a compiler that this device and this driver go with.
fn remedy(device: Capability, driver: Option<Version>) -> String {
    const FIRST_OF_13: Capability = Capability::new(7, 5); // 13.0 dropped what is older
    let newest = driver.map_or(u32::MAX, |driver| driver.major);
    match newest {
        0..12 => "update the GPU's driver to 525 or newer".into(),
        12 => "pip install nvidia-cuda-nvrtc-cu12".into(),
        _ if device < FIRST_OF_13 => "pip install nvidia-cuda-nvrtc-cu12".into(),
        13 => "pip install \"nvidia-cuda-nvrtc==13.*\"".into(),
        _ => "pip install nvidia-cuda-nvrtc".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V12_0: &[u32] = &[50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90];
    const V12_9: &[u32] =
        &[50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 101, 103, 120, 121];
    const V13_0: &[u32] = &[75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];
    const V13_5: &[u32] = &[75, 80, 86, 87, 88, 89, 90, 100, 103, 107, 110, 120, 121];

    fn decide(device: u32, nvrtc: (u32, u32), driver: Option<u32>) -> String {
        let archs = match nvrtc {
            (12, 0) => V12_0,
            (12, 9) => V12_9,
            (13, 0) => V13_0,
            _ => V13_5,
        };
        let supported: Vec<_> = archs.iter().copied().map(Capability::from_arch).collect();
        let nvrtc = Version::new(nvrtc.0, nvrtc.1);
        let driver = driver.map(Version::from_driver);
        match choose(Capability::from_arch(device), nvrtc, &supported, driver) {
            Ok(target) => target.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_decision_follows_the_table() {
        for (device, nvrtc, driver, expected) in [
            // The device's own machine code, with any driver of the same major version or newer.
            (70, (12, 9), Some(12020), "sm_70"),
            (75, (13, 5), Some(13000), "sm_75"),
            (80, (13, 5), Some(13000), "sm_80"),
            (89, (12, 0), Some(13000), "sm_89"),
            (90, (13, 5), Some(13000), "sm_90"),
            (90, (13, 5), Some(13050), "sm_90"),
            (90, (13, 5), Some(14000), "sm_90"),
            (90, (12, 9), Some(12000), "sm_90"),
            (90, (13, 5), None, "sm_90"),
            (87, (12, 9), Some(12060), "sm_87"),
            (101, (12, 9), Some(12080), "sm_101"),
            (110, (13, 0), Some(13000), "sm_110"),
            // That of an older one of the same major version.
            (107, (13, 0), Some(13040), "sm_103"),
            (103, (12, 9), Some(13000), "sm_103"),
            (122, (13, 5), Some(13060), "sm_121"),
            (91, (12, 0), Some(13000), "sm_90"),
            // ... but not between cards and embedded modules.
            (110, (12, 9), Some(13000), "compute_103"),
            (88, (12, 9), Some(13000), "compute_87"),
            (111, (13, 5), Some(13050), "compute_110"),
            // PTX, if the driver is as new as the compiler.
            (120, (12, 0), Some(12080), "compute_90"),
            (100, (12, 0), Some(12000), "compute_90"),
            (130, (13, 5), Some(13050), "compute_121"),
            (130, (13, 5), Some(14000), "compute_121"),
            (130, (13, 5), None, "compute_121"),
        ] {
            assert_eq!(decide(device, nvrtc, driver), expected, "{device} {nvrtc:?} {driver:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_package_that_would_do() {
        for (device, nvrtc, driver, parts) in [
            (70, (13, 5), Some(13000), ["7.0", "install nvidia-cuda-nvrtc-cu12"]),
            (72, (13, 0), None, ["NVRTC 13.0", "install nvidia-cuda-nvrtc-cu12"]),
            (90, (13, 5), Some(12080), ["CUDA 12.8", "install nvidia-cuda-nvrtc-cu12"]),
            (90, (14, 1), Some(13010), ["NVRTC 14.1", "install \"nvidia-cuda-nvrtc==13.*\""]),
            (80, (12, 9), Some(11080), ["CUDA 11.8", "update the GPU's driver"]),
            (130, (13, 5), Some(13040), ["CUDA 13.4", "install \"nvidia-cuda-nvrtc==13.4.*\""]),
            (120, (12, 0), Some(11080), ["CUDA 11.8", "update the GPU's driver"]),
            (61, (12, 9), Some(12080), ["6.1, below 7.0", "use the CPU"]),
        ] {
            let text = decide(device, nvrtc, driver);
            for part in parts {
                assert!(text.contains(part), "{device} {nvrtc:?} {driver:?}: {text}");
            }
        }
    }

    #[test]
    fn versions_and_capabilities_read_back() {
        assert_eq!(Version::from_driver(12090), Version::new(12, 9));
        assert_eq!(Version::from_driver(13000).to_string(), "13.0");
        assert_eq!(Capability::from_arch(120), Capability::new(12, 0));
        for arch in [V12_0, V12_9, V13_0, V13_5].concat() {
            assert_eq!(Capability::from_arch(arch).arch(), arch);
        }
        for name in ["sm_90", "compute_120"] {
            assert_eq!(name.parse::<Target>().unwrap().to_string(), name);
        }
        for name in ["", "90", "sm_", "sm_90a", "compute", "lto_90"] {
            assert!(name.parse::<Target>().is_err(), "{name}");
        }
    }
}
