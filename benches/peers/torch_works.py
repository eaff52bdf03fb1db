"""Cross entropies of PyTorch's tensors, and how each is called. A contender is there if its function of a
place returns; what it raises says what is missing. What it returns makes works of `Tensors`."""

import os

import torch
from torch.nn.functional import cross_entropy

import xent
import xent_works
from worker import Work

aten = torch.ops.aten
MEAN, NO_INDEX = 1, -100


def poison(kept, like):
    """Forgets results. Memory that is as large as they are is NaN when it is handed out again."""
    kept.clear()
    torch.empty_like(like).fill_(float("nan"))


class Tensors:
    """What the works of a shape share."""

    def __init__(self, place, dtype, shape, file):
        self.dtype, self.shape = dtype, shape
        self.logits = place.logits(dtype, *shape, file)
        self.targets = place.targets(*shape)
        self.gradient = place.empty(dtype, *shape)


def copy(place):
    """The limit: what reads the logits and writes as much."""
    def works(tensors):
        run = lambda: place.copy(tensors.gradient, tensors.logits)
        return [Work("copy", None, run, lambda sample: {})]

    return works


def ours(place):
    """On the memory and the stream of PyTorch."""
    context = xent.Context(place.device.type, threads=int(os.environ.get("XENT_THREADS", 0)))
    return lambda tensors: xent_works.works(
        context, place, tensors.dtype, tensors.shape, tensors.logits, tensors.targets, tensors.gradient)


def eager(place):
    return differentiated(place, "torch", cross_entropy)


def compiled(place):
    torch.compiler.reset()  # else it gives up on compiling after a few shapes
    return differentiated(place, "torch.compile", torch.compile(cross_entropy, dynamic=False))


def liger(place):
    """Writes the gradient over the logits."""
    from liger_kernel.transformers.functional import liger_cross_entropy
    return differentiated(place, "liger", liger_cross_entropy, in_place=True)


def flash_attention(place):
    from flash_attn.ops.triton.cross_entropy import cross_entropy_loss
    mean = lambda logits, targets: cross_entropy_loss(logits, targets)[0].mean()
    return differentiated(place, "flash-attn", mean)


def quack(place):
    """As part of a network, and its loss and gradient in one pass."""
    from quack.cross_entropy import cross_entropy, cross_entropy_fwd

    def one_pass(tensors):
        kept = {}

        def run():
            losses, kept["gradient"] = cross_entropy_fwd(tensors.logits, tensors.targets, return_dx=True)
            kept["loss"] = losses.mean()

        def results(sample):
            # That of the sum of losses.
            return place.results(sample, **kept, scale=1 / len(tensors.targets))

        clear = lambda: poison(kept, tensors.logits)
        return [Work("quack", "fused", run, results, clear, kernel="cross_entropy_fwd")]

    usual = differentiated(place, "quack", cross_entropy)
    return lambda tensors: usual(tensors) + one_pass(tensors)


def differentiated(place, contender, function, in_place=False):
    """A mean loss as people write it: memory for its results is its own affair."""
    def works(tensors):
        targets, kept = tensors.targets, {}
        logits = tensors.gradient if in_place else tensors.logits
        leaf = logits.detach().requires_grad_()

        def forward():
            with torch.no_grad():
                kept["loss"] = function(logits, targets)

        def fused():
            kept.clear()  # gives the memory back
            loss = function(leaf, targets)
            kept["gradient"], = torch.autograd.grad(loss, leaf)
            kept["loss"] = loss.detach()

        def results(sample):
            return place.results(sample, **kept)

        clear = lambda: poison(kept, logits)
        restore = (lambda: place.copy(tensors.gradient, tensors.logits)) if in_place else None
        return [Work(contender, "forward", forward, results, clear, restore),
                Work(contender, "fused", fused, results, clear, restore)]

    return works


def eager_at_its_best(place):
    """The functions that autograd calls, and the formula of the gradient, into memory that is there."""
    return lambda tensors: best_works(place, tensors.logits, tensors.targets, tensors.gradient)


def best_works(place, logits, targets, gradient):
    log_p, d_log_p = (torch.zeros_like(logits) for _ in range(2))
    loss, weight, one = (torch.ones((), dtype=logits.dtype, device=logits.device) for _ in range(3))
    rows = len(targets)
    every_row = torch.arange(rows, device=logits.device)

    @torch.no_grad()
    def forward():
        aten._log_softmax.out(logits, 1, False, out=log_p)
        aten.nll_loss_forward.output(log_p, targets, None, MEAN, NO_INDEX, output=loss, total_weight=weight)

    @torch.no_grad()
    def autograd():
        forward()
        aten.nll_loss_backward.grad_input(
            one, log_p, targets, None, MEAN, NO_INDEX, weight, grad_input=d_log_p)
        aten._log_softmax_backward_data.out(d_log_p, log_p, 1, logits.dtype, out=gradient)

    @torch.no_grad()
    def formula():
        """exp(log p), less 1 at the targets, by the number of rows."""
        forward()
        torch.exp(log_p, out=gradient)
        gradient[every_row, targets] -= 1
        gradient.mul_(1 / rows)

    def clear():
        for output in [loss, gradient]:
            place.clear(output)

    def work(mode, run, kernel):
        made = gradient if mode == "fused" else None
        return Work("torch best", mode, run, lambda sample: place.results(sample, loss, made), clear,
                    kernel=kernel)

    return [work("forward", forward, "out="), work("fused", autograd, "out="),
            work("fused", formula, "formula out=")]


CONTENDERS = {
    "copy": copy, "xent": ours, "torch": eager, "torch best": eager_at_its_best, "torch.compile": compiled,
    "liger": liger, "flash-attn": flash_attention, "quack": quack}
