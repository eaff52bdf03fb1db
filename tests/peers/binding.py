"""Known numbers through the ctypes binding, on the device that the argument names: cpu or cuda."""

import math
import sys

import memory
import xent

LOGITS = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
TARGETS = [0, 2]
CLASSES, ROWS = 3, len(TARGETS)


def exact():
    """The mean loss, and its gradient."""
    losses, gradient = [], []
    for row, target in zip(LOGITS, TARGETS):
        lse = math.log(math.fsum(map(math.exp, row)))
        losses.append(lse - row[target])
        gradient += [(math.exp(x - lse) - (column == target)) / ROWS for column, x in enumerate(row)]
    return math.fsum(losses) / ROWS, gradient


def near(actual, right):
    assert all(abs(a - b) <= 1e-6 * abs(b) for a, b in zip(actual, right, strict=True)), (actual, right)


def refused(call, words):
    try:
        call()
    except xent.Error as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"not refused: {words}")


def numbers(context, place):
    """Loss and gradient in one call, and the gradient from the statistics, with an upstream gradient."""
    outputs = xent.LOSS | xent.DLOGITS | xent.STATS
    plan = xent.Plan(context, classes=CLASSES, outputs=outputs)
    assert plan.kernel_name() and plan.workspace_size(ROWS) % 256 == 0
    workspace = plan.workspace(ROWS)
    nans = lambda count: place.put(memory.F32, [math.nan] * count)
    loss, dlogits, later, stats = nans(1), nans(ROWS * CLASSES), nans(ROWS * CLASSES), nans(2 * ROWS)
    inputs = dict(logits=place.put(memory.F32, sum(LOGITS, [])), targets=place.put(memory.I64, TARGETS))
    plan.run(ROWS, workspace, place.stream, loss=loss, dlogits=dlogits, stats=stats, **inputs)
    right_loss, right_gradient = exact()
    near(place.get(loss), [right_loss])
    near(place.get(dlogits), right_gradient)
    upstream = place.put(memory.F32, [-4.0])
    plan.backward(ROWS, workspace, place.stream, stats=stats, dloss=upstream, dlogits=later, **inputs)
    near(place.get(later), [-4 * element for element in right_gradient])

    run = lambda **changed: plan.run(
        ROWS, workspace, place.stream, **inputs | dict(loss=loss, dlogits=dlogits, stats=stats) | changed)
    refused(lambda: run(loss=None), "XENT_STATUS_NULL_POINTER: loss: ")
    refused(lambda: run(dlogits=inputs["logits"]), "XENT_STATUS_OVERLAP: ")
    refused(lambda: run(lse=loss), "XENT_STATUS_UNEXPECTED_POINTER: lse: ")


def main():
    device = sys.argv[1]
    context = xent.Context(device)
    assert str(context).startswith(device.upper()), context
    place = memory.Host() if device == "cpu" else memory.Gpu()
    numbers(context, place)
    if device == "cpu":
        # A GPU cannot stop for it.
        plan = xent.Plan(context, classes=CLASSES)
        wrong = dict(logits=place.put(memory.F32, [0.0] * 3), targets=place.put(memory.I64, [7]))
        run = lambda: plan.run(1, plan.workspace(1), loss=place.put(memory.F32, [0.0]), **wrong)
        refused(run, "XENT_STATUS_INVALID_TARGET: targets: row 0 holds 7, which is not in [0, 3)")
    else:
        place.close()
    refused(lambda: xent.Plan(context, classes=0), "XENT_STATUS_INVALID_ARGUMENT: classes: 0 is not")
    refused(lambda: xent.Plan(context, classes=3, struct_size=1), "XENT_STATUS_VERSION_MISMATCH: ")


main()
