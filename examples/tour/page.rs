//! The page: calls, and lines of what they gave.

use xent::{Args, Context, Element, Outputs, Plan, Problem, Result, Tensor};

/// What a number may differ by, relatively: those that go in are rounded to f32, too.
const TOLERANCE: f64 = 2e-6;

pub struct Page {
    context: Context,
    wrong: usize,
}

impl Page {
    pub fn new() -> Page {
        let context = Context::auto();
        println!("device  {}", context.device());
        Page { context, wrong: 0 }
    }

    pub fn section(&self, title: &str) {
        println!("\n{title}");
    }

    /// Computes the one output of a problem, and prints it beside what is expected. Some problems have
    /// no targets.
    pub fn compute<T: Element>(
        &mut self,
        name: &str,
        problem: Problem,
        numbers: &[f32],
        targets: &[T],
        expected: &[f64],
    ) -> Result<()> {
        let found = self.run(&problem, numbers, targets, expected.len())?;
        self.compare(name, &found, expected);
        Ok(())
    }

    /// Prints numbers beside those that are expected, and counts where they differ.
    pub fn compare(&mut self, name: &str, found: &[f32], expected: &[f64]) {
        for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let off = (f64::from(found) - expected).abs();
            let is_right = f64::from(found) == expected || off <= TOLERANCE * expected.abs();
            let name = if index == 0 { name } else { "" };
            let mark = if is_right { "" } else { "  WRONG" };
            println!("  {name:<32} {found:>12.7}   expected {expected:>12.7}{mark}");
            self.wrong += usize::from(!is_right);
        }
    }

    /// How many numbers were not as expected.
    pub fn wrong(&self) -> usize {
        self.wrong
    }

    /// The one output of a problem, of so many numbers.
    pub fn run<T: Element>(
        &self,
        problem: &Problem,
        numbers: &[f32],
        targets: &[T],
        count: usize,
    ) -> Result<Vec<f32>> {
        let plan = Plan::new(&self.context, problem)?;
        let mut workspace = plan.workspace(numbers.len() / problem.classes)?;
        let numbers = self.tensor(numbers)?;
        let targets = self.tensor(targets)?;
        let mut found = self.tensor(&vec![0f32; count])?;
        let args = match targets.is_empty() {
            true => Args::without_targets(&numbers),
            false => Args::new(&numbers, &targets),
        };
        let args = match problem.outputs {
            Outputs::OUTPUT => args.output(&mut found),
            Outputs::DLOGITS => args.dlogits(&mut found),
            _ => args.loss(&mut found),
        };
        plan.run(args, &mut workspace)?;
        found.to_vec()
    }

    /// A tensor where the page computes.
    fn tensor<T: Element>(&self, elements: &[T]) -> Result<Tensor> {
        Tensor::from_slice(elements, &[elements.len()])?.to(&self.context)
    }
}
