"""Tensors of PyTorch, on the CPU or a GPU."""

import torch

import inputs

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
NAMES = {dtype: name for name, dtype in TYPES.items()}


class Place:
    """Where tensors are made, and how they are read."""

    def __init__(self, device):
        self.device = torch.device(device)

    def logits(self, dtype, classes, rows, file):
        period = torch.from_file(str(file), size=inputs.PERIOD, dtype=TYPES[dtype]).to(self.device)
        logits = self.empty(dtype, classes, rows)
        for part in logits.view(-1).split(inputs.PERIOD):
            part.copy_(period[:len(part)])
        return logits

    def empty(self, dtype, classes, rows):
        """Its pages are there once it is written."""
        return torch.zeros((rows, classes), dtype=TYPES[dtype], device=self.device)

    def targets(self, classes, rows):
        return inputs.target(torch.arange(rows, device=self.device), classes)

    def loss(self):
        return torch.zeros((), dtype=torch.float32, device=self.device)

    def clear(self, tensor):
        tensor.fill_(float("nan"))

    def copy(self, to, source):
        to.copy_(source)

    def stream(self):
        """That of PyTorch's work, where it has one."""
        return torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else None

    def results(self, sample, loss, gradient=None, classes=0, scale=1):
        """In numbers; those of a gradient times a scale."""
        def numbers(row):
            return (gradient[row].double() * scale).tolist()

        rows = None if gradient is None else [numbers(row) for row in sample]
        return {"loss": loss.item(), "loss_type": NAMES[loss.dtype], "gradient": rows}
