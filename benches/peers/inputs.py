"""The inputs of a shape, which all contenders have in common. Needs nothing but Python.

Logits repeat after a prime number of them, so that rows differ; these numbers are drawn anew for each
shape of each run. Targets are a function of the row."""

import random
import struct
from array import array

PERIOD = 65537
SIZES = {"f32": 4, "f16": 2, "bf16": 2}
SAMPLE = 1 << 16  # elements of the gradient that are looked at, and at least
FEWEST = 3        # rows, at most
MOST = 64


def draw(seed, dtype, classes, rows):
    """The bytes of a period of logits, as normally distributed as those of a network."""
    stream = random.Random(f"{seed} {dtype} {classes} {rows}")
    return encode(dtype, [stream.gauss(0, 3) for _ in range(PERIOD)])


def target(row, classes):
    return row * 7919 % classes


def sample(seed, classes, rows):
    """The rows whose gradient is looked at: the first, the last, and some between."""
    count = min(rows, MOST, max(FEWEST, SAMPLE // classes))
    between = range(1, max(rows - 1, 1))
    chosen = random.Random(seed).sample(between, min(max(count - 2, 0), len(between)))
    return sorted({0, rows - 1, *chosen})


def encode(dtype, numbers):
    """Numbers as elements of a type, rounded to nearest."""
    numbers = list(numbers)
    if dtype != "bf16":
        return struct.pack(f"{len(numbers)}{'f' if dtype == 'f32' else 'e'}", *numbers)
    words = struct.unpack(f"{len(numbers)}I", struct.pack(f"{len(numbers)}f", *numbers))
    return array("H", [(word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words]).tobytes()


def decode(dtype, data):
    """Elements of a type as numbers."""
    count = len(data) // SIZES[dtype]
    if dtype != "bf16":
        return list(struct.unpack(f"{count}{'f' if dtype == 'f32' else 'e'}", data))
    words = struct.pack(f"{count}I", *[half << 16 for half in struct.unpack(f"{count}H", data)])
    return list(struct.unpack(f"{count}f", words))
