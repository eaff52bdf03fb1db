"""The library's works on tensors of a place: host_memory or tensors."""

import xent
from worker import Work

DTYPES = {"f32": xent.F32, "f16": xent.F16, "bf16": xent.BF16}


def works(context, place, dtype, shape, logits, targets, gradient):
    """The loss alone; with the gradient; and with the gradient in the place of the logits."""
    classes, rows = shape
    loss = place.loss()
    problem = dict(classes=classes, logits_dtype=DTYPES[dtype], expected_rows=rows)
    both = problem | dict(outputs=xent.LOSS | xent.DLOGITS)

    def work(mode, problem, logits, gradient=None, restore=None):
        plan = xent.Plan(context, **problem)
        workspace = plan.workspace(rows)
        outputs = dict(loss=loss) if gradient is None else dict(loss=loss, dlogits=gradient)
        buffers = dict(logits=logits, targets=targets) | outputs

        def run():
            addresses = {name: tensor.data_ptr() for name, tensor in buffers.items()}
            plan.run(rows, workspace, place.stream(), **addresses)

        def clear():
            for output in outputs.values():
                place.clear(output)

        def results(sample):
            return place.results(sample, loss, gradient, classes)

        return Work("xent", mode, run, results, clear, restore, plan.kernel_name())

    return [
        work("forward", problem, logits),
        work("fused", both, logits, gradient),
        work("in place", both | dict(flags=xent.IN_PLACE), gradient, gradient,
             lambda: place.copy(gradient, logits)),
    ]
