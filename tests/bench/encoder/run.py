#!/usr/bin/env python3
"""The encoder against its limit and its peers; writes target/bench/encoder.json.

Every target is a process of its own on one and the same core, with one thread. They take turns, round after round, so
that what else the machine does falls on all alike; a turn is one run that is not timed, then some that are. A ratio is the
median over the rounds of the ratio of both medians of a round.

Examples:
  make bench-encoder                       # builds what is needed, then runs this and variants.py
  tests/bench/encoder/run.py --quick       # a short run, for trying
  tests/bench/encoder/run.py --data DIR    # and the accuracy on each labelled file (see `hoopoe model eval --help`)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODEL = ROOT / "target/model/current"
PEERS = ROOT / "target/bench/encoder-peers"
BUILD = ROOT / "target/bench/build/release"
PYTHON = ROOT / "target/venv/bench-encoder/bin/python"
OUT = ROOT / "target/bench/encoder.json"
BATCHES, TOKENS = (1, 4, 10, 32), (8, 16, 32, 64, 128)
# A turn computes about so many tokens of each shape.
TURN = 2000
# What a vector of the same weights may differ by between tokenizers and runtimes.
SAME = 0.999

INT8_PEERS = {"Python onnxruntime": "onnxruntime", "fastembed": "fastembed"}


class Worker:
    """A process that answers requests; `why` says what stopped it."""

    def __init__(self, command: list[object], core: int) -> None:
        self.why: str | None = None
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment,
        )

    def ask(self, target: str, batches: list[list[str]], runs: int, make: list[int] | None = None) -> dict | None:
        if self.why is not None:
            return None
        request = {"target": target, "batches": batches, "runs": runs, "make": make}
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        self.why = " / ".join(lines[-3:])[:400] or "it ended"
        return None


class Times:
    """Seconds by case and target, a list for each round."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[object, str], list[list[float]]] = {}

    def add(self, case: object, target: str, answer: dict | None) -> None:
        if answer is not None:
            self.rounds.setdefault((case, target), []).append(answer["seconds"])

    def median(self, case: object, target: str) -> float | None:
        rounds = self.rounds.get((case, target))
        return statistics.median(sum(rounds, [])) if rounds else None

    def ratio(self, case: object, target: str, base: str) -> float | None:
        """How many times as long as `base`."""
        pairs = zip(self.rounds.get((case, target), []), self.rounds.get((case, base), []))
        ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
        return statistics.median(ratios) if ratios else None

    def shown(self, case: object, target: str) -> str:
        rounds = self.rounds.get((case, target))
        if not rounds:
            return "-"
        values = sorted(value * 1e3 for value in sum(rounds, []))
        low, high = values[len(values) // 10], values[-1 - len(values) // 10]
        return f"{statistics.median(values):.2f} ({low:.2f}-{high:.2f})"


def messages() -> list[str]:
    """The held-out questions of the default pack, Chinese and English, in a fixed random order."""
    lines = (ROOT / "infra/packs/shop/test.yaml").read_text("utf-8").splitlines()
    found = [re.search(r'text: (".*")\}', line) for line in lines]
    texts = [json.loads(match[1]) for match in found if match]
    random.Random(0).shuffle(texts)
    return texts


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--rounds", type=int, help="default 11, quick 2")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, help="a folder of labelled files")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 11)

    def worker(*command: object) -> Worker:
        return Worker(list(command), arguments.core)

    int8, fp32 = worker(BUILD / "ours", MODEL), worker(BUILD / "ours", MODEL, PEERS / "fp32/model.onnx")
    python = {
        name: worker(PYTHON, HERE / "peers.py", kind, MODEL / "model.onnx", PEERS) for name, kind in INT8_PEERS.items()
    }
    rust = {
        "candle FP32": worker(BUILD / "candle", PEERS, MODEL / "tokenizer.bin"),
        "tract FP32": worker(BUILD / "tract", MODEL / "fp32/model.onnx", MODEL / "tokenizer.bin"),
    }
    targets: list[tuple[str, Worker, str]] = [
        ("bare", int8, "whole"), ("ours", int8, "ours"), ("FP32 bare", fp32, "whole"), ("FP32 ours", fp32, "ours"),
        *((name, process, "peer") for name, process in (python | rust).items()),
    ]

    texts = messages()
    words = [word for text in texts[:400] for word in text.split()]
    cases = [(batch, tokens) for batch in BATCHES for tokens in TOKENS]
    made = {case: int8.ask("ours", [words], 0, list(case))["texts"] for case in cases}
    same, differ = check_vectors(texts[:320], int8, fp32, targets)

    grid, mix = Times(), Times()
    sizes = (10, 32)
    mixes = {size: [texts[i : i + size] for i in range(0, 320, size)] for size in sizes}
    computed: dict[tuple[int, str], int] = {}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for case in cases:
            runs = min(max(TURN // (case[0] * case[1]), 1), 20)
            for name, process, target in targets:
                grid.add(case, name, process.ask(target, [made[case]], runs))
            grid.add(case, "tokens", int8.ask("tokens", [made[case]], runs))
        for size in sizes:
            for name, target in (("bare", "bare"), ("ours", "ours"), ("padded", "padded"), ("tokens", "tokens")):
                answer = int8.ask(target, mixes[size], 1)
                computed[size, name] = answer["computed"]
                mix.add(size, name, answer)
            # tract plans for one shape, and here every batch has its own.
            for name, process in (python | {"candle FP32": rust["candle FP32"]}).items():
                mix.add(size, name, process.ask("peer", mixes[size], 1))

    sections = [
        limit_section(grid, cases, rounds),
        peers_section(grid, cases, python | rust, same, differ),
        mix_section(mix, sizes, computed, python | rust),
        int8_section(grid, cases),
    ]
    if arguments.data:
        sections.append(accuracy_section(arguments.data))
    variants = ROOT / "target/bench/encoder-variants.json"
    if variants.exists():
        sections += json.loads(variants.read_text("utf-8"))
    report = {"name": "encoder", "title": "Encoder", "command": "make bench-encoder", "sections": sections}
    OUT.write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
    for section in sections:
        for goal in section["goals"]:
            say(f"{'met    ' if goal['met'] else 'not met'}  {goal['goal']}: {goal['measured']}")
    say(str(OUT.relative_to(ROOT)))


def check_vectors(
    texts: list[str], int8: Worker, fp32: Worker, targets: list[tuple[str, Worker, str]]
) -> tuple[dict[str, float], dict[str, int]]:
    """The mean cosine of each target's vectors to ours of the same weights, and the texts whose cosine is below SAME."""
    vectors = [worker.ask("ours", [texts], 0)["vectors"] for worker in (int8, fp32)]
    means, differ = {}, {}
    for name, process, _ in targets:
        ours = vectors["FP32" in name]
        answer = process.ask("ours", [texts], 0)
        if answer is None:
            say(f"{name} does not run: {process.why}")
            continue
        cosines = [sum(a * b for a, b in zip(x, y)) for x, y in zip(ours, answer["vectors"])]
        means[name], differ[name] = statistics.mean(cosines), sum(cosine < SAME for cosine in cosines)
    return means, differ


def label(case: tuple[int, int]) -> str:
    return f"{case[0]} x {case[1]}"


def goal(text: str, measured: str, met: bool, why: str) -> dict:
    return {"goal": text, "measured": measured, "met": met, "why": None if met else why}


def limit_section(grid: Times, cases: list[tuple[int, int]], rounds: int) -> dict:
    ratios = {case: grid.ratio(case, "ours", "bare") for case in cases}
    rows = [
        [label(case), grid.shown(case, "bare"), grid.shown(case, "ours"), times(ratios[case]),
         f"{grid.median(case, 'tokens') * 1e6:.0f}"]
        for case in cases
    ]
    goals = []
    for batch in (1, 10):
        worst = max((case for case in cases if case[0] == batch), key=lambda case: ratios[case])
        goals.append(
            goal(f"at most 1.05 x the bare session at batch {batch}", f"{ratios[worst]:.2f} x at worst ({label(worst)})",
                 ratios[worst] <= 1.05, f"tokenising takes {grid.median(worst, 'tokens') * 1e6:.0f} microseconds of it")
        )
    plots = [
        {"file": f"encoder-limit-{batch}", "title": f"Ours and the bare session, batch {batch}", "kind": "line",
         "x_label": "tokens", "y_label": "ms", "log_x": True, "log_y": True,
         "series": {
             name: [[tokens, grid.median((batch, tokens), name) * 1e3] for tokens in TOKENS] for name in ("bare", "ours")
         }}
        for batch in (1, 10)
    ]
    text = (
        f"Texts in and vectors out, against the bare run of the same file in the same process on tensors made before, the "
        f"whole batch at once. One thread, {rounds} rounds; median (p10-p90) ms. Below 1, ours has split a batch that the "
        f"processor's cache does not hold."
    )
    columns = ["batch x tokens", "bare session, ms", "ours, ms", "ratio", "tokenising, microseconds"]
    return {"title": "Ours and the limit", "text": text, "columns": columns, "rows": rows, "goals": goals, "plots": plots}


def peers_section(
    grid: Times, cases: list[tuple[int, int]], workers: dict[str, Worker], same: dict[str, float], differ: dict[str, int]
) -> dict:
    names = list(workers)
    ratios = {(case, name): grid.ratio(case, name, "ours") for case in cases for name in names}
    rows = [
        [label(case), grid.shown(case, "ours"), *(times(ratios[case, name]) for name in names)] for case in cases
    ]
    notes = [
        f"{name}: mean cosine to ours {same[name]:.4f}, below {SAME} for {differ[name]} of 320 texts"
        if name in same else f"{name} does not run: {workers[name].why}"
        for name in names
    ]
    goals = []
    for name in names:
        found = {case: ratios[case, name] for case in cases if ratios[case, name] is not None}
        if found:
            worst = min(found, key=found.get)
            goals.append(
                goal(f"faster than {name} everywhere", f"{min(found.values()):.2f}-{max(found.values()):.2f} x as fast",
                     found[worst] > 1, f"the peer is as fast at {label(worst)}, where the bare session is {100 / grid.ratio(worst, 'ours', 'bare'):.0f} % "
                     f"of our time")
            )
    plots = [
        {"file": "encoder-peers", "title": "One message", "kind": "line", "x_label": "tokens", "y_label": "ms",
         "log_x": True, "log_y": True,
         "series": {
             name: [[tokens, grid.median((1, tokens), name) * 1e3] for tokens in TOKENS]
             for name in ("ours", *names) if grid.median((1, 8), name) is not None
         }}
    ]
    text = (
        "How many times as long as ours each peer takes, texts in and vectors out, one thread. The Python peers run the "
        "same INT8 file with the tokenizers package; candle and tract cannot run INT8 products, and run the FP32 weights "
        "with our tokenizer. " + "; ".join(notes) + "."
    )
    columns = ["batch x tokens", "ours, ms", *names]
    return {"title": "Ours and its peers", "text": text, "columns": columns, "rows": rows, "goals": goals, "plots": plots}


def mix_section(
    mix: Times, sizes: tuple[int, ...], computed: dict[tuple[int, str], int], workers: dict[str, Worker]
) -> dict:
    names = ["ours", "bare", "padded", *(name for name in workers if mix.median(sizes[0], name) is not None)]
    titles = {"bare": "the bare session on ours' batches", "padded": "our tokenizer, padded to the longest"}
    rows = [
        [str(size), titles.get(name, name), f"{320 / mix.median(size, name):.0f}", times(mix.ratio(size, name, "ours")),
         str(computed.get((size, name), "-"))]
        for size in sizes for name in names
    ]
    goals = []
    for size in sizes:
        best = min(mix.ratio(size, name, "ours") for name in ("Python onnxruntime", "padded"))
        share = computed[size, "padded"] / computed[size, "ours"]
        goals.append(
            goal(f"2 x the throughput of padding to the longest on the mix, batches of {size}", f"{best:.2f} x", best >= 2,
                 f"these messages are of much the same length: padding all computes only {share:.2f} x the tokens, so no "
                 f"split can gain more than that beyond what shorter runs gain in the cache")
        )
    plots = [
        {"file": "encoder-mix", "title": "Chat messages a second, batches of 32", "kind": "bar", "x_label": "",
         "y_label": "messages / s", "log_x": False, "log_y": False,
         "series": {"messages / s": [[titles.get(name, name), 320 / mix.median(32, name)] for name in names]}}
    ]
    text = "320 Chinese and English messages of infra/packs/shop/test.yaml in a fixed random order, one batch after another."
    columns = ["batch", "target", "messages / s", "times as long as ours", "tokens computed"]
    return {"title": "A realistic mix", "text": text, "columns": columns, "rows": rows, "goals": goals, "plots": plots}


def int8_section(grid: Times, cases: list[tuple[int, int]]) -> dict:
    whole = {case: grid.ratio(case, "FP32 bare", "bare") for case in cases}
    ours = {case: grid.ratio(case, "FP32 ours", "ours") for case in cases}
    rows = [
        [label(case), grid.shown(case, "FP32 bare"), grid.shown(case, "bare"), times(whole[case]), times(ours[case])]
        for case in cases
    ]
    low = [case for case in cases if whole[case] < 3]
    first = whole[1, 8]
    goals = [
        goal("INT8 at least 3 x as fast as FP32 everywhere", f"{min(whole.values()):.2f}-{max(whole.values()):.2f} x", not low,
             "below it at " + ", ".join(map(label, low)) + "; the profile by operator says where the time goes"),
        goal("INT8 at least 4 x as fast at one short message", f"{first:.2f} x", first >= 4,
             "the profile by operator says where the time goes"),
    ]
    plots = [
        {"file": "encoder-int8", "title": "FP32 time / INT8 time", "kind": "line", "x_label": "tokens", "y_label": "times",
         "log_x": True, "log_y": False,
         "series": {f"batch {batch}": [[tokens, whole[batch, tokens]] for tokens in TOKENS] for batch in BATCHES}}
    ]
    text = (
        "The bare session of both files, FP32 with every optimisation of the runtime; the last column is the same ratio "
        "through our encoder, which splits batches. Median (p10-p90) ms."
    )
    columns = ["batch x tokens", "FP32, ms", "INT8, ms", "FP32 / INT8", "through ours"]
    return {"title": "INT8 and FP32", "text": text, "columns": columns, "rows": rows, "goals": goals, "plots": plots}


def accuracy_section(folder: Path) -> dict:
    say("accuracy on the labelled files")
    rows, lowest = [], 1.0
    for path in sorted(folder.glob("*.json")):
        scores = []
        for form in ([], ["--fp32"]):
            command = [ROOT / "target/debug/hoopoe", "model", "eval", *form, path]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            measure, score = re.search(r": (.*) ([0-9.]+) \(", done.stdout).groups()
            scores.append(float(score))
        kept = scores[0] / scores[1]
        lowest = min(lowest, kept)
        rows.append([path.stem, measure, f"{scores[1]:.4f}", f"{scores[0]:.4f}", f"{kept:.1%}"])
    goals = [goal("INT8 keeps 99 % of the accuracy on each set", f"{lowest:.1%} at least", lowest >= 0.99, "see the row")]
    columns = ["set", "measure", "FP32", "INT8", "kept"]
    text = "`hoopoe model eval` and `hoopoe model eval --fp32` on each file."
    return {"title": "Accuracy", "text": text, "columns": columns, "rows": rows, "goals": goals, "plots": []}


if __name__ == "__main__":
    main()
