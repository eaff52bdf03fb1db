"""Contenders that share PyTorch's tensors, and on a GPU its context and its current stream:
torch_worker.py DEVICE CONTENDER,..."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

import cuda
import worker
import xent
from tensors import Place
from torch_works import CONTENDERS, Tensors

PACKAGES = ["torch", "triton", "liger-kernel", "flash-attn", "quack-kernels"]


def missing(names, place):
    """Who cannot take part, and why."""
    found = {}
    for name in names:
        try:
            CONTENDERS[name](place)
        except Exception as error:  # whatever an import may raise
            found[name] = worker.reason(error)
    return found


def versions(names, on_gpu):
    found = {"xent": xent.version()} if "xent" in names else {}
    if on_gpu:
        found["cuda"] = torch.version.cuda
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def main():
    place, names = Place(sys.argv[1]), sys.argv[2].split(",")
    on_gpu = place.device.type == "cuda"
    if not on_gpu:
        # Where only the library computes, others would spin for a while after each copy.
        torch.set_num_threads(1 if names == ["xent"] else int(os.environ["XENT_THREADS"]))
    lacking = missing(names, place)

    def describe():
        device = cuda.describe(place.device) if on_gpu else None
        return {"versions": versions(names, on_gpu), "missing": lacking, "device": device}

    def prepare(dtype, classes, rows, file):
        makers = [CONTENDERS[name](place) for name in names if name not in lacking]
        count = cuda.copies(place.device, dtype, classes, rows) if on_gpu else 1
        alike = [Tensors(place, dtype, (classes, rows), file) for _ in range(count)]
        return [[work for maker in makers for work in maker(tensors)] for tensors in alike]

    worker.serve(describe, prepare, cuda.Clock(place.device) if on_gpu else worker.wall)


main()
