"""Memory of the host for the library's works, with nothing but Python: what tensors.py has of PyTorch."""

import ctypes
import mmap

import inputs


class Tensor:
    def __init__(self, dtype, count, size):
        self.dtype, self.size = dtype, size
        self.memory = mmap.mmap(-1, max(count * size, 1))  # begins at a page

    def data_ptr(self):
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def numbers(self, begin, end):
        return inputs.decode(self.dtype, self.memory[begin * self.size:end * self.size])


class Place:
    """Where tensors are made, and how they are read."""

    def logits(self, dtype, classes, rows, file):
        tensor = self.empty(dtype, classes, rows)
        with open(file, "rb") as period:
            data = period.read()
        left = rows * classes * tensor.size
        while left:
            left -= tensor.memory.write(data[:left])
        return tensor

    def empty(self, dtype, classes, rows):
        return Tensor(dtype, classes * rows, inputs.SIZES[dtype])

    def targets(self, classes, rows):
        tensor = Tensor("i64", rows, 8)
        for row in range(rows):
            tensor.memory.write(inputs.target(row, classes).to_bytes(8, "little"))
        return tensor

    def loss(self):
        return Tensor("f32", 1, 4)

    def clear(self, tensor):
        tensor.memory[:] = b"\xff" * len(tensor.memory)

    def copy(self, to, source):
        to.memory[:] = source.memory[:]

    def stream(self):
        return None

    def results(self, sample, loss, gradient=None, classes=0):
        numbers = lambda row: gradient.numbers(row * classes, (row + 1) * classes)
        rows = [numbers(row) for row in sample] if gradient else None
        return {"loss": loss.numbers(0, 1)[0], "loss_type": "f32", "gradient": rows}
