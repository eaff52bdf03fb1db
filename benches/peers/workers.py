"""Processes that time contenders: how each is built and started, and how it is asked."""

import functools
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benches/peers"
OF_TORCH = ["torch", "torch best", "torch.compile", "liger", "flash-attn", "quack"]


class Ended(Exception):
    """A worker is no more; the text is the last that it said."""


class Worker:
    """A process that times what it is asked, on the first processors alone."""

    def __init__(self, contenders, command, threads=None):
        self.contenders = contenders
        self.said = tempfile.TemporaryFile("w+")
        processors = sorted(os.sched_getaffinity(0))[:threads]
        count = str(len(processors))
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
            env=os.environ | {"XENT_THREADS": count, "OMP_NUM_THREADS": count, "RAYON_NUM_THREADS": count},
            preexec_fn=lambda: os.sched_setaffinity(0, processors))

    def ask(self, question):
        try:
            print(question, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it ended before; there is no answer
        answer = self.process.stdout.readline()
        if not answer:
            raise Ended(self.last_words())
        return json.loads(answer)

    def last_words(self):
        status = self.process.wait()
        self.said.seek(0)
        lines = [line.strip() for line in self.said if line.strip()]
        return lines[-1] if lines else f"ended with status {status}"

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cargo(*arguments, **environment):
    command = [os.environ.get("CARGO", "cargo"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                          env=os.environ | environment).stdout


@functools.cache
def bench():
    """The program of cargo bench --bench cpu, which knows the limits."""
    built = cargo("bench", "--bench", "cpu", "--no-run", "--message-format=json")
    messages = map(json.loads, built.splitlines())
    return next(message["executable"] for message in messages
                if message.get("target", {}).get("kind") == ["bench"])


@functools.cache
def candle():
    """As its authors advise: for this processor."""
    target = ROOT / "target/peers/candle"
    cargo("build", "--release", "--manifest-path", PEERS / "candle/Cargo.toml", "--target-dir", target,
          RUSTFLAGS="-C target-cpu=native")
    return target / "release/xent-peer-candle"


def python(file, *arguments):
    return [sys.executable, PEERS / file, *arguments]


def on_the_cpu(peers, threads):
    """Who takes part in which process: contenders, and a function of its command."""
    has_torch = importlib.util.find_spec("torch") is not None
    of_torch = [peer for peer in peers if peer in OF_TORCH]
    yield ["copy", "read"], lambda: [bench(), "--bench", "--serve", "--threads", str(threads)]
    ours = ["torch_worker.py", "cpu", "xent"] if has_torch else ["xent_worker.py"]
    yield ["xent"], lambda: python(*ours)
    if of_torch:
        yield of_torch, lambda: python("torch_worker.py", "cpu", ",".join(of_torch))
    if "jax" in peers:
        yield ["jax"], lambda: python("jax_worker.py")
    if "candle" in peers:
        yield ["candle"], lambda: [candle()]


def on_a_gpu(peers):
    """All in one, so that they share the context and the stream of PyTorch."""
    contenders = ["copy", "xent", *peers]
    yield contenders, lambda: python("torch_worker.py", "cuda", ",".join(contenders))


def start(groups, threads=None):
    """Workers, versions, the GPU if there is one, and who is missing and why."""
    workers, versions, device, missing = [], {}, None, {}
    for contenders, command in groups:
        try:
            worker = Worker(contenders, command(), threads)
            about = worker.ask("describe")
        except (Ended, OSError, subprocess.CalledProcessError) as error:
            missing |= dict.fromkeys(contenders, str(error))
            continue
        workers.append(worker)
        missing |= about.get("missing", {})
        versions |= about.get("versions", {})
        device = device or about.get("device")
    return workers, versions, device, missing


def also(text):
    """NAME=COMMAND: a contender of one's own, a program that answers as worker.py says."""
    name, command = text.split("=", 1)
    return [name], lambda: shlex.split(command)
