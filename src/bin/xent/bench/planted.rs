//! Contenders that compute wrong, and must get no speed.

use xent::{ContextOptions, DType, Result};

use super::buffers::Call;
use super::cell::{Cell, Mode, Setting};
use super::contender::{Contender, Library};
use super::device::{self, Block, Machine};
use super::inputs::{Inputs, numbers};
use super::measure;
use super::report::Measured;
use crate::device::Choice;

/// What is wrong.
#[derive(Clone, Copy)]
enum Bug {
    None,
    /// This class does not take part.
    DroppedColumn(usize),
    /// Of a gradient, all but these classes of the rows.
    ZeroOffTarget,
    /// The last row is not written.
    UnwrittenRow,
}

/// The library with a bug.
struct Wrong<'a> {
    right: Library,
    bug: Bug,
    machine: &'a dyn Machine,
    targets: &'a [i64],
}

impl Wrong<'_> {
    /// Sets elements of a block.
    fn set(&self, block: &Block, cell: &Cell, value: f32, chosen: impl Fn(usize, usize) -> bool) {
        let size = cell.dtype.size();
        let mut bytes = self.machine.read(block).unwrap();
        for (at, element) in bytes.chunks_mut(size).enumerate() {
            if chosen(at / cell.classes, at % cell.classes) {
                // The upper half of an f32 is a bf16.
                element.copy_from_slice(&value.to_le_bytes()[4 - size..]);
            }
        }
        self.machine.write(block, &bytes).unwrap();
    }
}

impl Contender for Wrong<'_> {
    fn mode(&self) -> Mode {
        self.right.mode()
    }

    fn kernel(&self) -> &str {
        "wrong"
    }

    fn run(&mut self, call: &Call<'_>) -> Result<()> {
        let (logits, gradient) = &call.buffers.sets[call.set];
        let cell = call.buffers.cell;
        let input = if self.mode() == Mode::InPlace { gradient } else { logits };
        match self.bug {
            Bug::DroppedColumn(dropped) => {
                let before = self.machine.read(input).unwrap();
                self.set(input, &cell, f32::NEG_INFINITY, |_, class| class == dropped);
                self.right.run(call)?;
                if self.mode() != Mode::InPlace {
                    self.machine.write(input, &before).unwrap();
                }
                return Ok(());
            }
            Bug::UnwrittenRow if call.rows.len() > 1 => {
                let rows = call.rows.start..call.rows.end - 1;
                let denominator = Some(call.rows.len() as f64);
                return self.right.run(&Call { rows, denominator, ..call.clone() });
            }
            _ => self.right.run(call)?,
        }
        if let Bug::ZeroOffTarget = self.bug {
            let is_off = |row, class| call.rows.contains(&row) && self.targets[row] != class as i64;
            self.set(gradient, &cell, 0.0, is_off);
        }
        Ok(())
    }
}

/// What the benchmark says of a bug.
fn measured(bug: Bug, mode: Mode, dtype: DType, rows: usize, classes: usize) -> Measured {
    let machine = device::open(Choice::Cpu, 1, ContextOptions::default()).unwrap();
    let cell = Cell { dtype, classes, rows, setting: Setting::None };
    let inputs = Inputs::new(cell, 5);
    let targets = inputs.targets();
    let targets: Vec<i64> = targets.as_chunks().0.iter().map(|&y| i64::from_ne_bytes(y)).collect();
    let bug = match bug {
        // A class that is no row's target, or the loss would be infinite.
        Bug::DroppedColumn(from) => {
            Bug::DroppedColumn((from..).find(|&class| !targets.contains(&(class as i64))).unwrap())
        }
        bug => bug,
    };
    let (right, _) = Library::new(machine.context(), &cell, mode).unwrap();
    let wrong = Wrong { right, bug, machine: machine.as_ref(), targets: &targets };
    measure(machine.as_ref(), &inputs, vec![Box::new(wrong)], 1).unwrap().remove(0)
}

const MODES: [Mode; 4] = [Mode::Forward, Mode::Fused, Mode::Separate, Mode::InPlace];

#[test]
fn what_is_right_gets_a_speed() {
    for mode in MODES {
        let result = measured(Bug::None, mode, DType::BF16, 70, 300);
        assert_eq!(result.wrong, None, "{mode}");
        assert!(result.seconds.is_some() && result.gb_per_s.is_some() && result.of_copy.is_some());
    }
}

fn assert_refused(result: &Measured, what: &str) {
    let wrong = result.wrong.as_ref().unwrap_or_else(|| panic!("{what} was not found: {result:?}"));
    assert!(wrong.contains("exactly") || wrong.contains("NaN"), "{wrong}");
    assert!(result.seconds.is_none() && result.gb_per_s.is_none(), "{what}: {result:?}");
    assert!(result.of_copy.is_none() && result.host_seconds.is_none(), "{what}: {result:?}");
}

#[test]
fn a_dropped_column_gets_none() {
    for (rows, classes) in [(70, 300), (9, 32_000), (7, 262_144)] {
        for mode in MODES {
            for dtype in [DType::F32, DType::BF16] {
                let bug = Bug::DroppedColumn(classes / 2);
                let what = format!("{dtype}, {rows} x {classes}, {mode}");
                assert_refused(&measured(bug, mode, dtype, rows, classes), &what);
            }
        }
    }
}

#[test]
fn a_gradient_that_is_zero_off_target_gets_none() {
    for mode in [Mode::Fused, Mode::Separate, Mode::InPlace] {
        for (rows, classes) in [(70, 300), (9, 32_000)] {
            let result = measured(Bug::ZeroOffTarget, mode, DType::F32, rows, classes);
            assert_refused(&result, &format!("{rows} x {classes}, {mode}"));
            // The loss is right, which alone does not help.
            assert!(result.error.unwrap().loss < 4.0);
        }
    }
}

#[test]
fn a_row_that_is_not_written_gets_none() {
    for mode in MODES {
        assert_refused(&measured(Bug::UnwrittenRow, mode, DType::F32, 70, 300), &mode.to_string());
    }
}

#[test]
fn numbers_are_read_as_they_are_written() {
    assert_eq!(numbers(&1.5f32.to_ne_bytes(), DType::F32), [1.5]);
    assert_eq!(numbers(&half::bf16::from_f32(-2.0).to_ne_bytes(), DType::BF16), [-2.0]);
    assert_eq!(numbers(&half::f16::from_f32(0.25).to_ne_bytes(), DType::F16), [0.25]);
}
