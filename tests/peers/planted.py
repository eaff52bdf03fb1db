"""Contenders of benches/peers that are right, and some that are not, as their names say; and a limit."""

import math

import inputs
import worker
from worker import Work


class Loss:
    """The mean cross entropy of a shape as plain Python has it, rounded to the type of the logits."""

    def __init__(self, dtype, classes, rows, file):
        self.dtype, self.classes, self.rows = dtype, classes, rows
        with open(file, "rb") as period:
            self.logits = inputs.decode(dtype, period.read())

    def row(self, index, summed, written):
        """Loss and gradient; the sum and the gradient are over these columns alone."""
        begin = index * self.classes
        x = [self.logits[(begin + column) % len(self.logits)] for column in range(self.classes)]
        target = inputs.target(index, self.classes)
        lse = math.log(math.fsum(math.exp(x[column]) for column in summed))
        gradient = [math.nan] * self.classes
        for column in written:
            gradient[column] = (math.exp(x[column] - lse) - (column == target)) / self.rows
        return lse - x[target], gradient

    def rounded(self, numbers):
        return inputs.decode(self.dtype, inputs.encode(self.dtype, numbers))

    def by_log_p(self):
        """As PyTorch has it: log p is rounded to the type of the logits, and all that is made of it."""
        def results(sample):
            losses, gradients = [], []
            for index in range(self.rows):
                target = inputs.target(index, self.classes)
                loss, gradient = self.row(index, range(self.classes), range(self.classes))
                gradient[target] += 1 / self.rows
                log_p = self.rounded([math.log(p * self.rows) for p in gradient])
                losses.append(-log_p[target])
                p = self.rounded(map(math.exp, log_p))
                p[target] -= 1
                gradients.append(self.rounded([element / self.rows for element in p]))
            loss, = self.rounded([math.fsum(losses) / self.rows])
            return {"loss": loss, "loss_type": self.dtype, "gradient": [gradients[row] for row in sample]}

        return Work("by log p", "fused", lambda: None, results)

    def work(self, name, mode="fused", summed=None, written=None, change=lambda row, gradient: gradient):
        columns = range(self.classes)

        def results(sample):
            rows = [self.row(index, summed or columns, written or columns) for index in range(self.rows)]
            loss = math.fsum(loss for loss, _ in rows) / self.rows
            gradient = [self.rounded(change(index, rows[index][1])) for index in sample]
            return {"loss": loss, "loss_type": "f32", "gradient": gradient if mode == "fused" else None}

        return Work(name, mode, lambda: None, results)


def prepare(dtype, classes, rows, file):
    loss, but_the_last = Loss(dtype, classes, rows, file), range(classes - 1)

    def off_target(row, gradient):
        target = inputs.target(row, classes)
        return [element if column == target else 0.0 for column, element in enumerate(gradient)]

    def next_row(row, gradient):
        return loss.row((row + 1) % rows, range(classes), range(classes))[1]

    def stale():
        """Right, but not computed: what was there before."""
        work, there = loss.work("stale"), [True]
        right = work.results
        nothing = {"loss": math.nan, "loss_type": "f32", "gradient": None}
        work.clear = there.clear
        work.results = lambda sample: right(sample) if there else nothing
        return work

    def no_memory():
        raise MemoryError("planted")

    return [[
        loss.work("right", "forward"),
        loss.work("right"),
        loss.by_log_p(),
        loss.work("column dropped", summed=but_the_last, written=but_the_last),
        loss.work("column of the sum dropped", "forward", summed=but_the_last),
        loss.work("column of the gradient dropped", written=but_the_last),
        loss.work("zero off target", change=off_target),
        loss.work("row of another", change=next_row),
        stale(),
        Work("fails", "fused", no_memory, lambda sample: {}),
        Work("copy", None, lambda: None, lambda sample: {}),
    ]]


worker.serve(lambda: {"versions": {"planted": "1"}}, prepare)
