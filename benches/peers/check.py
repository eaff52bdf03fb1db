"""Whether a contender computes the mean cross entropy, and its gradient: against float64, in units in
the last place (ulp), and within a tolerance. Needs nothing but Python.

A loss is wrong if it is off by more than `LOSS`, in ulp of its type, and by more than a sixteenth of
1 / classes, which is what a column that is left out of the sum makes of the mean. An element of a gradient
is wrong if it is off by more than `RELATIVE` of itself and `FLOOR`; at the target, where p - 1 cancels, and
p was rounded, an ulp of 1 is added. That lets those pass that add up a vocabulary in f32, one after the
other, and those that round log p to the type of the logits before they take its exponential, up to a log p
of -32: half an ulp of it is 6 % of p in bf16, 0.8 % in f16. What lacks a column is off by all of that
column's gradient."""

import math
from itertools import accumulate

import inputs

LOSS = {"f32": 16, "f16": 4, "bf16": 4}
RELATIVE = {"f32": 1e-3, "f16": 0.02, "bf16": 0.1}
# Below the smallest normal number, of which some flush to 0 what is smaller. Of f16 that would be most
# of a gradient, and nobody flushes it: two of its smallest steps.
FLOOR = {"f32": 2.0**-126, "f16": 2.0**-23, "bf16": 2.0**-126}
# Bits of the fraction, and the smallest exponent.
FORMATS = {"f32": (23, -126), "f16": (10, -14), "bf16": (7, -126)}
FIXED = 80  # fractional bits of sums of exponentials, which then are exact


class Exact:
    """Loss and gradient of a shape."""

    def __init__(self, dtype, classes, rows, data):
        self.logits = inputs.decode(dtype, data)
        self.classes, self.rows = classes, rows
        fixed = [int(math.ldexp(math.exp(x), FIXED)) for x in self.logits]
        self.before = [0, *accumulate(fixed)]
        # So many rows have different logits.
        lse = [math.log(self.sum_of(row)) for row in range(min(rows, inputs.PERIOD))]
        losses = (lse[row % len(lse)] - self.logit(row, inputs.target(row, classes)) for row in range(rows))
        self.loss = math.fsum(losses) / rows

    def logit(self, row, column):
        return self.logits[(row * self.classes + column) % inputs.PERIOD]

    def exponentials(self, end):
        """The sum over the first logits of the tensor, in units of 2**-FIXED."""
        periods, rest = divmod(end, inputs.PERIOD)
        return periods * self.before[-1] + self.before[rest]

    def sum_of(self, row):
        begin = row * self.classes
        return (self.exponentials(begin + self.classes) - self.exponentials(begin)) / 2**FIXED

    def gradient_of(self, row):
        total, target = self.sum_of(row), inputs.target(row, self.classes)
        gradient = [math.exp(self.logit(row, column)) / total for column in range(self.classes)]
        # p - 1 without cancellation: the sum of the others.
        gradient[target] = -math.fsum(gradient[:target] + gradient[target + 1:])
        return [element / self.rows for element in gradient]


def ulp(exact, dtype):
    """The distance between numbers of a type where the exact one lies."""
    bits, smallest = FORMATS[dtype]
    exponent = math.frexp(exact)[1] - 1 if exact else smallest
    return math.ldexp(1.0, max(exponent, smallest) - bits)


def judge(exact, sample, dtype, answer):
    """The errors of what a contender answers, and what is wrong with it, or None. What is not finite
    may come as None."""
    loss_type = answer["loss_type"]
    allowed = lambda index, right: max(LOSS[loss_type] * ulp(right, loss_type), 1 / (16 * exact.classes))
    found = [compare("loss", [answer["loss"]], [exact.loss], loss_type, allowed)]
    for row, actual in zip(sample, answer["gradient"] or []):
        allowed = lambda index, right: RELATIVE[dtype] * abs(right) + FLOOR[dtype] + (
            ulp(1.0, dtype) / exact.rows if index == inputs.target(row, exact.classes) else 0.0)
        found.append(compare(f"gradient of row {row}", actual, exact.gradient_of(row), dtype, allowed))
    wrong = next((off for _, off in found if off), None)
    loss, *gradient = [error for error, _ in found]
    error = {"loss": loss, "gradient": max(gradient, default=None)}
    return error if all(map(math.isfinite, [loss, *gradient])) else None, wrong


def compare(name, actual, exact, dtype, allowed):
    """The largest error in ulp, and the first element that is wrong, if any is."""
    if len(actual) != len(exact):
        return math.inf, f"{name} has {len(actual)} elements of {len(exact)}"
    largest, wrong = 0.0, None
    for index, (number, right) in enumerate(zip(actual, exact)):
        error = math.inf if number is None or math.isnan(number) else abs(number - right)
        largest = max(largest, error / ulp(right, dtype))
        if wrong is None and error > allowed(index, right):
            at = f"{name}, class {index}," if len(exact) > 1 else name
            wrong = f"{at} is {'no number' if error == math.inf else f'{number:.6g}'}, exactly {right:.6g}"
    return largest, wrong
