//! Random programs on several streams, with events exactly where two pieces of work touch the same
//! memory: whatever the order, the result is that of doing one after the other.

mod common;

use common::{Sim, get, ok};

const STREAMS: usize = 3;
const CELLS: usize = 4;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)) % end as u64) as usize
    }
}

/// Work on one or two cells.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// cell = 3 cell + value
    Update {
        cell: usize,
        value: u32,
    },
    Copy {
        to: usize,
        from: usize,
    },
    Set {
        cell: usize,
        value: u32,
    },
}

impl Step {
    fn random(random: &mut Random) -> Step {
        let (cell, value) = (random.below(CELLS), random.below(100) as u32);
        match random.below(4) {
            0 => Step::Copy { to: cell, from: (cell + 1 + random.below(CELLS - 1)) % CELLS },
            1 => Step::Set { cell, value },
            _ => Step::Update { cell, value },
        }
    }

    fn cells(self) -> Vec<usize> {
        match self {
            Step::Copy { to, from } => vec![to, from],
            Step::Update { cell, .. } | Step::Set { cell, .. } => vec![cell],
        }
    }

    fn apply(self, cells: &mut [u32; CELLS]) {
        match self {
            Step::Update { cell, value } => {
                cells[cell] = cells[cell].wrapping_mul(3).wrapping_add(value);
            }
            Step::Copy { to, from } => cells[to] = cells[from],
            Step::Set { cell, value } => cells[cell] = value,
        }
    }
}

/// A program, the streams of its steps, and the dependencies that are left out.
struct Program {
    steps: Vec<(Step, usize)>,
    forgets: bool,
}

impl Program {
    fn random(seed: u64) -> Program {
        let mut random = Random(seed);
        let steps = (0..24).map(|_| (Step::random(&mut random), random.below(STREAMS)));
        Program { steps: steps.collect(), forgets: false }
    }

    /// Submits the steps, each after the last that touched one of its cells.
    fn submit(&self, sim: &Sim, streams: &[u64], step_kernel: u64, p: u64) {
        let mut last: [Option<(usize, u64)>; CELLS] = [None; CELLS];
        for &(step, number) in &self.steps {
            let stream = streams[number];
            let at = |cell: usize| p + 4 * cell as u64;
            for (other, event) in step.cells().into_iter().filter_map(|cell| last[cell]) {
                if other != number && !self.forgets {
                    ok(sim.cuStreamWaitEvent(stream, event, 0));
                }
            }
            match step {
                Step::Update { cell, value } => {
                    ok(sim.launch(step_kernel, 1, stream, &[at(cell), value.into()]));
                }
                Step::Copy { to, from } => {
                    ok(sim.cuMemcpyDtoDAsync_v2(at(to), at(from), 4, stream));
                }
                Step::Set { cell, value } => {
                    ok(sim.cuMemsetD32Async(at(cell), value, 1, stream));
                }
            }
            let event = sim.event();
            ok(sim.cuEventRecord(event, stream));
            step.cells().into_iter().for_each(|cell| last[cell] = Some((number, event)));
        }
    }

    fn expected(&self, rounds: u32) -> [u32; CELLS] {
        let mut cells = [1, 2, 3, 4];
        for _ in 0..rounds {
            self.steps.iter().for_each(|(step, _)| step.apply(&mut cells));
        }
        cells
    }
}

/// Streams that do not block, a kernel, and the cells.
fn prepare(sim: &Sim, seed: u64) -> (Vec<u64>, u64, u64) {
    sim.restart(seed);
    let streams = (0..STREAMS).map(|_| sim.stream(1)).collect();
    (streams, sim.kernel("step"), sim.words(&[1, 2, 3, 4]))
}

#[test]
fn with_all_dependencies() {
    let sim = Sim::new("");
    for seed in 0..150 {
        let program = Program::random(seed);
        let (streams, kernel, p) = prepare(&sim, seed);
        program.submit(&sim, &streams, kernel, p);
        ok(sim.cuCtxSynchronize());
        assert_eq!(sim.read(p, CELLS), program.expected(1), "seed {seed}");
    }
}

#[test]
fn without_them() {
    let sim = Sim::new("");
    let is_wrong = |seed| {
        let program = Program { forgets: true, ..Program::random(seed) };
        let (streams, kernel, p) = prepare(&sim, seed);
        program.submit(&sim, &streams, kernel, p);
        ok(sim.cuCtxSynchronize());
        sim.read(p, CELLS) != program.expected(1)
    };
    let wrong = (0..150).filter(|&seed| is_wrong(seed)).count();
    println!("{wrong} of 150");
    assert!(wrong > 75, "{wrong} of 150");
}

#[test]
fn captured_and_launched_again() {
    let sim = Sim::new("");
    for seed in 0..50 {
        let program = Program::random(seed);
        let (streams, kernel, p) = prepare(&sim, seed);
        ok(sim.cuStreamBeginCapture_v2(streams[0], 0));
        let fork = sim.event();
        ok(sim.cuEventRecord(fork, streams[0]));
        streams[1..].iter().for_each(|&stream| ok(sim.cuStreamWaitEvent(stream, fork, 0)));
        program.submit(&sim, &streams, kernel, p);
        for &stream in &streams[1..] {
            let join = sim.event();
            ok(sim.cuEventRecord(join, stream));
            ok(sim.cuStreamWaitEvent(streams[0], join, 0));
        }
        let graph = get(|graph| sim.cuStreamEndCapture(streams[0], graph));
        let executable = get(|executable| sim.cuGraphInstantiateWithFlags(executable, graph, 0));
        // Launches of one graph follow one another, whatever their streams.
        for &stream in &streams {
            ok(sim.cuGraphLaunch(executable, stream));
        }
        ok(sim.cuCtxSynchronize());
        assert_eq!(sim.read(p, CELLS), program.expected(STREAMS as u32), "seed {seed}");
    }
}
