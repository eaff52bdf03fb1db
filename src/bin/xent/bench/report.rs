//! What a run of the benchmark found, as it is written: `benches/report.schema.json` says what each
//! field means. Reports of `benches/peers` have the same form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::Mode;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub schema: u32,
    pub created: String,
    pub command: String,
    pub machine: Machine,
    pub device: Device,
    pub versions: BTreeMap<String, String>,
    pub protocol: Protocol,
    pub results: Vec<Measured>,
    pub missing: Vec<Missing>,
}

/// What [`Report::schema`] is of the reports that this file describes.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub system: String,
    pub processor: String,
    pub processors: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Cpu,
    Cuda,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub kind: Kind,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks_mhz: Option<Clocks>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    pub sm: f64,
    pub memory: f64,
    pub sm_max: f64,
    pub memory_max: f64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    pub rounds: usize,
    pub seed: u64,
    pub quick: bool,
}

/// A contender in one mode of one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub contender: String,
    pub dtype: String,
    pub classes: usize,
    pub rows: usize,
    pub mode: Mode,
    pub option: String,
    pub kernel: Option<String>,
    pub bytes: usize,
    pub seconds: Option<Spread>,
    pub gb_per_s: Option<f64>,
    pub copy_gb_per_s: Option<f64>,
    pub of_copy: Option<f64>,
    pub host_seconds: Option<f64>,
    pub plan_seconds: Option<PlanSeconds>,
    pub error: Option<Error>,
    pub wrong: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSeconds {
    pub cold: f64,
    pub cached: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Error {
    pub loss: f64,
    pub gradient: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    pub contender: String,
    pub reason: String,
}
