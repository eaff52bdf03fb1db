//! Settings, from the environment or from a test; the README lists them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// What the stand-in pretends to be.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Compute capability of each device: 90 for 9.0.
    pub devices: Vec<u32>,
    pub driver_version: i32,
    /// Bytes of each device.
    pub memory: u64,
    pub multiprocessors: Option<u32>,
    /// The most CTAs of a cluster, where it is not the device's own limit.
    pub cluster: Option<u32>,
    /// What `cuInit` returns.
    pub init: i32,
    pub seed: u64,
    /// Whether approximations are off by up to 2 ulp.
    pub noise: bool,
    /// What fresh memory holds; `None`: nothing, and reading it is a fault.
    pub fill: Option<u8>,
    pub fail: String,
    pub forbid: String,
    pub log: Option<PathBuf>,
    /// Whether a process with leaks or violations ends with [`CHECK_FAILED`].
    pub check: bool,
    /// Settings that make no sense; `cuInit` says so and fails.
    pub errors: Vec<String>,
}

/// How a process ends whose leaks or violations were to be checked.
pub(crate) const CHECK_FAILED: i32 = 86;

impl Config {
    /// Those of the environment, where `own` has none, a line `NAME=value` each.
    pub fn read(own: &str) -> Config {
        let pairs = own.lines().filter_map(|line| line.trim().split_once('='));
        let own: BTreeMap<&str, &str> = pairs.collect();
        let mut errors = Vec::new();
        let mut text = |name: &str| {
            let value = own.get(name).map(|&value| value.to_owned());
            value.or_else(|| std::env::var(name).ok()).unwrap_or_default()
        };
        let devices = text("XENT_SIM_DEVICES");
        let devices = if devices.is_empty() { "9.0".to_owned() } else { devices };
        let devices = devices.split(',').map(str::trim).filter(|device| *device != "none");
        let devices = devices.filter_map(|device| {
            let found = capability(device);
            if found.is_none() {
                errors.push(format!("XENT_SIM_DEVICES: {device} is no compute capability"));
            }
            found
        });
        let devices = devices.collect();
        let mut config = Config {
            devices,
            driver_version: 13000,
            memory: 4 << 30,
            multiprocessors: None,
            cluster: None,
            init: 0,
            seed: 0,
            noise: false,
            fill: None,
            fail: text("XENT_SIM_FAIL"),
            forbid: text("XENT_SIM_FORBID"),
            log: Some(text("XENT_SIM_LOG")).filter(|path| !path.is_empty()).map(PathBuf::from),
            check: false,
            errors: Vec::new(),
        };
        number(&mut text, &mut errors, "XENT_SIM_DRIVER_VERSION", &mut config.driver_version);
        number(&mut text, &mut errors, "XENT_SIM_MEMORY", &mut config.memory);
        number(&mut text, &mut errors, "XENT_SIM_INIT", &mut config.init);
        number(&mut text, &mut errors, "XENT_SIM_SEED", &mut config.seed);
        let (mut noise, mut check) = (0u8, 0u8);
        number(&mut text, &mut errors, "XENT_SIM_NOISE", &mut noise);
        number(&mut text, &mut errors, "XENT_SIM_CHECK", &mut check);
        (config.noise, config.check) = (noise != 0, check != 0);
        let mut optional = |name| {
            let mut value = u32::MAX;
            number(&mut text, &mut errors, name, &mut value);
            Some(value).filter(|&value| value != u32::MAX)
        };
        config.multiprocessors = optional("XENT_SIM_MULTIPROCESSORS");
        config.cluster = optional("XENT_SIM_CLUSTER");
        config.fill = optional("XENT_SIM_FILL").map(|byte| byte as u8);
        config.errors = errors;
        config
    }
}

/// 90 of "9.0".
fn capability(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once('.')?;
    Some(10 * major.parse::<u32>().ok()? + minor.parse::<u32>().ok().filter(|&minor| minor < 10)?)
}

fn number<T: FromStr>(
    text: &mut impl FnMut(&str) -> String,
    errors: &mut Vec<String>,
    name: &str,
    value: &mut T,
) {
    let given = text(name);
    match given.trim().parse() {
        Ok(parsed) => *value = parsed,
        Err(_) if given.is_empty() => {}
        Err(_) => errors.push(format!("{name}: {given} is no number that it takes")),
    }
}
