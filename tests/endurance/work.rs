//! Problems for every kernel, with buffers that are written and read in the order of a stream.

use cudarc::driver::sys::{self, CUdeviceptr};
use xent::cuda::driver::Driver;
use xent::cuda::target::Capability;
use xent::{
    Args, BackwardArgs, Context, DType, Outputs, Plan, Problem, Reduction, Report, Tensor,
    Workspace,
};

use super::extent;
use crate::common::foreign::OwnStream;
use crate::common::job::{logits, targets};
use crate::common::standin::ok;

/// A problem that a kernel computes.
pub struct Kind {
    pub name: &'static str,
    dtype: DType,
    /// Of the logits, classes in the middle.
    shape: [usize; 3],
    outputs: Outputs,
}

const fn kind(name: &'static str, dtype: DType, shape: [usize; 3]) -> Kind {
    Kind { name, dtype, shape, outputs: Outputs::LOSS.union(Outputs::DLOGITS) }
}

/// One for each kernel on GPUs that have clusters. The gradient from statistics is computed by `stream`
/// where it is not by `lanes` or `columns`, the mean over rows by the reductions.
pub const KINDS: [Kind; 5] = [
    kind("lanes", DType::F32, [37, 100, 1]),
    kind("block", DType::BF16, [9, 4096, 1]),
    kind("cluster", DType::BF16, [3, 17_001, 1]),
    Kind { outputs: Outputs::LOSS, ..kind("stream", DType::F16, [3, 9001, 1]) },
    kind("columns", DType::F32, [3, 50, 17]),
];

impl Kind {
    /// A plan, whose kernel is the one of the name.
    pub fn plan(&self, context: &Context) -> Plan {
        let problem = Problem::new(self.dtype, self.shape[1]).reduction(Reduction::Mean);
        let problem = problem.outputs(self.outputs | Outputs::STATS);
        let plan = Plan::new(context, &problem).unwrap();
        let capability = Driver::get().and_then(|driver| driver.gpu(0)).unwrap().capability;
        if self.name != "columns" && capability >= Capability::new(9, 0) {
            let named = plan.kernel_name().starts_with(&format!("xent::{}<", self.name));
            assert!(named, "{} for {}", plan.kernel_name(), self.name);
        }
        plan
    }

    /// Contents for it; of many more rows where all is done, so that runs overlap.
    pub fn contents(&self, seed: usize) -> Contents {
        let [outer, classes, inner] = self.shape;
        Contents::new(self.dtype, [outer * extent(1, 16), classes, inner], seed)
    }
}

/// What a run reads, on the CPU.
pub struct Contents {
    pub logits: Tensor,
    pub targets: Tensor,
}

impl Contents {
    /// For logits of this shape, classes in the middle.
    pub fn new(dtype: DType, shape: [usize; 3], seed: usize) -> Contents {
        let numbers = logits(seed, shape.iter().product());
        let mut classes = targets(shape[0] * shape[2]);
        classes.rotate_left(seed % 5);
        Contents {
            logits: Tensor::from_slice(&numbers, &shape).unwrap().cast(dtype).unwrap(),
            targets: Tensor::from_slice(&classes, &[classes.len()]).unwrap(),
        }
    }
}

/// A run, then the gradient from its statistics, with their buffers on a GPU.
pub struct Work {
    plan: Plan,
    logits: Tensor,
    targets: Tensor,
    loss: Tensor,
    stats: Tensor,
    /// What the run itself gives, if its outputs have a gradient.
    fused: Tensor,
    separate: Tensor,
    report: Tensor,
    workspace: Workspace<'static>,
}

impl Work {
    pub fn new(plan: &Plan, context: &Context, contents: &Contents) -> Work {
        let problem = plan.problem();
        let zeros = |dtype, shape: &[usize]| Tensor::zeros_on(context, dtype, shape).unwrap();
        let rows = contents.targets.len();
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let gradient = || zeros(problem.dlogits, contents.logits.shape());
        Work {
            plan: plan.clone(),
            logits: contents.logits.to(context).unwrap(),
            targets: contents.targets.to(context).unwrap(),
            loss: zeros(DType::F32, &[losses]),
            stats: zeros(DType::F32, &[2 * rows]),
            fused: gradient(),
            separate: gradient(),
            report: zeros(DType::I64, &[Report::LEN]),
            workspace: plan.workspace(rows).unwrap(),
        }
    }

    /// Other contents, in the order of a stream.
    pub fn write(&mut self, contents: &Contents, stream: &OwnStream) {
        for (here, new) in
            [(&mut self.logits, &contents.logits), (&mut self.targets, &contents.targets)]
        {
            let address = here.as_mut_ptr().addr() as CUdeviceptr;
            // SAFETY: as large; the driver reads what is not page-locked at once.
            ok(unsafe {
                sys::cuMemcpyHtoDAsync_v2(address, new.as_ptr().cast(), bytes(new), stream.0)
            });
        }
    }

    /// Puts both on a stream, after what spoils the results of earlier ones.
    pub fn launch(&mut self, stream: &OwnStream) {
        let spoilt = [&mut self.loss, &mut self.stats, &mut self.fused, &mut self.separate];
        spoilt.into_iter().for_each(|tensor| set(tensor, 0xff, stream));
        set(&mut self.report, 0, stream);
        let fused = self.plan.problem().outputs.contains(Outputs::DLOGITS);
        let logits = self.logits.with_classes(1).unwrap();
        let args = Args::new(logits, &self.targets).loss(&mut self.loss).stats(&mut self.stats);
        let mut args = args.report(&mut self.report).stream(stream.lend());
        if fused {
            args = args.dlogits(self.fused.with_classes_mut(1).unwrap());
        }
        self.plan.run(args, &mut self.workspace).unwrap();
        let separate = self.separate.with_classes_mut(1).unwrap();
        let args = BackwardArgs::new(logits, &self.targets, &self.stats, separate);
        self.plan.backward(args.stream(stream.lend()), &mut self.workspace).unwrap();
    }

    /// The bytes of the loss and of the gradients, after what is on a stream.
    pub fn found(&self, stream: &OwnStream) -> Vec<Vec<u8>> {
        let fused = self.plan.problem().outputs.contains(Outputs::DLOGITS);
        let gradients = [fused.then_some(&self.fused), Some(&self.separate)];
        let tensors = [Some(&self.loss)].into_iter().chain(gradients).flatten();
        tensors.map(|tensor| read(tensor, 0, bytes(tensor), stream)).collect()
    }

    pub fn report(&self, stream: &OwnStream) -> Report {
        self.plan.report(&self.report, stream.lend()).unwrap()
    }
}

pub fn bytes(tensor: &Tensor) -> usize {
    tensor.len() * tensor.dtype().size()
}

/// Sets every byte of a tensor, in the order of a stream.
fn set(tensor: &mut Tensor, value: u8, stream: &OwnStream) {
    let address = tensor.as_mut_ptr().addr() as CUdeviceptr;
    // SAFETY: as many bytes as it has.
    ok(unsafe { sys::cuMemsetD8Async(address, value, bytes(tensor), stream.0) });
}

/// Bytes of a tensor from one of them on, after what is on a stream.
pub fn read(tensor: &Tensor, first: usize, count: usize, stream: &OwnStream) -> Vec<u8> {
    assert!(first + count <= bytes(tensor));
    let mut found = vec![0u8; count];
    let address = (tensor.as_ptr().addr() + first) as CUdeviceptr;
    // SAFETY: the tensor has them.
    unsafe {
        ok(sys::cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), address, count, stream.0));
        ok(sys::cuStreamSynchronize(stream.0));
    }
    found
}
