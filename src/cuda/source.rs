//! The sources of the kernels, which are part of the library: the files of the folder `cuda`.

/// Names the files; each is a line.
macro_rules! files {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../../cuda/", $name))),)*]
    };
}

/// Names and texts, for NVRTC as named headers.
pub const FILES: &[(&str, &str)] = files![
    "cast.cu",
    "cluster.cuh",
    "columns.cu",
    "columns.cuh",
    "count.cu",
    "element.cuh",
    "elements.cu",
    "elements.cuh",
    "faint.cuh",
    "finish.cu",
    "gradient.cuh",
    "group.cuh",
    "held.cuh",
    "hessian.cu",
    "log.cuh",
    "loss.cuh",
    "numeric.cuh",
    "part.cuh",
    "pieces.cuh",
    "prelude.cuh",
    "problem.cuh",
    "reduce.cuh",
    "registers.cu",
    "renormalise.cu",
    "row.cuh",
    "running.cuh",
    "softmax.cu",
    "stream.cu",
    "sums.cuh",
    "tensor.cuh",
    "terms.cuh",
    "tile.cuh",
    "vector.cuh",
];

/// The text of a file.
pub fn text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(file, _)| *file == name).map(|&(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_table_and_the_folder_agree() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name.ends_with(".cuh") || name.ends_with(".cu")).collect();
        names.sort();
        let mut table: Vec<_> = FILES.iter().map(|&(name, _)| name).collect();
        table.sort();
        assert_eq!(table, names, "src/cuda/source.rs lists what {} holds", folder.display());
        for name in names {
            let file = std::fs::read_to_string(folder.join(&name)).unwrap();
            assert_eq!(text(&name), Some(file.as_str()));
        }
        assert_eq!(text("none.cuh"), None);
    }
}
