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
        let dtype = cli::dtype(dtype).unwrap();
        let asked = (dtype, number(rows), number(classes));
        // Others were asked in between, so the first work is repeated, and for a new shape all are.
        let (works, mut bench) = match ready.take().filter(|(shape, _)| *shape == asked) {
            Some((_, bench)) => (1, bench),
            None => (Work::ALL.len(), Bench::new(crew, dtype, number(rows), number(classes))),
        };
        for (work, _) in &Work::ALL[..works] {
            bench.run(*work);
        }
        let mut answer = Map::new();
        for (work, name) in Work::ALL {
            let seconds: Vec<f64> = (0..number(repeats)).map(|_| bench.run(work)).collect();
            answer.insert(name.into(), json!(seconds));
        }
        println!("{}", json!(answer));
        ready = Some((asked, bench));
    }
}
