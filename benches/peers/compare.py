"""Times the library and its peers, each in a process of its own, in turn: round by round the same
shape on the same processors. Prints medians, and the peers' as multiples of the library's."""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benches/peers"
ROWS = {10: 1 << 22, 1000: 65536, 32000: 4096, 50257: 1024, 128256: 512}
PATIENCE = 30  # seconds for a shape: who took longer is not asked again, and needs no finer ratio


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    words = lambda text: text.split(",")
    integers = lambda text: [int(word) for word in text.split(",")]
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("--types", type=words, default=["f32", "bf16", "f16"])
    parser.add_argument("--classes", type=integers, default=[32000, 50257, 128256, 1000, 10])
    parser.add_argument("--threads", type=integers, default=sorted({processors, 1}, reverse=True))
    parser.add_argument("--rounds", type=int, default=5, help="of all processes in turn")
    parser.add_argument("--repeats", type=int, default=1, help="of each work in a round")
    parser.add_argument("--quick", action="store_true", help="half of the rows: nothing to quote")
    parser.add_argument("--peers", type=words, default=["torch", "jax", "candle"])
    parser.add_argument("--save", action="store_true", help="as benches/results/<processor>/cpu.txt, "
                        "after what cargo bench --bench cpu prints")
    return parser.parse_args()


def build_bench():
    """The program of cargo bench --bench cpu."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", "cpu", "--no-run", "--message-format=json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, built.stdout.splitlines())
    return next(message["executable"] for message in messages
                if message.get("target", {}).get("kind") == ["bench"])


def build_candle():
    """As its authors advise: for this processor."""
    target = ROOT / "target/peers/candle"
    subprocess.run(
        ["cargo", "build", "--release", "--manifest-path", PEERS / "candle/Cargo.toml",
         "--target-dir", target],
        check=True, env=os.environ | {"RUSTFLAGS": "-C target-cpu=native"})
    return target / "release/xent-peer-candle"


class Worker:
    """A process that times what it is asked, on the first processors alone."""

    def __init__(self, command, threads):
        processors = sorted(os.sched_getaffinity(0))[:threads]
        count = str(threads)
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"XENT_THREADS": count, "OMP_NUM_THREADS": count, "RAYON_NUM_THREADS": count},
            preexec_fn=lambda: os.sched_setaffinity(0, processors))

    def ask(self, question):
        print(question, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args} ended at {question}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(workers, question, rounds):
    """The median seconds of each work."""
    seconds = {}
    spent = dict.fromkeys(workers, 0)
    for _ in range(rounds):
        for worker in workers:
            if spent[worker] < PATIENCE:
                start = time.monotonic()
                for name, times in worker.ask(question).items():
                    seconds.setdefault(name, []).extend(times)
                spent[worker] += time.monotonic() - start
    return {name: statistics.median(times) for name, times in seconds.items()}


def goals(dtype, classes):
    """At least so many times as fast: loss and gradient against PyTorch's best and JAX, the loss alone
    against PyTorch's best."""
    if classes < 100:
        return (6 if dtype == "f32" else 20), None, None
    if classes < 10000:
        return None, None, 5
    return (5, 7, 5) if dtype == "f32" else (6, None, 5)


def times_as_fast(ours, peer, goal=None):
    ratio = peer / ours
    if goal is None:
        return f"{ratio:.1f}x"
    return f"{ratio:.1f}x >= {goal}x {'ok' if ratio >= goal else 'missed':6}"


def lines(dtype, classes, rows, found):
    """One line for loss and gradient, one for the loss alone."""
    ms = lambda name: f"{1e3 * found[name]:.1f}" if name in found else "-"
    fused_goal, jax_goal, forward_goal = goals(dtype, classes)
    shape = [dtype, str(classes), str(rows)]

    def against(name, goal, ours):
        return times_as_fast(found[ours], found[name], goal) if name in found else "-"

    def best(names):
        known = [name for name in names if name in found]
        return min(known, key=found.get, default=names[0])

    best_fused = best(["torch", "torch out=", "torch formula out="])
    best_forward = best(["torch forward", "torch forward out="])
    fused = shape + [
        ms("floor"), ms("fused"), f"{found['fused'] / found['floor']:.2f}",
        ms("torch"), ms(best_fused), ms("jax"), ms("candle"),
        against("torch", None, "fused"), against(best_fused, fused_goal, "fused"),
        against("jax", jax_goal, "fused"), against("candle", None, "fused")]
    forward = shape + [
        ms("read"), ms("forward"), f"{found['forward'] / found['read']:.2f}",
        ms("torch forward"), ms(best_forward), ms("jax forward"), ms("candle forward"),
        against("torch forward", None, "forward"), against(best_forward, forward_goal, "forward"),
        against("jax forward", None, "forward"), against("candle forward", None, "forward")]
    return fused, forward


def table(header, rows):
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths))
                     for row in [header, *rows])


def processor():
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def versions(peers):
    found = [f"{name} {version(name)}" for name in ["torch", "jax", "numpy"] if name in [*peers, "numpy"]]
    if "candle" in peers:
        manifest = tomllib.loads((PEERS / "candle/Cargo.toml").read_text())
        found.append("candle " + manifest["dependencies"]["candle-core"].lstrip("="))
    return ", ".join(found + [f"Python {platform.python_version()}"])


def main():
    options = arguments()
    report = []

    def say(text):
        print(text, flush=True)
        report.append(text)

    bench = build_bench()
    commands = {"torch": [sys.executable, PEERS / "torch_worker.py"],
                "jax": [sys.executable, PEERS / "jax_worker.py"]}
    if "candle" in options.peers:
        commands["candle"] = [build_candle()]
    if options.save:
        quick = ["--quick"] if options.quick else []
        ours = subprocess.run([bench, "--bench", *quick], check=True, stdout=subprocess.PIPE, text=True)
        say(ours.stdout)
    say("benches/peers/run " + " ".join(sys.argv[1:]))
    say(versions(options.peers))
    say(f"medians of {options.rounds} rounds of {options.repeats}, all processes in turn")

    for threads in options.threads:
        workers = [Worker([bench, "--bench", "--serve", "--threads", str(threads)], threads)]
        workers += [Worker(commands[peer], threads) for peer in options.peers]
        both = []
        for classes in options.classes:
            rows = ROWS.get(classes, (1 << 26) // classes) // (2 if options.quick else 1)
            for dtype in options.types:
                question = f"{dtype} {classes} {rows} {options.repeats}"
                found = measure(workers, question, options.rounds)
                print(f"  measured: {question}", file=sys.stderr, flush=True)
                both.append(lines(dtype, classes, rows, found))
        for worker in workers:
            worker.close()
        shape = ["type", "classes", "rows"]
        peers = ["torch", "its best", "jax", "candle"]
        multiples = ["torch/ours", "its best/ours", "jax/ours", "candle/ours"]
        say(f"\nLoss and gradient against peers, {threads} thread(s): milliseconds, and multiples of ours")
        header = shape + ["floor", "ours", "ours/floor"] + peers + multiples
        say(table(header, [fused for fused, _ in both]))
        say(f"\nLoss alone against peers, {threads} thread(s)")
        header = shape + ["read", "ours", "ours/read"] + peers + multiples
        say(table(header, [forward for _, forward in both]))

    if options.save:
        name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
        file = ROOT / "benches/results" / name / "cpu.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(report) + "\n")
        print(f"\nwritten: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
