"""JAX: compiled loss, and loss with gradient."""

from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy

import inputs
import worker
from worker import Work

jax.config.update("jax_platforms", "cpu")
TYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "f16": jnp.float16}
NAMES = {jnp.dtype(dtype): name for name, dtype in TYPES.items()}


def loss(logits, targets):
    at_target = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - at_target)


def results(sample, loss, gradient=None):
    def numbers(row):
        return numpy.asarray(gradient[row], numpy.float64).tolist()

    rows = None if gradient is None else [numbers(row) for row in sample]
    return {"loss": float(loss), "loss_type": NAMES[loss.dtype], "gradient": rows}


def prepare(dtype, classes, rows, file):
    period = numpy.fromfile(file, TYPES[dtype])
    logits = jnp.asarray(numpy.resize(period, (rows, classes)))
    targets = jnp.asarray(inputs.target(numpy.arange(rows), classes), jnp.int32)

    def work(mode, function):
        made = []

        def run():
            made[:] = jax.block_until_ready(function(logits, targets))

        return Work("jax", mode, run, lambda sample: results(sample, *made))

    forward, fused = jax.jit(lambda *inputs: [loss(*inputs)]), jax.jit(jax.value_and_grad(loss))
    return [[work("forward", forward), work("fused", fused)]]


worker.serve(lambda: {"versions": {"jax": version("jax"), "numpy": version("numpy")}}, prepare)
