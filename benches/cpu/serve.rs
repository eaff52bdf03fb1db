//! Measures the limits of a shape where lines of the standard input ask for it, as
//! `benches/peers/worker.py` says: `describe`, `prepare TYPE CLASSES ROWS FILE ROW,...` and `time REPEATS`.

use serde_json::{Value, json};

use crate::buffers::Buffer;
use crate::cli;
use crate::crew::Crew;
use crate::limits;
use crate::rounds::seconds;

pub fn serve(crew: &Crew) {
    let mut buffers: Option<[Buffer; 2]> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let answer = match line.split(' ').collect::<Vec<_>>()[..] {
            ["describe"] => json!({}),
            ["prepare", dtype, classes, rows, ..] => {
                drop(buffers.take()); // gives its memory back
                let number = |text: &str| text.parse::<usize>().unwrap();
                let (dtype, len) = (cli::dtype(dtype).unwrap(), number(classes) * number(rows));
                buffers = Some([(); 2].map(|()| Buffer::logits(dtype, len)));
                json!({}) // there is nothing to check
            }
            ["time", repeats] => {
                time(crew, buffers.as_mut().expect("prepared"), repeats.parse().unwrap())
            }
            _ => panic!("{line:?} is no request"),
        };
        println!("{answer}");
    }
}

/// The seconds of each repeat, by limit. Others were asked in between, so one runs before.
fn time(crew: &Crew, [from, to]: &mut [Buffer; 2], repeats: usize) -> Value {
    limits::read(&crew.pool, from.lines());
    let (mut read, mut copy) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        read.push(seconds(|| limits::read(&crew.pool, from.lines())));
        copy.push(seconds(|| limits::copy(&crew.pool, from.lines(), to.lines_mut())));
    }
    json!({ "read": read, "copy": copy })
}
