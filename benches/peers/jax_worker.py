"""JAX: compiled loss, and loss with gradient."""

import jax
import jax.numpy as jnp
import numpy

import worker

jax.config.update("jax_platforms", "cpu")
TYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "f16": jnp.float16}


def loss(logits, targets):
    at_target = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - at_target)


def prepare(dtype, classes, rows):
    logits = jnp.asarray(worker.numbers(numpy, rows, classes), TYPES[dtype])
    targets = jnp.asarray(worker.targets(numpy, rows, classes), jnp.int32)
    forward = jax.jit(loss)
    fused = jax.jit(jax.value_and_grad(loss))
    return {
        "jax forward": lambda: jax.block_until_ready(forward(logits, targets)),
        "jax": lambda: jax.block_until_ready(fused(logits, targets)),
    }


worker.serve(prepare)
