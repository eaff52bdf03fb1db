//! Measures what lines of the standard input ask for: `TYPE CLASSES ROWS REPEATS`. Answers each with
//! a line of JSON: the seconds of each repeat, by work. `benches/peers` asks, and asks others in turn.

use serde_json::{Map, json};
use xent::DType;

use crate::cli;
use crate::crew::Crew;
use crate::fused::{Bench, Work};

pub fn serve(crew: &Crew) {
    let mut ready: Option<((DType, usize, usize), Bench)> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let [dtype, classes, rows, repeats] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is not TYPE CLASSES ROWS REPEATS");
        };
        let number = |text: &str| text.parse::<usize>().unwrap();
        let asked = (cli::dtype(dtype).unwrap(), number(rows), number(classes));
        let (_, mut bench) =
            ready.take().filter(|(shape, _)| *shape == asked).unwrap_or_else(|| {
                let (dtype, rows, classes) = asked;
                (asked, Bench::new(crew, dtype, rows, classes))
            });
        let mut answer = Map::new();
        for (work, name) in Work::ALL {
            bench.run(work); // brings memory and processor back to this process
            let seconds: Vec<f64> = (0..number(repeats)).map(|_| bench.run(work)).collect();
            answer.insert(name.into(), json!(seconds));
        }
        println!("{}", json!(answer));
        ready = Some((asked, bench));
    }
}
