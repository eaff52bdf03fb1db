"""The report of a run, in the form of benches/report.schema.json. Needs nothing but Python."""

import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path

import inputs

# Whose time is also that of others, if theirs is shorter.
AT_ITS_BEST = {"torch best": "torch"}
CLOCKS = {
    "sm": "clocks.sm", "memory": "clocks.mem", "sm_max": "clocks.max.sm", "memory_max": "clocks.max.mem"}


class Entry:
    """What is known of a work: what it is, whether it is right, and its seconds, round by round."""

    def __init__(self, told, error, wrong):
        self.contender, self.mode, self.kernel = told["contender"], told["mode"], told["kernel"]
        self.error, self.wrong = error, wrong
        self.rounds = []

    def seconds(self):
        return statistics.median(number for times in self.rounds for number in times)


def results(shape, entries, copies):
    """The fastest right work of each contender in each mode; a wrong one where all are wrong."""
    chosen = {}
    for entry in entries:
        chosen.setdefault((entry.contender, entry.mode), []).append(entry)
    for (contender, mode), works in chosen.items():
        others = chosen.get((AT_ITS_BEST.get(contender), mode), [])
        right = [work for work in works + others if not work.wrong]
        best = min(right, key=Entry.seconds) if right else works[0]
        yield result(shape, contender, best, copies)


def result(shape, contender, entry, copies):
    dtype, classes, rows = shape
    logits = rows * classes * inputs.SIZES[dtype]
    moved = logits if entry.mode == "forward" else 2 * logits
    found = {
        "contender": contender, "dtype": dtype, "classes": classes, "rows": rows, "mode": entry.mode,
        "option": "none", "kernel": entry.kernel, "bytes": moved, "seconds": None, "gb_per_s": None,
        "copy_gb_per_s": None, "of_copy": None, "host_seconds": None, "plan_seconds": None,
        "error": entry.error, "wrong": entry.wrong}
    copies = [2e-9 * logits / statistics.median(times) for times in copies]
    if copies:
        found["copy_gb_per_s"] = statistics.median(copies)
    if entry.wrong is None:
        all_seconds = [number for times in entry.rounds for number in times]
        found["seconds"] = percentiles(all_seconds)
        found["gb_per_s"] = 1e-9 * moved / found["seconds"]["median"]
        speeds = [1e-9 * moved / statistics.median(times) for times in entry.rounds]
        shares = [speed / copy for speed, copy in zip(speeds, copies)]
        found["of_copy"] = statistics.median(shares) if shares else None
    return found


def percentiles(numbers):
    """The median, the 10th percentile and the 90th."""
    tenths = statistics.quantiles(numbers, n=10, method="inclusive") if len(numbers) > 1 else numbers
    return {"median": statistics.median(numbers), "low": tenths[0], "high": tenths[-1]}


def report(created, command, versions, device, protocol, found, missing):
    return {
        "schema": 1,
        "created": created,
        "command": command,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "processors": len(os.sched_getaffinity(0)),
        },
        "device": device,
        "versions": versions | {"python": platform.python_version()},
        "protocol": protocol,
        "results": found,
        "missing": [{"contender": name, "reason": reason} for name, reason in missing.items()],
    }


def is_sound(report):
    """Whether the library took part, and was right."""
    wrong = [result for result in report["results"] if result["contender"] == "xent" and result["wrong"]]
    return not wrong and "xent" not in [of["contender"] for of in report["missing"]]


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def processor():
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def clocks():
    """Of the first GPU, as nvidia-smi tells; None where it does not."""
    asked = ["--id=0", f"--query-gpu={','.join(CLOCKS.values())}", "--format=csv,noheader,nounits"]
    try:
        line = subprocess.run(["nvidia-smi", *asked], check=True, stdout=subprocess.PIPE, text=True).stdout
        return dict(zip(CLOCKS, map(float, line.split(",")), strict=True))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def folder(device):
    """Of the results of a device, by its name."""
    return re.sub(r"[^a-z0-9]+", "-", device["name"].lower()).strip("-")
