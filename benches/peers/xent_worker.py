"""The library on the CPU, by its C ABI, where there is no PyTorch: with nothing but Python."""

import os

import worker
import xent
import xent_works
from host_memory import Place


def main():
    context, place = xent.Context("cpu", threads=int(os.environ.get("XENT_THREADS", 0))), Place()

    def prepare(dtype, classes, rows, file):
        logits, gradient = place.logits(dtype, classes, rows, file), place.empty(dtype, classes, rows)
        targets = place.targets(classes, rows)
        return [xent_works.works(context, place, dtype, (classes, rows), logits, targets, gradient)]

    worker.serve(lambda: {"versions": {"xent": xent.version()}}, prepare)


main()
