"""Times the library and its peers in turn, round by round the same shape, after what each computes was
held against float64. Prints medians, and the peers' as multiples of the library's."""

import argparse
import json
import os
import secrets
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

import check
import inputs
import report
import tables
import workers
from workers import ROOT, Ended

ROWS = {32000: 4096, 50257: 1024, 128256: 512, 1000: 65536, 10: 1 << 22}
QUICK = [32000, 1000]
PATIENCE = 30  # seconds for a shape: who took longer is not asked again, and needs no finer ratio
PEERS = {"cpu": ["torch", "torch best", "jax", "candle"],
         "cuda": ["torch", "torch.compile", "liger", "flash-attn", "quack"]}


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    words = lambda text: text.split(",")
    integers = lambda text: [int(word) for word in text.split(",")]
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--types", type=words, default=["f32", "bf16", "f16"])
    parser.add_argument("--classes", type=integers)
    parser.add_argument("--rows", type=int, help="of all shapes")
    parser.add_argument("--threads", type=integers, help="of the CPU: all, then 1")
    parser.add_argument("--rounds", type=int, help="of all contenders in turn: 5")
    parser.add_argument("--repeats", type=int, default=1, help="of each work in a round")
    parser.add_argument("--seed", type=int, default=None, help="of the inputs: a new one")
    parser.add_argument("--quick", action="store_true",
                        help="few rounds of small tensors: nothing to quote")
    parser.add_argument("--peers", type=words, help="of " + ", ".join(workers.OF_TORCH + ["jax", "candle"]))
    parser.add_argument("--also", type=workers.also, action="append", default=[], metavar="NAME=COMMAND",
                        help="a contender that answers as worker.py says")
    parser.add_argument("--save", nargs="?", const="", metavar="FOLDER",
                        help="peers.json and peers.txt, in benches/results/<device> if not there")
    return defaults(parser.parse_args())


def defaults(options):
    processors = len(os.sched_getaffinity(0))
    usual = [processors, 1][:1 if options.quick or processors == 1 else 2]
    options.threads = (options.threads or usual) if options.device == "cpu" else [processors]
    options.classes = options.classes or (QUICK if options.quick else list(ROWS))
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.peers = list(filter(None, PEERS[options.device] if options.peers is None else options.peers))
    options.seed = secrets.randbits(32) if options.seed is None else options.seed
    return options


def shapes(options):
    for classes in options.classes:
        usual = ROWS.get(classes, (1 << 26) // classes)
        rows = options.rows or max(usual // (16 if options.quick else 1), 1)
        for dtype in options.types:
            yield dtype, classes, rows


class Comparison:
    """The workers of a run, and who is missing and why."""

    def __init__(self, options, threads):
        self.options = options
        groups = workers.on_a_gpu(options.peers) if options.device == "cuda" else (
            workers.on_the_cpu(options.peers, threads))
        found = workers.start([*groups, *options.also], threads)
        self.workers, self.versions, self.device, self.missing = found
        if options.device == "cpu":
            self.device = {"kind": "cpu", "name": report.processor(), "threads": threads}
        elif self.device is None:
            sys.exit(f"no GPU: {self.missing['copy']}")

    def ask(self, worker, question):
        """The answer; none of a worker that ends, which is missing from then on."""
        try:
            return worker.ask(question)
        except Ended as end:
            self.workers.remove(worker)
            self.missing |= dict.fromkeys(worker.contenders, f"{self.shape}: {end}")
            return {}

    def measure(self, shape, folder):
        """What is known of each work, and the seconds of each limit, round by round."""
        self.shape = " ".join(map(str, shape))
        entries, limits = self.prepare(shape, folder), {}
        spent = dict.fromkeys(self.workers, 0)
        for turn in range(self.options.rounds):
            here = [worker for worker in self.workers if spent[worker] < PATIENCE]
            first = turn % max(len(here), 1)
            for worker in here[first:] + here[:first]:
                start = time.monotonic()
                for name, seconds in self.ask(worker, f"time {self.options.repeats}").items():
                    entry = entries.get((worker, name))
                    (entry.rounds if entry else limits.setdefault(name, [])).append(seconds)
                spent[worker] += time.monotonic() - start
        return [entry for entry in entries.values() if entry.rounds], limits

    def prepare(self, shape, folder):
        """Everything is checked before anything is timed."""
        dtype, classes, rows = shape
        data = inputs.draw(self.options.seed, *shape)
        sample = inputs.sample(self.options.seed, classes, rows)
        exact = check.Exact(dtype, classes, rows, data)
        file = Path(folder) / "logits"
        file.write_bytes(data)
        entries = {}
        for worker in list(self.workers):
            question = f"prepare {self.shape} {file} {','.join(map(str, sample))}"
            for name, told in self.ask(worker, question).items():
                if "failed" in told:
                    self.missing.setdefault(told["contender"], f"{self.shape}: {told['failed']}")
                elif "loss" in told:  # else it is a limit
                    entries[worker, name] = report.Entry(told, *check.judge(exact, sample, dtype, told))
        return entries

    def run(self, folder):
        """The results of all shapes, and the seconds of each limit by shape."""
        results, limits = [], {}
        for shape in shapes(self.options):
            entries, found = self.measure(shape, folder)
            results += report.results(shape, entries, found.get("copy", []))
            for name, rounds in found.items():
                seconds = [number for times in rounds for number in times]
                limits.setdefault(name, {})[shape] = statistics.median(seconds)
            print(f"  measured: {self.shape}", file=sys.stderr, flush=True)
        for worker in self.workers:
            worker.close()
        return results, limits


def run(options, threads):
    """A report, and its text."""
    created = report.now()
    comparison = Comparison(options, threads)
    with tempfile.TemporaryDirectory() as folder:
        results, limits = comparison.run(folder)
    if options.device == "cuda" and (clocks := report.clocks()):
        comparison.device["clocks_mhz"] = clocks
    protocol = {"rounds": options.rounds, "seed": options.seed, "quick": options.quick}
    command = shlex.join(["benches/peers/run", *sys.argv[1:]])
    found = report.report(
        created, command, comparison.versions, comparison.device, protocol, results, comparison.missing)
    return found, tables.text(found, limits)


def save(options, reports):
    """Those of fewer threads than the first have their number in the name."""
    for found, _ in reports:
        folder = Path(options.save) if options.save else (
            ROOT / "benches/results" / report.folder(found["device"]))
        folder.mkdir(parents=True, exist_ok=True)
        threads = "" if found is reports[0][0] else f"-{found['device']['threads']}"
        (folder / f"peers{threads}.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    (folder / "peers.txt").write_text("\n\n".join(text for _, text in reports) + "\n")
    print(f"\nwritten: {folder}/peers.json, peers.txt")


def main():
    options = arguments()
    reports = []
    for threads in options.threads:
        reports.append(run(options, threads))
        print(reports[-1][1], flush=True)
    if options.save is not None:
        save(options, reports)
    sys.exit(not all(report.is_sound(found) for found, _ in reports))


if __name__ == "__main__":
    main()
