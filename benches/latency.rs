//! What a call takes where there is little to compute: 1 to 64 rows of 10 to 1000 classes, loss and
//! gradient, on one thread.
//!
//! ```sh
//! cargo bench --bench latency -- --save-baseline before
//! cargo bench --bench latency -- --baseline before
//! ```

#[path = "cpu/buffers.rs"]
#[allow(dead_code)]
mod buffers;
#[path = "cpu/job.rs"]
#[allow(dead_code)]
mod job;
#[path = "../src/bin/xent/bench/device/limits.rs"]
#[allow(dead_code)]
mod limits;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use job::{Buffers, Job, fused};
use xent::{Context, ContextOptions, DType, Device};

fn latency(criterion: &mut Criterion) {
    let options = ContextOptions::default().device(Device::cpu()).threads(1);
    let context = Context::new(options).expect("one thread of the CPU");
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let mut group = criterion.benchmark_group(dtype.to_string());
        group.sample_size(30).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(500));
        for classes in [10, 100, 1000] {
            for rows in [1, 4, 16, 64] {
                let mut buffers = Buffers::new(dtype, rows, classes);
                let mut job = Job::new(&context, fused(dtype, classes), rows);
                let id = BenchmarkId::from_parameter(format_args!("{rows} x {classes}"));
                group.bench_function(id, |bencher| bencher.iter(|| job.run(&mut buffers)));
            }
        }
        group.finish();
    }
}

criterion_group!(benches, latency);
criterion_main!(benches);
