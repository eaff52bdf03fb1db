//! The tables of speeds in the README are those of the reports in `benches/results`.
//!
//! ```sh
//! XENT_UPDATE_README=1 cargo test --test readme
//! ```

#[path = "common/report.rs"]
mod report;

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Before and after a table; between them is the name of its report.
const BEGIN: &str = "<!-- the table of ";
const NAMED: &str = " -->\n";
const END: &str = "<!-- end of the table -->";

/// Contenders by the names that their columns have.
const PEERS: [(&str, &str); 8] = [
    ("torch", "PyTorch"),
    ("torch best", "its best"),
    ("torch.compile", "torch.compile"),
    ("liger", "Liger"),
    ("flash-attn", "flash-attn"),
    ("quack", "quack"),
    ("jax", "JAX"),
    ("candle", "candle"),
];

/// Of loss and gradient: the library's time by that of a copy, and the peers' by the library's.
fn table(report: &Value) -> String {
    let results = report["results"].as_array().unwrap();
    let fused =
        || results.iter().filter(|result| result["mode"] == "fused" && result["wrong"].is_null());
    let seconds = |result: &Value| result["seconds"]["median"].as_f64().unwrap();
    let by =
        |contender: &'static str| fused().filter(move |result| result["contender"] == contender);
    let peers: Vec<_> = PEERS.into_iter().filter(|(peer, _)| by(peer).next().is_some()).collect();
    let mut table = String::from("| type | classes | rows | xent / copy |");
    peers.iter().for_each(|(_, name)| write!(table, " {name} |").unwrap());
    table += "\n| --- | ---: | ---: | ---: |";
    table += &" ---: |".repeat(peers.len());
    table.push('\n');
    for ours in by("xent") {
        let [dtype, classes, rows] = ["dtype", "classes", "rows"].map(|field| &ours[field]);
        let of_copy = 1.0 / ours["of_copy"].as_f64().unwrap();
        let dtype_name = dtype.as_str().unwrap();
        write!(table, "| {dtype_name} | {classes} | {rows} | {of_copy:.2} |").unwrap();
        for (peer, _) in &peers {
            let same = |result: &&Value| {
                [("dtype", dtype), ("classes", classes), ("rows", rows)]
                    .into_iter()
                    .all(|(field, value)| &result[field] == value)
            };
            match by(peer).find(same) {
                Some(theirs) => write!(table, " {:.1} |", seconds(theirs) / seconds(ours)).unwrap(),
                None => table += " - |",
            }
        }
        table.push('\n');
    }
    table
}

/// The text with all its tables made anew.
fn with_tables(text: &str) -> String {
    let mut parts = text.split(BEGIN);
    let mut made = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(NAMED).expect(NAMED);
        let (_, after) = rest.split_once(END).expect(END);
        let report = report::read(&Path::new(ROOT).join(name));
        made += &format!("{BEGIN}{name}{NAMED}{}{END}{after}", table(&report));
    }
    made
}

#[test]
fn its_tables_are_those_of_the_results() {
    let file = Path::new(ROOT).join("README.md");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(BEGIN));
    let made = with_tables(&text);
    if std::env::var_os("XENT_UPDATE_README").is_some() {
        return std::fs::write(file, made).unwrap();
    }
    assert_eq!(text, made, "run: XENT_UPDATE_README=1 cargo test --test readme");
}

#[test]
fn all_results_have_the_documented_form() {
    let folders = std::fs::read_dir(Path::new(ROOT).join("benches/results")).unwrap();
    for folder in folders.map(|folder| folder.unwrap().path()).filter(|path| path.is_dir()) {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|name| name == "json")) {
            report::read(&file);
        }
    }
}

#[test]
fn a_table_has_a_column_for_each_peer_and_a_dash_where_it_is_missing() {
    let result = |contender: &str, classes: usize, median: f64| {
        serde_json::json!({
            "contender": contender, "dtype": "bf16", "classes": classes, "rows": 8, "mode": "fused",
            "seconds": {"median": median}, "of_copy": 0.8, "wrong": null,
        })
    };
    let mut wrong = result("liger", 10, 1.0);
    wrong["wrong"] = "the loss".into();
    let results = [
        result("xent", 10, 2.0),
        result("torch", 10, 5.0),
        result("xent", 20, 1.0),
        result("torch", 20, 4.0),
        result("jax", 20, 3.0),
        wrong,
    ];
    let expected = "\
        | type | classes | rows | xent / copy | PyTorch | JAX |\n\
        | --- | ---: | ---: | ---: | ---: | ---: |\n\
        | bf16 | 10 | 8 | 1.25 | 2.5 | - |\n\
        | bf16 | 20 | 8 | 1.25 | 4.0 | 3.0 |\n";
    assert_eq!(table(&serde_json::json!({ "results": results })), expected);
}
