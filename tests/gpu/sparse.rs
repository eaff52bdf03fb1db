//! Tensors that are too large to exist: their content is a rule, and chosen rows of them are run.

use std::sync::Arc;

use xent::cuda::params::{self, Params};
use xent::cuda::variant::Variant;
use xent::{DType, Outputs, Problem};
use xent_simulator::{Error, Fill, Memory};

use super::check::Fault;
use super::launch::launch;
use super::run::{How, decode, encode, run};
use crate::common::{Case, Output, Target, round};

/// Rows of a batch by the rules below.
#[derive(Clone, Debug)]
pub struct Sparse {
    /// Its targets are `i64`.
    pub problem: Problem,
    pub rows: u64,
    /// Elements between the beginnings of two rows.
    pub stride: u64,
}

/// The logit at an element of the memory of a tensor; of rows that are 2^31 or 2^32 elements or
/// bytes apart, not the same.
fn logit(element: u64, dtype: DType) -> f64 {
    let mixed = (element ^ (element >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    round(mixed as f64 / f64::from(1 << 21) - 4.0, dtype)
}

fn target(row: u64, classes: usize) -> i64 {
    (((row ^ (row >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % classes as u64) as i64
}

/// Bytes from an offset on, of elements of so many bytes each.
fn rule(size: usize, bytes: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Fill {
    Fill::Rule(Arc::new(move |offset, out| {
        let mut element = offset / size as u64;
        let mut skip = (offset % size as u64) as usize;
        let mut done = 0;
        while done < out.len() {
            let own = bytes(element);
            let count = (size - skip).min(out.len() - done);
            out[done..done + count].copy_from_slice(&own[skip..skip + count]);
            (done, skip, element) = (done + count, 0, element + 1);
        }
    }))
}

impl Sparse {
    fn element(&self, row: u64) -> u64 {
        row * self.stride
    }

    /// A row as a case of its own.
    fn alone(&self, row: u64) -> Case {
        let first = self.element(row);
        let classes = self.problem.classes;
        let logits = (first..first + classes as u64).map(|e| logit(e, self.problem.logits));
        let case = Case::new(self.problem.clone(), 1, logits.collect(), 0);
        let problem = self.problem.clone();
        Case { problem, target: Target::Classes(vec![target(row, classes)]), ..case }
    }

    /// Runs the CTAs of the chosen rows, and holds each row's results against those of the row
    /// alone, bit for bit. Nothing else may be written. `backward`: the gradient alone.
    pub fn check(
        &self,
        chosen: &[u64],
        how: &How,
        variant: &Variant,
        backward: Option<&Variant>,
    ) -> Result<(), Fault> {
        let problem = &self.problem;
        let (classes, size) = (problem.classes, problem.logits.size() as u64);
        let (logits_type, gradient_type) = (problem.logits, problem.dlogits);
        let mut memory = Memory::new();
        let length = self.element(self.rows - 1) + classes as u64;
        let content = rule(size as usize, move |e| encode(&[logit(e, logits_type)], logits_type));
        let logits = memory.allocate("logits", length * size, how.logits_offset * size, content);
        let targets = rule(8, move |row| target(row, classes).to_le_bytes().to_vec());
        let targets = memory.allocate("targets", 8 * self.rows, 0, targets);
        for input in [logits, targets] {
            memory.protect(input.address(), true).map_err(Fault::Access)?;
        }
        let gradient_size = gradient_type.size() as u64;
        let dlogits = memory.allocate(
            "dlogits",
            length * gradient_size,
            how.dlogits_offset * gradient_size,
            Fill::Unwritten,
        );
        let mut column = |name, bytes: u64| {
            memory.allocate(name, bytes * self.rows, 0, Fill::Unwritten).address()
        };
        let params = Params {
            logits: logits.address(),
            dlogits: dlogits.address(),
            targets: targets.address(),
            loss: column("loss", 4),
            lse: column("lse", 4),
            stats: column("stats", 8),
            argmax: column("argmax", 8),
            correct: column("correct", 1),
            logits_stride: self.stride as i64,
            dlogits_stride: self.stride as i64,
            rows: self.rows as i64,
            target_type: params::target_type(problem.targets),
            ..Params::new(problem)
        };
        let groups: Vec<u64> = {
            let mut groups: Vec<u64> =
                chosen.iter().map(|row| row / u64::from(variant.rows)).collect();
            groups.dedup();
            groups
        };
        let rows: Vec<u64> = groups
            .iter()
            .flat_map(|group| {
                (0..u64::from(variant.rows)).map(move |i| group * u64::from(variant.rows) + i)
            })
            .filter(|row| *row < self.rows)
            .collect();
        let run_all = |variant: &Variant, memory: &mut Memory| {
            launch(how, variant, self.rows, &groups, params.to_bytes(), memory)
        };
        run_all(variant, &mut memory).map_err(Fault::Access)?;
        if let Some(backward) = backward {
            let written = memory.count_written(dlogits.address()).map_err(Fault::Access)?;
            for row in &rows {
                let at = dlogits.address() + self.element(*row) * gradient_size;
                let bytes = classes * gradient_size as usize;
                memory.forget(at, bytes).map_err(Fault::Access)?;
            }
            run_all(backward, &mut memory).map_err(Fault::Access)?;
            let again = memory.count_written(dlogits.address()).map_err(Fault::Access)?;
            if written != again {
                return Err(Fault::Result(format!("{again} bytes of the gradient, not {written}")));
            }
        }
        let mut read = |at: u64, bytes: u64| memory.read(at, bytes as usize).map_err(Fault::Access);
        for &row in &rows {
            let expected = self.expected(row, how, variant).map_err(Fault::Access)?;
            let at = dlogits.address() + self.element(row) * gradient_size;
            let found = Output {
                loss: floats(&read(params.loss + 4 * row, 4)?),
                lse: floats(&read(params.lse + 4 * row, 4)?),
                stats: floats(&read(params.stats + 8 * row, 8)?),
                argmax: vec![integer(&read(params.argmax + 8 * row, 8)?)],
                correct: read(params.correct + row, 1)?[0].into(),
                dlogits: decode(&read(at, classes as u64 * gradient_size)?, gradient_type),
                entropy: vec![],
            };
            if found != expected {
                let what = format!("row {row} of {self:?}: loss {:?}", found.loss);
                return Err(Fault::Result(format!("{what}, alone {:?}", expected.loss)));
            }
        }
        for (name, at, bytes) in [
            ("dlogits", dlogits.address(), classes as u64 * gradient_size),
            ("loss", params.loss, 4),
            ("lse", params.lse, 4),
            ("stats", params.stats, 8),
            ("argmax", params.argmax, 8),
            ("correct", params.correct, 1),
        ] {
            let written = memory.count_written(at).map_err(Fault::Access)?;
            if written != bytes * rows.len() as u64 {
                return Err(Fault::Result(format!("{written} bytes of {name}")));
            }
        }
        Ok(())
    }

    /// The results of a row alone, at the same place of a line of 128 bytes.
    fn expected(&self, row: u64, how: &How, variant: &Variant) -> Result<Output, Error> {
        let case = self.alone(row);
        let how = How {
            logits_offset: (how.logits_offset + self.element(row)) % 128,
            dlogits_offset: (how.dlogits_offset + self.element(row)) % 128,
            ..how.clone()
        };
        Ok(run(&case, &how, variant, None)?.0)
    }
}

/// What [`Sparse::check`] asks for.
pub const OUTPUTS: Outputs = Outputs::LOSS
    .union(Outputs::LSE)
    .union(Outputs::STATS)
    .union(Outputs::ARGMAX)
    .union(Outputs::CORRECT)
    .union(Outputs::DLOGITS);

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()
}

fn integer(bytes: &[u8]) -> i64 {
    i64::from_ne_bytes(bytes.try_into().unwrap())
}
