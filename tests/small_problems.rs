//! A small problem is computed by the thread that asks, and starts no other. In a process of its own,
//! since threads that another test started would hide that.
#![cfg(target_os = "linux")]

use xent::{Args, Context, DType, Outputs, Plan, Problem, Tensor};

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn run(context: &Context, dtype: DType, rows: usize, classes: usize) {
    let problem = Problem::new(dtype, classes).outputs(Outputs::LOSS | Outputs::DLOGITS);
    let plan = Plan::new(context, &problem).unwrap();
    let x = Tensor::zeros(dtype, &[rows, classes]).unwrap();
    let mut dlogits = Tensor::zeros(dtype, &[rows, classes]).unwrap();
    let (y, mut loss) = (vec![0i64; rows], 0f32);
    let mut workspace = plan.workspace(rows).unwrap();
    plan.run(Args::new(&x, &y).loss(&mut loss).dlogits(&mut dlogits), &mut workspace).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no /proc")]
fn start_no_thread() {
    let (context, before) = (Context::cpu(), threads());
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for classes in [1, 10, 100, 1000] {
            for rows in [1, 4, 16, 64] {
                run(&context, dtype, rows, classes);
                assert_eq!(threads(), before, "{dtype}, {rows} rows of {classes}");
            }
        }
    }
    if std::thread::available_parallelism().unwrap().get() > 1 {
        run(&context, DType::F32, 4096, 1000);
        assert!(threads() > before, "a large problem uses all processors");
    }
}
