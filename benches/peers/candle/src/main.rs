//! Checks and times candle's cross entropy, as `worker.py` says.

use std::error::Error;
use std::io::stdin;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::loss::cross_entropy;
use serde_json::{Map, Value, json};

type Failure = Box<dyn Error>;

/// Loss alone, and loss and gradient.
const MODES: [&str; 2] = ["forward", "fused"];

fn main() -> std::result::Result<(), Failure> {
    let mut ready: Option<Work> = None;
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["describe"] => json!({"versions": {"candle": version()}}),
            ["prepare", dtype, classes, rows, file, sample] => {
                drop(ready.take()); // gives its memory back
                let work = Work::new(dtype, classes.parse()?, rows.parse()?, file)?;
                let sample = sample.split(',').map(str::parse);
                let answer = work.outcome(&sample.collect::<std::result::Result<Vec<_>, _>>()?)?;
                ready = Some(work);
                answer
            }
            ["time", repeats] => {
                ready.as_ref().ok_or("nothing is prepared")?.time(repeats.parse()?)?
            }
            _ => return Err(format!("{line:?} is no request").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

/// As the manifest demands it.
fn version() -> Option<&'static str> {
    let mut lines = include_str!("../Cargo.toml").lines();
    let demanded = lines.find_map(|line| line.strip_prefix("candle-core = \"="))?;
    demanded.strip_suffix('"')
}

struct Work {
    dtype: String,
    logits: Var,
    targets: Tensor,
}

impl Work {
    fn new(
        name: &str,
        classes: usize,
        rows: usize,
        file: &str,
    ) -> std::result::Result<Work, Failure> {
        let dtype = match name {
            "f32" => DType::F32,
            "bf16" => DType::BF16,
            _ => DType::F16,
        };
        let period = std::fs::read(file)?;
        let bytes = rows * classes * dtype.size_in_bytes();
        let repeated: Vec<u8> = period.iter().copied().cycle().take(bytes).collect();
        let logits = Tensor::from_raw_buffer(&repeated, dtype, &[rows, classes], &Device::Cpu)?;
        let targets =
            Tensor::from_iter((0..rows).map(|row| (row * 7919 % classes) as u32), &Device::Cpu)?;
        Ok(Work { dtype: name.into(), logits: Var::from_tensor(&logits)?, targets })
    }

    /// The loss, and the gradient if it is wanted.
    fn run(&self, mode: &str) -> Result<(Tensor, Option<Tensor>)> {
        if mode == "forward" {
            return Ok((cross_entropy(&self.logits.detach(), &self.targets)?, None));
        }
        let loss = cross_entropy(&self.logits, &self.targets)?;
        let gradient = loss.backward()?.remove(&self.logits);
        Ok((loss, gradient))
    }

    fn outcome(&self, sample: &[usize]) -> Result<Value> {
        let mut answer = Map::new();
        for mode in MODES {
            let (loss, gradient) = self.run(mode)?;
            let row = |gradient: &Tensor, row: &usize| {
                gradient.get(*row)?.to_dtype(DType::F64)?.to_vec1::<f64>()
            };
            let rows = |gradient: Tensor| {
                sample.iter().map(|index| row(&gradient, index)).collect::<Result<Vec<_>>>()
            };
            let told = json!({
                "contender": "candle",
                "mode": mode,
                "kernel": null,
                "loss": loss.to_dtype(DType::F64)?.to_scalar::<f64>()?,
                "loss_type": self.dtype,
                "gradient": gradient.map(rows).transpose()?,
            });
            answer.insert(format!("candle {mode}"), told);
        }
        Ok(answer.into())
    }

    fn time(&self, repeats: usize) -> Result<Value> {
        self.run(MODES[0])?;
        let mut answer = Map::new();
        for mode in MODES {
            let times = (0..repeats).map(|_| {
                let start = Instant::now();
                self.run(mode)?;
                Ok(start.elapsed().as_secs_f64())
            });
            answer.insert(format!("candle {mode}"), json!(times.collect::<Result<Vec<_>>>()?));
        }
        Ok(answer.into())
    }
}
