"""What differs where PyTorch's tensors are on a GPU: the clock, and how many of them there are."""

import torch

import inputs

LEAD = 1 << 29  # bytes


class Clock:
    """Seconds of one run of several, between two events of the current stream. Before the first, a copy
    that the device is busy with while the runs are being launched: so their time is that of the device.
    A contender that waits for results in between pays for that, as its users do."""

    def __init__(self, device):
        self.lead = torch.zeros((2, LEAD), dtype=torch.uint8, device=device)

    def __call__(self, runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.lead[1].copy_(self.lead[0])
        begin.record()
        for run in runs:
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000 / len(runs)  # from milliseconds


def copies(device, dtype, classes, rows):
    """So many tensors in turn that all of them are more than twice the last cache, and at least two."""
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    each = 2 * rows * classes * inputs.SIZES[dtype]
    return max(2, 2 * cache // each + 1)


def describe(device):
    found = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda", "name": found.name, "compute_capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count, "memory_bytes": found.total_memory,
        "cache_bytes": found.L2_cache_size}
