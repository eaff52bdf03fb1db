//! Calls through raw views, of which a test breaks one thing: null, misaligned, overlapping.
#![allow(unsafe_code)] // what safe views cannot be

use std::collections::BTreeMap;

use xent::{
    Args, BackwardArgs, DType, Denominator, Error, Layout, Outputs, Problem, Reduction, Tensor,
    View, ViewMut, Workspace,
};

use super::{context, logit_types, on_gpu, plan};

pub const ROWS: usize = 3;
pub const CLASSES: usize = 4;

/// One call, with its buffers in one piece of memory.
#[derive(Clone)]
pub struct Call {
    pub problem: Problem,
    pub buffers: BTreeMap<&'static str, Buffer>,
    pub targets: Vec<i64>,
    pub denominator: Denominator,
    pub backward: bool,
}

#[derive(Clone, Copy)]
pub struct Buffer {
    pub dtype: DType,
    pub len: usize,
    /// Bytes from the start of the memory.
    pub at: usize,
    pub layout: Option<Layout>,
    pub null: bool,
}

/// Where each buffer has its page.
pub const FIELDS: [&str; 13] = [
    "logits",
    "targets",
    "class_weights",
    "row_weights",
    "dloss",
    "stats",
    "dlogits",
    "loss",
    "lse",
    "argmax",
    "correct",
    "entropy",
    "workspace",
];
const INPUTS: [&str; 5] = ["logits", "targets", "class_weights", "row_weights", "dloss"];
pub const PAGE: usize = 512;

/// The workspace, which comes last, may have several pages.
const SIZE: usize = (FIELDS.len() + 128) * PAGE;

/// Memory of the device of the process, for all buffers of a call.
struct Memory {
    bytes: Tensor,
    /// Where the buffers begin.
    start: usize,
}

impl Memory {
    fn new(contents: &[u8; SIZE]) -> Memory {
        let mut bytes = Tensor::zeros(DType::U8, &[SIZE + PAGE]).unwrap();
        // What a GPU allocates is aligned.
        let start = if on_gpu() { 0 } else { bytes.as_ptr().addr().wrapping_neg() % PAGE };
        bytes.as_mut_slice().unwrap()[start..start + SIZE].copy_from_slice(contents);
        Memory { bytes: if on_gpu() { bytes.to(&context()).unwrap() } else { bytes }, start }
    }

    fn address(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr().wrapping_add(self.start)
    }

    fn contents(&self) -> Vec<u8> {
        self.bytes.to_vec().unwrap()[self.start..self.start + SIZE].to_vec()
    }
}

impl Call {
    /// A call of all buffers that a problem with these types can have.
    pub fn new(logits: DType, targets: DType, backward: bool) -> Call {
        let problem = Problem::new(logits, CLASSES)
            .targets(targets)
            .class_weights(true)
            .row_weights(true)
            .reduction(Reduction::None)
            .outputs(Outputs::CROSS_ENTROPY);
        let companion = logits.companion();
        let target_count = if targets.is_float() { ROWS * CLASSES } else { ROWS };
        let sizes = [
            (logits, ROWS * CLASSES),
            (targets, target_count),
            (companion, CLASSES),
            (companion, ROWS),
            (companion, ROWS),
            (companion, 2 * ROWS),
            (logits, ROWS * CLASSES),
            (companion, ROWS),
            (companion, ROWS),
            (DType::I64, ROWS),
            (DType::I64, 1),
            (companion, ROWS),
            (DType::U8, plan(&problem).unwrap().workspace_size(ROWS)),
        ];
        let buffer = |slot: usize, (dtype, len)| Buffer {
            dtype,
            len,
            at: slot * PAGE,
            layout: None,
            null: false,
        };
        let all = FIELDS.into_iter().zip(sizes).enumerate();
        let unused = ["loss", "lse", "argmax", "correct", "entropy"];
        Call {
            problem,
            buffers: all
                .map(|(slot, (field, size))| (field, buffer(slot, size)))
                .filter(|(field, _)| !(backward && unused.contains(field)))
                .collect(),
            targets: vec![0, 3, 1],
            denominator: Denominator::Default,
            backward,
        }
    }

    pub fn edit(mut self, field: &str, edit: impl FnOnce(&mut Buffer)) -> Call {
        edit(self.buffers.get_mut(field).unwrap());
        self
    }

    pub fn layout(self, field: &str, layout: Layout) -> Call {
        self.edit(field, |buffer| buffer.layout = Some(layout))
    }

    pub fn without(mut self, field: &str) -> Call {
        self.buffers.remove(field);
        self
    }

    pub fn problem(mut self, edit: impl FnOnce(Problem) -> Problem) -> Call {
        self.problem = edit(self.problem);
        self
    }

    pub fn is_output(&self, field: &str) -> bool {
        !(INPUTS.contains(&field) || self.backward && field == "stats")
    }

    fn contents(&self) -> [u8; SIZE] {
        let mut contents = [0xa5; SIZE];
        for (field, buffer) in &self.buffers {
            if self.is_output(field) {
                continue;
            }
            let numbers = (0..buffer.len.min(64)).flat_map(|i| match buffer.dtype {
                DType::F32 => 0.25f32.to_ne_bytes().to_vec(),
                DType::F16 | DType::BF16 => 0x3e80u16.to_ne_bytes().to_vec(),
                DType::F64 => 0.25f64.to_ne_bytes().to_vec(),
                DType::I64 => self.targets[i % 3].to_ne_bytes().to_vec(),
                DType::I32 => (self.targets[i % 3] as i32).to_ne_bytes().to_vec(),
                DType::U32 => (self.targets[i % 3] as u32).to_ne_bytes().to_vec(),
                _ => vec![self.targets[i % 3] as u8],
            });
            let at = FIELDS.iter().position(|name| name == field).unwrap() * PAGE;
            contents[at..].iter_mut().zip(numbers).for_each(|(byte, number)| *byte = number);
        }
        contents
    }

    /// Runs the call; on success returns the fields whose memory changed, in which case all of it
    /// did. After an error, none but the workspace may have changed.
    pub fn run(&self) -> Result<Vec<&'static str>, Error> {
        let before = self.contents();
        let mut memory = Memory::new(&before);
        let result = self.run_in(memory.address());
        let after = memory.contents();
        let page = |bytes: &[u8], slot: usize| bytes[slot * PAGE..(slot + 1) * PAGE].to_vec();
        let changed = (0..FIELDS.len())
            .filter(|&slot| page(&before, slot) != page(&after, slot))
            .map(|slot| FIELDS[slot])
            .filter(|&field| field != "workspace")
            .collect::<Vec<_>>();
        assert!(result.is_ok() || changed.is_empty(), "{result:?}, but {changed:?} changed");
        result.map(|()| changed)
    }

    fn run_in(&self, memory: *mut u8) -> xent::Result<()> {
        let plan = plan(&self.problem)?;
        let address = |buffer: &Buffer| match buffer.null {
            true => std::ptr::null_mut(),
            false => memory.wrapping_add(buffer.at),
        };
        let input = |field: &str| {
            self.buffers.get(field).map(|b| {
                // SAFETY: the memory holds each buffer, or the call is refused before any access.
                let view = unsafe { View::from_raw(address(b), b.len, b.dtype) };
                b.layout.map_or(view, |layout| view.layout(layout))
            })
        };
        let output = |field: &str| {
            self.buffers.get(field).map(|b| {
                // SAFETY: as for inputs; nobody else uses the memory.
                let view = unsafe { ViewMut::from_raw(address(b), b.len, b.dtype) };
                match b.layout {
                    Some(layout) => view.layout(layout),
                    None => view,
                }
            })
        };
        let space = self.buffers["workspace"];
        // SAFETY: as for outputs.
        let mut workspace = unsafe { Workspace::from_raw(address(&space), space.len) };
        let targets = input("targets").unwrap();
        let in_place = self.problem.in_place && !self.buffers.contains_key("dlogits");

        macro_rules! give {
            ($args:ident, $kind:ident: $($field:ident)*) => {$(
                if let Some(view) = $kind(stringify!($field)) {
                    $args = $args.$field(view);
                }
            )*};
        }
        if self.backward {
            let stats = input("stats").unwrap();
            let mut args = match in_place {
                true => BackwardArgs::in_place(output("logits").unwrap(), targets, stats),
                false => {
                    let (logits, dlogits) = (input("logits").unwrap(), output("dlogits").unwrap());
                    BackwardArgs::new(logits, targets, stats, dlogits)
                }
            };
            give!(args, input: class_weights row_weights dloss);
            return plan.backward(args.denominator(self.denominator), &mut workspace);
        }
        let mut args = match in_place {
            true => Args::in_place(output("logits").unwrap(), targets),
            false => Args::new(input("logits").unwrap(), targets),
        };
        give!(args, input: class_weights row_weights dloss);
        give!(args, output: loss lse stats dlogits argmax correct entropy);
        plan.run(args.denominator(self.denominator), &mut workspace)
    }

    /// Asserts that the call is refused by this variant with this text, in which `*` stands for
    /// anything.
    pub fn refused(&self, what: &str, variant: &str, text: &str) {
        match self.run() {
            Ok(_) => panic!("{what}: accepted"),
            Err(error) => assert_error(what, &error, variant, text),
        }
    }
}

pub fn assert_error(what: &str, error: &Error, variant: &str, text: &str) {
    let debug = format!("{error:?}");
    assert!(debug.starts_with(variant), "{what}: {debug} is no {variant}");
    let actual = error.to_string();
    let same = match text.split_once('*') {
        None => actual == text,
        Some((start, end)) => actual.starts_with(start) && actual.ends_with(end),
    };
    assert!(same, "{what}:\n  got    {actual}\n  wanted {text}");
}

/// Forward and backward calls with indices, probabilities, and where there are any f64 logits.
pub fn calls() -> Vec<Call> {
    let types = [
        (DType::F32, DType::I64),
        (DType::BF16, DType::U8),
        (DType::F32, DType::F16),
        (DType::F64, DType::I32),
        (DType::F64, DType::F64),
    ];
    let types = types.into_iter().filter(|(logits, _)| logit_types().contains(logits));
    types.flat_map(|(l, t)| [false, true].map(|back| Call::new(l, t, back))).collect()
}

pub fn forward() -> Call {
    Call::new(DType::F32, DType::I64, false)
}
