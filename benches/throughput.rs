//! Loss and gradient, in place too, and the loss alone: bytes that have to move, by type and number of
//! classes, on all processors. For before and after a change:
//!
//! ```sh
//! cargo bench --bench throughput -- --save-baseline before
//! cargo bench --bench throughput -- --baseline before
//! ```

#[path = "cpu/buffers.rs"]
mod buffers;
#[path = "cpu/job.rs"]
#[allow(dead_code)]
mod job;
#[path = "../src/bin/xent/bench/device/limits.rs"]
#[allow(dead_code)]
mod limits;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use job::{Buffers, Job, fused};
use xent::{Context, DType, Outputs};

/// Logits of a tensor: beyond the caches of most processors.
const ELEMENTS: usize = 1 << 25;

fn throughput(criterion: &mut Criterion) {
    let context = Context::cpu();
    for (mode, writes) in [("forward", false), ("fused", true), ("in place", true)] {
        let mut group = criterion.benchmark_group(mode);
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1));
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            for classes in [10, 1000, 32_000, 128_256] {
                let rows = ELEMENTS / classes;
                let problem = match mode {
                    "forward" => fused(dtype, classes).outputs(Outputs::LOSS),
                    "in place" => fused(dtype, classes).in_place(true),
                    _ => fused(dtype, classes),
                };
                let mut buffers = Buffers::new(dtype, rows, classes);
                let mut job = Job::new(&context, problem, rows);
                let bytes = rows * classes * dtype.size() * if writes { 2 } else { 1 };
                group.throughput(Throughput::Bytes(bytes as u64));
                let id = BenchmarkId::new(dtype.to_string(), classes);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|runs| {
                        let run = |_| {
                            if mode == "in place" {
                                buffers.restore();
                            }
                            let start = Instant::now();
                            job.run(&mut buffers);
                            start.elapsed()
                        };
                        (0..runs).map(run).sum()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, throughput);
criterion_main!(benches);
