//! Reports of benchmarks, in the form that is documented.

use std::path::Path;

use serde_json::Value;

/// A report, which has the form of `benches/report.schema.json`.
pub fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let report: Value = serde_json::from_str(&text).unwrap();
    let schema = include_str!("../../benches/report.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{}: {wrong:#?}", file.display());
    report
}
