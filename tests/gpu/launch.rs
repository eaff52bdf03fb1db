//! One kernel, launched by itself.

use xent::cuda::variant::Variant;
use xent_simulator::{Error, Launch, Memory, Stats};

use super::run::{How, module};

/// Runs the clusters `only` of a launch over so many rows, or slices of rows; all if it is empty.
pub fn launch(
    how: &How,
    variant: &Variant,
    rows: u64,
    only: &[u64],
    params: Vec<u8>,
    memory: &mut Memory,
) -> Result<Stats, Error> {
    let (module, name) = module(how, variant);
    let mut launch = Launch::new(&name);
    let [x, y] = variant.grid(rows).unwrap();
    (launch.grid, launch.block) = ([x, y, 1], [variant.threads, 1, 1]);
    launch.only = only.to_vec();
    launch.params = params;
    launch.seed = how.seed;
    launch.noise = how.noise;
    launch.shuffles_order = false;
    launch.run(&module, memory)
}
