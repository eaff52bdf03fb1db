"""PyTorch: as people write it, and the same arithmetic into memory that is there already."""

import os

import numpy
import torch
from torch.nn.functional import cross_entropy

import worker

torch.set_num_threads(int(os.environ["XENT_THREADS"]))
aten = torch.ops.aten
MEAN, NO_INDEX = 1, -100
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def prepare(dtype, classes, rows):
    dtype = TYPES[dtype]
    logits = torch.from_numpy(worker.numbers(numpy, rows, classes)).to(dtype)
    targets = torch.from_numpy(worker.targets(numpy, rows, classes))
    leaf = logits.clone().requires_grad_()
    # Their pages are there once they are written.
    log_p, d_log_p, gradient = (torch.zeros_like(logits) for _ in range(3))
    loss, weight, one = (torch.ones((), dtype=dtype) for _ in range(3))
    every_row = torch.arange(rows)

    def autograd():
        leaf.grad = None
        cross_entropy(leaf, targets).backward()

    @torch.no_grad()
    def forward():
        cross_entropy(logits, targets)

    @torch.no_grad()
    def forward_out():
        aten._log_softmax.out(logits, 1, False, out=log_p)
        aten.nll_loss_forward.output(log_p, targets, None, MEAN, NO_INDEX, output=loss, total_weight=weight)

    @torch.no_grad()
    def autograd_out():
        """The functions that autograd calls."""
        forward_out()
        aten.nll_loss_backward.grad_input(
            one, log_p, targets, None, MEAN, NO_INDEX, weight, grad_input=d_log_p)
        aten._log_softmax_backward_data.out(d_log_p, log_p, 1, dtype, out=gradient)

    @torch.no_grad()
    def formula_out():
        """exp(log p), less 1 at the targets, by the number of rows."""
        forward_out()
        torch.exp(log_p, out=gradient)
        gradient[every_row, targets] -= 1
        gradient.mul_(1 / rows)

    return {
        "torch forward out=": forward_out,
        "torch forward": forward,
        "torch out=": autograd_out,
        "torch formula out=": formula_out,
        "torch": autograd,
    }


worker.serve(prepare)
