#!/usr/bin/env python3
"""Cold starts: from the start of a function's process to its first poll of the Lambda runtime API, and to the answer to
its first event. Writes target/bench/start.json.

Each function is started in turn, round after round, on one processor of its own, so that what else the machine does
falls on all of them alike. To the first poll it runs with the variables that it has on AWS and calls nothing. The first
event is answered in processes of their own whose AWS is a stand-in on this machine that answers at once (HTTP, no TLS).
The Python function of tests/bench/peers does the same work as `inference` and is started in the same rounds.

Examples:
  tests/bench/start.py                          all functions of target/lambda, and the Python function
  tests/bench/start.py --quick telegram inference
  tests/bench/start.py --no-python --runs 51 telegram
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests/bench/peers"
sys.path.insert(0, str(PEERS))

import peers  # noqa: E402
from standin import LOOP, OK, Aws, Function, processor_seconds, resident, serve  # noqa: E402

FUNCTIONS = tuple(sorted(folder.parent.name for folder in ROOT.glob("functions/*/Cargo.toml")))
# Those that no platform calls.
OTHERS = ("inference", "deliver", "rotate")
PYTHON = "inference in Python"

# Every field that one of the channels keeps in its webhook secret; none refuses those of the others.
SECRET = {
    "app_id": "app", "app_key": "app", "app_secret": "0123456789abcdef0123456789abcdef", "application_id": "1",
    "bot_id": 1, "bot_token": "1:token", "channel_secret": "0123456789abcdef", "corp_id": "corp",
    "encoding_aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "encrypt_key": "key", "page_id": "1",
    "phone_number_id": "1", "public_key": "00" * 32, "robot_code": "robot", "secret_token": "secret-token",
    "signing_secret": "secret", "token": "token", "verification_token": "token", "verify_token": "token",
}  # fmt: skip


def event(function: str) -> bytes:
    """The first event of a function: for Telegram a message that is taken in, for the other webhooks one whose signature
    is refused after the bot's keys were read and decrypted."""
    if function in ("inference", PYTHON):
        return (ROOT / "tests/fixtures/events/inference.json").read_bytes()
    if function == "deliver":
        return json.dumps({"Records": [peers.record(json.dumps(peers.reply()), 1)]}).encode()
    if function == "rotate":
        return b"{}"
    page = function == "webchat"
    path, method = f"/{function}/main", "GET" if page else "POST"
    headers = {"content-type": "application/json", "host": "function", "user-agent": "platform"}
    if function == "telegram":
        headers["x-telegram-bot-api-secret-token"] = SECRET["secret_token"]
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "platform"}
    update = (ROOT / "tests/fixtures/telegram/private_text.json").read_text()
    return json.dumps({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {"http": http, "requestId": "request", "stage": "$default", "timeEpoch": 1700000000000},
        "body": None if page else update, "isBase64Encoded": False,
    }).encode()  # fmt: skip


class Measured:
    """A function and what was measured of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.polls, self.answers, self.handled, self.processor = [], [], [], []
        self.resident_polled, self.resident_answered = [], []
        self.answer = b""
        self.folder = None
        if name == PYTHON:
            self.command, self.variables, self.folder = peers.python_function()
        else:
            binary = ROOT / f"target/lambda/{name}/bootstrap"
            if not binary.exists():
                raise SystemExit(f"{binary} is missing: `make binaries` builds it")
            self.command, self.variables = [str(binary)], peers.variables()

    async def run(self, aws: str) -> None:
        function = Function(self.command, self.variables, self.folder)
        self.polls.append(1000 * await function.start())
        self.resident_polled.append(resident(function.process.pid))
        self.processor.append(1000 * processor_seconds(function.process.pid))
        function.stop()
        function = Function(self.command, self.variables | {"AWS_ENDPOINT_URL": f"http://{aws}"}, self.folder)
        polled = await function.start()
        seconds, self.answer = await function.invoke(event(self.name))
        self.handled.append(1000 * seconds)
        self.answers.append(1000 * (polled + seconds))
        self.resident_answered.append(resident(function.process.pid))
        function.stop()

    def sizes(self) -> tuple[float, float]:
        """Megabytes of the bundle, and of its zip."""
        if self.name == PYTHON:
            files = peers.python_bundle()
        else:
            files = {"bootstrap": Path(self.command[0])}
            if self.name == "inference":
                bundle = peers.bundle()
                files |= {str(path.relative_to(bundle)): path for path in bundle.rglob("*") if path.is_file()}
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in files.items():
                archive.write(path, name)
        return sum(path.stat().st_size for path in files.values()) / 1e6, len(packed.getvalue()) / 1e6


def shown(values: list[float]) -> str:
    """The median, and where the middle four fifths are."""
    if len(values) < 3:
        return f"{statistics.median(values):.1f}"
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{statistics.median(values):.1f} ({low:.1f}-{high:.1f})"


def tokenizer() -> dict | None:
    """How long opening the tokenizer takes, by the example of `shared/encoder`, and `tokenizers` in Python."""
    folder = ROOT / "target/model/current"
    command = ["cargo", "run", "--quiet", "--release", "--locked", "--package", "hoopoe-encoder"]
    command += ["--example", "tokenizer", "--", str(folder / "tokenizer.bin")]
    ours = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ours.returncode:
        print(f"the tokenizer was not measured: {ours.stderr.strip()}", file=sys.stderr)
        return None
    code = (
        "import sys, time, statistics\nfrom tokenizers import Tokenizer\ntaken = []\n"
        "for _ in range(9):\n    began = time.perf_counter()\n    Tokenizer.from_file(sys.argv[1])\n"
        "    taken.append(1000 * (time.perf_counter() - began))\nprint(statistics.median(taken))"
    )
    theirs = subprocess.run(
        [peers.PYTHON, "-c", code, peers.DATA / "tokenizer.json"], check=True, capture_output=True, text=True
    )
    opened, first = map(float, ours.stdout.split())
    python = float(theirs.stdout)
    return {
        "title": "The tokenizer",
        "text": "101,892 pieces. Ours: the median of 1,001 times opening the file in one process, and of 101 times opening "
        "it and encoding a first text of 9 characters. Python: the median of 9 times Tokenizer.from_file of the package "
        "tokenizers, with the same vocabulary.",
        "columns": ["what", "ms"],
        "rows": [
            ["ours, opened", f"{opened:.3f}"],
            ["ours, opened, first text encoded", f"{first:.3f}"],
            ["tokenizers, from_file", f"{python:.0f}"],
        ],
        "goals": [
            {
                "goal": "the tokenizer of 100,000 pieces loads in under 10 ms",
                "measured": f"{first:.2f} ms, the first text included",
                "met": first < 10,
                "why": None,
            }
        ],
    }


def goal(text: str, measured: str, met: bool, why: str) -> dict:
    return {"goal": text, "measured": measured, "met": met, "why": None if met else why}


def report(measured: list[Measured], runs: int, quick: bool) -> dict:
    by_name = {each.name: each for each in measured}
    rows, polls, answers = [], [], []
    for each in measured:
        print(f"{each.name}: zipping its bundle", file=sys.stderr)
        bundle, packed = each.sizes()
        binary = "-" if each.name == PYTHON else f"{Path(each.command[0]).stat().st_size / 1e6:.1f}"
        rows.append([
            each.name, shown(each.polls), f"{statistics.median(each.processor):.1f}",
            f"{statistics.median(each.resident_polled):.1f}", shown(each.answers),
            f"{statistics.median(each.handled):.1f}", f"{statistics.median(each.resident_answered):.1f}", binary,
            f"{bundle:.1f}", f"{packed:.1f}",
        ])  # fmt: skip
        polls.append([each.name, round(statistics.median(each.polls), 2)])
        answers.append([each.name, round(statistics.median(each.answers), 2)])
    goals = []
    webhooks = [each for each in measured if each.name not in (*OTHERS, PYTHON)]
    if webhooks:
        slowest = max(webhooks, key=lambda each: statistics.median(each.polls))
        time = statistics.median(slowest.polls)
        largest = max(webhooks, key=lambda each: statistics.median(each.resident_answered))
        memory = statistics.median(largest.resident_answered)
        goals += [
            goal("webhook functions poll after at most 8 ms", f"{time:.1f} ms, {slowest.name}", time <= 8,
                 "more than half of it is reading the system's root certificates; the sections below say what without"),
            goal("webhook functions hold at most 12 MB", f"{memory:.1f} MB after an answer, {largest.name}", memory <= 12,
                 "see the section on where the time goes"),
        ]  # fmt: skip
    if ours := by_name.get("inference"):
        time, memory = statistics.median(ours.polls), statistics.median(ours.resident_answered)
        goals += [
            goal("inference polls after at most 60 ms", f"{time:.1f} ms", time <= 60,
                 "nine tenths of it are ONNX Runtime's library and session; half of its processor time is page faults"),
            goal("inference holds at most 110 MB", f"{memory:.1f} MB after an answer", memory <= 110,
                 "see the section on where the time goes"),
        ]  # fmt: skip
        if theirs := by_name.get(PYTHON):
            ratios = [theirs / ours for theirs, ours in zip(theirs.polls, ours.polls)]
            ratio = statistics.median(ratios)
            goals.append(goal("inference polls at least 10 x sooner than the same function in Python",
                              f"{shown(ratios)} x, each round against its own", ratio >= 10,
                              "nine tenths of ours are ONNX Runtime's library and session, which Python's start has too; "
                              "next: huge pages for what the session packs, or a runtime built for these operators alone"))  # fmt: skip
    title = f"{runs} rounds, in each every function once in turn. "
    section = {
        "title": "From the start to the first poll and to the first answer",
        "text": title + "Medians, with the 10th and the 90th percentile in brackets; MB of 10^6 bytes on the disk, resident "
        "ones of 2^20. The first answer is that to an event handled with an AWS that answers at once: Telegram's message is "
        "taken in, the other channels refuse a signature after reading and decrypting their keys (Teams cannot have its "
        "platform's), webchat gives its page, deliver posts a reply to a stand-in, rotate finds nothing to do.",
        "columns": ["function", "first poll, ms", "of which processor, ms", "resident, MB", "first answer, ms", "of which handling, ms",
                    "resident then, MB", "binary, MB", "bundle, MB", "zipped, MB"],
        "rows": rows,
        "goals": goals,
        "plots": [{"file": "start", "title": "From the start of the process", "kind": "bar", "x_label": "function",
                   "y_label": "ms", "log_x": False, "log_y": True,
                   "series": {"first poll": polls, "first answer": answers}}],
    }  # fmt: skip
    sections = [section]
    if trace := where(by_name):
        sections.append(trace)
    if spared := variants(by_name, runs):
        sections.append(spared)
    if not quick and (loading := tokenizer()):
        sections.append(loading)
    return {"name": "start", "title": "Cold start", "command": "make bench-start", "sections": sections}


# Variables that take something away from a start, to see what it costs.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
VARIANTS = {
    "telegram": (
        ("as it is: the system's certificates, file and folder", {}),
        ("the system's certificates from their one file", {"SSL_CERT_FILE": BUNDLE}),
        ("Amazon's five root certificates alone", {"SSL_CERT_FILE": str(ROOT / "target/bench/amazon.pem")}),
        ("no TLS", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
    ),
    "inference": (
        ("as it is", {}),
        ("no TLS", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
        (
            "huge pages for the heap (glibc 2.35 or newer)",
            {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=67108864:glibc.malloc.mmap_threshold=1073741824"},
        ),
    ),
}
AMAZON = ("Amazon_Root_CA_1", "Amazon_Root_CA_2", "Amazon_Root_CA_3", "Amazon_Root_CA_4",
          "Starfield_Services_Root_Certificate_Authority_-_G2")  # fmt: skip


def variants(by_name: dict[str, Measured], runs: int) -> dict | None:
    """The start with something taken away."""
    roots = [Path(f"/etc/ssl/certs/{name}.pem") for name in AMAZON]
    if not Path(BUNDLE).exists() or not all(root.exists() for root in roots):
        print("what parts of a start cost is left out: the certificates are not where Debian has them", file=sys.stderr)
        return None
    (ROOT / "target/bench/amazon.pem").write_text("".join(root.read_text() for root in roots))
    rows = []

    async def start(measured: Measured, given: dict[str, str]) -> tuple[float, float, int]:
        function = Function(measured.command, measured.variables | given, measured.folder)
        polled = 1000 * await function.start()
        stat = Path(f"/proc/{function.process.pid}/stat").read_text().rpartition(")")[2].split()
        used = 1000 * processor_seconds(function.process.pid)
        function.stop()
        return polled, used, int(stat[7])

    for name, these in VARIANTS.items():
        if name not in by_name:
            continue
        taken: dict[str, list] = {what: [] for what, _ in these}
        for _ in range(runs):
            for what, given in these:
                taken[what].append(asyncio.run(start(by_name[name], given)))
        for what, values in taken.items():
            polled, used, faults = zip(*values)
            rows.append([name, what, shown(polled), shown(used), f"{statistics.median(faults):.0f}"])
    return {
        "title": "What parts of a start cost",
        "text": "The same binary with a variable that takes something away, interleaved. The SDK reads the root certificates "
        "of the system before the first call; on Debian that is one file with all of them and a folder with each of them "
        "again, in Amazon Linux, as far as is known, the file alone.",
        "columns": ["function", "what", "first poll, ms", "processor, ms", "page faults"],
        "rows": rows,
    }


# A system call by which a part of the start is recognised, in order.
STEPS = {
    "telegram": (
        ("exec, dynamic linking", r"^execve\("),
        ("Rust's start, the log, the environment", r"sigaltstack\("),
        ("the SDK's configuration and clients", r"epoll_create1\("),
        ("root certificates", r"(statx|openat)\(.*(certs|ssl)"),
        ("the first poll: socket, request", r"socket\(AF_INET"),
    ),
    "inference": (
        ("exec, dynamic linking", r"^execve\("),
        ("Rust's start, the log, the SDK's configuration", r"sigaltstack\("),
        ("ONNX Runtime's library and environment", r"openat\(.*libonnxruntime"),
        ("the session: graph, weights, kernels", r"openat\(.*model\.onnx"),
        ("the tokenizer", r"openat\(.*tokenizer\.bin"),
        ("the knowledge", r"openat\(.*knowledge\.idx"),
        ("the SDK's clients, root certificates", r"(statx|openat)\(.*(certs|ssl)"),
        ("the first poll: socket, request", r"socket\(AF_INET"),
    ),
}


def where(by_name: dict[str, Measured]) -> dict | None:
    """Where the time to the first poll goes, by when the system calls that begin each part are made."""
    try:
        subprocess.run(["strace", "-V"], check=True, capture_output=True)
    except OSError:
        print("where the time goes is left out: strace is missing", file=sys.stderr)
        return None
    rows = []
    for name, steps in STEPS.items():
        if name not in by_name:
            continue
        traced = [trace(by_name[name], steps) for _ in range(7)]
        whole = statistics.median(by_name[name].polls)
        for nth, (step, _) in enumerate(steps):
            rows.append([name, step, f"{statistics.median(run[nth][0] for run in traced):.2f}", str(traced[0][nth][1])])
        total = statistics.median(sum(part[0] for part in run) for run in traced)
        rows.append([name, f"all, traced ({whole:.1f} ms untraced)", f"{total:.2f}", str(sum(n for _, n in traced[0]))])
    return {
        "title": "Where the time to the first poll goes",
        "text": "strace -ttt, which makes each system call slower and leaves the rest alone: the median of 7 runs, from the "
        "system call that begins a part to the one that begins the next.",
        "columns": ["function", "what", "ms", "system calls"],
        "rows": rows,
    }


def trace(measured: Measured, steps: tuple) -> list[tuple[float, int]]:
    """Milliseconds and system calls of each step of one start."""

    async def start(log: str) -> None:
        command = ["strace", "-f", "-qq", "-ttt", "-s", "200", "-o", log, *measured.command]
        function = Function(command, measured.variables, measured.folder)
        await function.start()
        for child in Path(f"/proc/{function.process.pid}/task/{function.process.pid}/children").read_text().split():
            os.kill(int(child), 9)
        function.process.wait()
        function.process.stderr.close()

    log = ROOT / "target/bench/strace"
    asyncio.run(start(str(log)))
    lines = [re.match(r"\d+ +(\d+\.\d+) (.*)", line) for line in log.read_text(errors="replace").splitlines()]
    calls = [(float(line[1]), line[2]) for line in lines if line]
    log.unlink()
    begins, at = [], 0
    for step, pattern in steps:
        found = next((nth for nth in range(at, len(calls)) if re.search(pattern, calls[nth][1])), None)
        if found is None:
            raise SystemExit(f"{measured.name}: no system call begins {step!r}")
        begins.append(found)
        at = found + 1
    end = next(nth for nth in range(at, len(calls)) if "/invocation/next" in calls[nth][1])
    bounds = [*begins, end]
    return [(1000 * (calls[b][0] - calls[a][0]), b - a) for a, b in zip(bounds, bounds[1:])]


async def rounds(measured: list[Measured], runs: int) -> None:
    sent = b'{"ok":true,"result":{"message_id":1}}'
    platform = await serve(lambda *_: OK % (len(sent), sent))
    aws = await serve(Aws(SECRET | {"api_base": f"http://{platform}"}).handle)
    for each in measured:
        # Once unmeasured: what follows finds the files in memory.
        await each.run(aws)
        print(f"{each.name}: {each.polls[0]:.1f} ms; its first answer: {each.answer[:90].decode()}", file=sys.stderr)
        for values in (each.polls, each.answers, each.handled, each.processor, each.resident_polled, each.resident_answered):
            values.clear()
    for nth in range(runs):
        print(f"round {nth + 1} of {runs}", file=sys.stderr)
        for each in measured:
            await each.run(aws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="functions of target/lambda; all by default")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK") == "1", help="3 rounds")
    parser.add_argument("--no-python", action="store_true", help="leave the Python function out")
    parser.add_argument("--out", type=Path, default=ROOT / "target/bench/start.json")
    arguments = parser.parse_args()
    runs = arguments.runs or (3 if arguments.quick else 31)
    names = arguments.functions or list(FUNCTIONS)
    if unknown := set(names) - set(FUNCTIONS):
        parser.error(f"not a function: {', '.join(sorted(unknown))}")
    if not arguments.no_python:
        peers.prepare()
        names.append(PYTHON)
    if "inference" in names:
        peers.collect_bundle()
    os.sched_setaffinity(0, {LOOP})
    measured = [Measured(name) for name in names]
    asyncio.run(rounds(measured, runs))
    result = report(measured, runs, arguments.quick)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for section in result["sections"]:
        for row in section["rows"]:
            print("  ".join(row))
        for each in section.get("goals", []):
            print(f"{'met' if each['met'] else 'NOT met'}: {each['goal']}: {each['measured']}")


if __name__ == "__main__":
    main()
