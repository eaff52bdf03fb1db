"""What every peer does. A line of the standard input asks, a line of JSON answers:

    describe                                  versions, what is missing and why, the device if it is a GPU
    prepare TYPE CLASSES ROWS FILE ROW,...    makes the tensors of a shape, whose logits repeat the elements
                                              of FILE; runs every work once, into outputs of NaN, and
                                              answers with its loss, and its gradient in these rows
    time REPEATS                              the seconds of each repeat, by work

All works of a shape run in turn. Others were asked in between, so the first one runs once before."""

import json
import os
import sys
import time


class Work:
    """A way to compute the loss of a shape, or its loss and gradient."""

    def __init__(self, contender, mode, run, results, clear=None, restore=None, kernel=None):
        self.contender, self.mode, self.kernel = contender, mode, kernel
        self.run = run
        self.results = results                      # of the last run, given the rows to tell of
        self.clear = clear or (lambda: None)        # makes the outputs NaN
        self.restore = restore or (lambda: None)    # the inputs, where a run overwrites them

    def name(self):
        return " ".join(filter(None, [self.contender, self.mode, self.kernel]))

    def checked(self, sample):
        self.clear()
        self.restore()
        self.run()
        return self.results(sample)


def outcome(alike, sample):
    """What a work computes on its first tensors, or why it does not; it runs on all of them."""
    first = alike[0]
    told = {"contender": first.contender, "mode": first.mode, "kernel": first.kernel}
    try:
        results = [work.checked(sample) for work in alike]
        return told | results[0]
    except Exception as error:  # of whatever kind: a peer that fails is named, and others go on
        return told | {"failed": reason(error)}


def reason(error):
    """The first line of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def wall(runs):
    """Seconds of one run of several."""
    start = time.perf_counter()
    for run in runs:
        run()
    return (time.perf_counter() - start) / len(runs)


def serve(describe, prepare, clock=wall):
    """prepare(dtype, classes, rows, file) returns lists of the same works, each on tensors of its own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print is no answer
    works, turn = {}, 0
    for line in sys.stdin:
        request, *words = line.split()
        if request == "describe":
            answer = describe()
        elif request == "prepare":
            works = {}  # gives its memory back
            dtype, classes, rows, file, sample = words
            alike = list(zip(*prepare(dtype, int(classes), int(rows), file)))
            sample = [int(row) for row in sample.split(",")]
            answer = {of[0].name(): outcome(of, sample) for of in alike}
            works = {of[0].name(): of for of in alike if "failed" not in answer[of[0].name()]}
        elif request == "time":
            answer, turn = measure(works, int(words[0]), clock, turn), turn + 1
        else:
            raise ValueError(line)
        print(json.dumps(answer), file=answers, flush=True)


def measure(works, repeats, clock, turn):
    """The seconds of each work; each time another one is the first."""
    names = list(works)
    first = turn % max(len(names), 1)
    for work in works[names[first]] if names else []:
        work.restore()
        work.run()
    seconds = {name: [] for name in names}
    for _ in range(repeats):
        for name in names[first:] + names[:first]:
            for work in works[name]:
                work.restore()
            seconds[name].append(clock([work.run for work in works[name]]))
    return seconds
