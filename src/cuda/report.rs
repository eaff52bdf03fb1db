//! What the compiler says of what it made, read from the log of a compilation.

use super::error::Location;

/// What one function needs of the machine. All sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers per thread; 0 for a function that is called, whose registers its callers count.
    pub registers: u32,
    /// Local memory per thread, for spills and arrays that are not in registers.
    pub stack: u32,
    /// Stored to local memory for want of registers; each store in the code counts once.
    pub spill_stores: u32,
    /// Loaded back.
    pub spill_loads: u32,
    /// Shared memory per block, without what the launch adds.
    pub shared: u32,
}

/// A function of the machine code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in the machine code.
    pub name: String,
    /// Whether it is a kernel; else a function that was not inlined.
    pub kernel: bool,
    /// What it needs.
    pub resources: Resources,
}

/// Reads the functions from a log of `--ptxas-options=-v`.
pub fn functions(log: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    // "Compiling entry function" and "Function properties" of a kernel come one after the other,
    // and other kernels' lines do not come between; the functions that it calls come after.
    let mut current = None;
    for line in log.lines() {
        let name = |text: &str| text.split('\'').nth(1).map(str::to_owned);
        if let Some((_, rest)) = line.split_once("Compiling entry function ") {
            let Some(name) = name(rest) else { continue };
            current = Some(functions.len());
            functions.push(Function { name, kernel: true, resources: Resources::default() });
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            let name = name.trim().trim_matches('\'');
            let known = functions.iter().position(|function| function.name == name);
            current = Some(known.unwrap_or_else(|| {
                let resources = Resources::default();
                functions.push(Function { name: name.to_owned(), kernel: false, resources });
                functions.len() - 1
            }));
        } else if let Some(index) = current {
            let resources = &mut functions[index].resources;
            // 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
            // Used 10 registers, used 1 barriers, 128 bytes smem, 360 bytes cmem[0]
            for part in line.split([',', ':']) {
                for (end, field) in [
                    ("bytes stack frame", &mut resources.stack),
                    ("bytes spill stores", &mut resources.spill_stores),
                    ("bytes spill loads", &mut resources.spill_loads),
                    ("bytes smem", &mut resources.shared),
                    ("registers", &mut resources.registers),
                ] {
                    if let Some(number) = part.trim().strip_suffix(end) {
                        let word = number.split_whitespace().last();
                        *field = word.and_then(|word| word.parse().ok()).unwrap_or(*field);
                    }
                }
            }
        }
    }
    functions
}

/// Finds the first error with a place.
pub fn first_error(log: &str) -> Option<Location> {
    log.lines().find_map(|line| located(line).or_else(|| located_in_ptx(line)))
}

/// `reduce.cuh(3): error: identifier "x" is undefined`
fn located(line: &str) -> Option<Location> {
    let (place, rest) = line.split_once("): ")?;
    let (file, number) = place.rsplit_once('(')?;
    let kind = rest.split_once(':')?.0;
    let error = kind.split_whitespace().any(|word| word == "error");
    let line = number.parse().ok().filter(|_| error)?;
    Some(Location { file: file.trim().to_owned(), line, message: rest.trim().to_owned() })
}

/// `ptxas application ptx input, line 21; error   : Unknown modifier '.such'`
fn located_in_ptx(line: &str) -> Option<Location> {
    let (place, rest) = line.split_once("; error")?;
    let (file, number) = place.split_once(", line ")?;
    let message = format!("error: {}", rest.trim_start_matches([' ', ':']));
    Some(Location { file: file.to_owned(), line: number.parse().ok()?, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NVRTC 12.9 for sm_70. 13.5 says the same, 12.0 leaves out the barriers and the time.
    const LOG: &str = "\
nvrtc: warning: Architectures prior to '<compute/sm>_75' are deprecated and may be removed
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5spillIfEvPT_i' for 'sm_70'
ptxas info    : Function properties for _Z5spillIfEvPT_i
ptxas         .     912 bytes stack frame, 580 bytes spill stores, 708 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 912 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Compile time = 80.473 ms
ptxas info    : Function properties for _Z4slowPfi
ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Compiling entry function '_Z1kIfLi32EEvPT_' for 'sm_70'
ptxas info    : Function properties for _Z1kIfLi32EEvPT_
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 2 barriers, 128 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 1.132 ms
";

    #[test]
    fn a_log_is_read_function_by_function() {
        let function =
            |name: &str, kernel, resources| Function { name: name.to_owned(), kernel, resources };
        let spill =
            Resources { registers: 32, stack: 912, spill_stores: 580, spill_loads: 708, shared: 0 };
        let slow = Resources { stack: 16, spill_stores: 4, spill_loads: 8, ..Default::default() };
        let k = Resources { registers: 10, shared: 128, ..Default::default() };
        assert_eq!(
            functions(LOG),
            [
                function("_Z5spillIfEvPT_i", true, spill),
                function("_Z4slowPfi", false, slow),
                function("_Z1kIfLi32EEvPT_", true, k),
            ]
        );
    }

    #[test]
    fn a_log_in_another_form_is_no_report_and_no_panic() {
        for log in ["", "ptxas info", "Compiling entry function _Z1k", "registers", "): ", "(: )"] {
            assert_eq!(functions(log), []);
            assert_eq!(first_error(log), None);
        }
    }

    #[test]
    fn the_first_error_is_found_among_warnings() {
        let log = "main.cu(2): warning #177-D: variable \"error\" was declared\n  int error;\n\
                   a(b).cuh(31): error: identifier \"x\" is undefined\nmain.cu(9): error: more\n";
        let location = first_error(log).unwrap();
        assert_eq!((location.file.as_str(), location.line), ("a(b).cuh", 31));
        assert_eq!(location.message, "error: identifier \"x\" is undefined");
        let log = "main.cu(1): catastrophic error: cannot open source file \"none.cuh\"\n";
        assert_eq!(first_error(log).unwrap().line, 1);
        assert_eq!(first_error("main.cu(1): warning: no error: none\n"), None);
        let log = "ptxas application ptx input, line 21; error   : Unknown modifier '.such'\n";
        let location = first_error(log).unwrap();
        assert_eq!((location.file.as_str(), location.line), ("ptxas application ptx input", 21));
        assert_eq!(location.message, "error: Unknown modifier '.such'");
    }
}
