#!/usr/bin/env python3
"""Hoopoe's inference function beside two peers in Python. Writes target/bench/peers.json.

`service` is a chatbot as one process (FastAPI, a queue in memory, worker threads, Redis), `function` the inference function
written in Python for Lambda. Both have the same model, the same vocabulary and the same knowledge, and everything has one
thread and one processor; AWS, Telegram and the load run on another. What stands in for AWS answers at once.

Examples:
  tests/bench/peers/bench.py                    everything, 25 minutes
  tests/bench/peers/bench.py --quick            a minute, for trying
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import peers
from standin import BOTH, LOOP, MEASURED, OK, ONE, Aws, Function, peak, processor_seconds, serve

ROOT = peers.ROOT
INFERENCE = ROOT / "target/lambda/inference/bootstrap"
SECRET_TOKEN = "secret-token"
ACKNOWLEDGED = OK % (11, b'{"ok":true}')
# Messages without an answer at saturation: enough that full batches wait.
IN_FLIGHT = 40
PATIENCE = 30


def questions() -> list[str]:
    """The questions of the shop's test, in a fixed random order."""
    code = "import json, sys, yaml; t = yaml.safe_load(open(sys.argv[1])); print(json.dumps([q['text'] for s in t for q in t[s]]))"
    command = [peers.PYTHON, "-c", code, ROOT / "infra/packs/shop/test.yaml"]
    texts = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    random.Random(1).shuffle(texts)
    return texts


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def started(command: list[str], variables: dict[str, str], processors: frozenset) -> subprocess.Popen:
    """A process on these processors."""
    os.sched_setaffinity(0, processors)
    try:
        return subprocess.Popen(command, env=os.environ | variables)
    finally:
        os.sched_setaffinity(0, {LOOP})


class Redis:
    """A redis-server of its own that keeps nothing, beside the stand-ins: the service is not charged for it."""

    def __init__(self) -> None:
        self.port = free_port()
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise SystemExit("redis-server is missing: apt install redis-server") from None
        self.url = f"redis://127.0.0.1:{self.port}/0"
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit("redis-server did not start within 10 s") from None
                time.sleep(0.02)


class Telegram:
    """Takes replies, and tells who waits for them."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future] = {}

    def handle(self, _head: bytes, body: bytes, _transport) -> bytes:
        self.arrived(json.loads(body)["chat_id"])
        return ACKNOWLEDGED

    def arrived(self, chat: int) -> None:
        if (future := self.waiting.pop(chat, None)) and not future.done():
            future.set_result(time.perf_counter())

    def wait(self, chat: int) -> asyncio.Future:
        future = self.waiting[chat] = asyncio.get_running_loop().create_future()
        return future


class World:
    """What all share: the stand-ins, the questions, and numbers for conversations that were never used."""

    async def open(self) -> None:
        self.replies = Telegram()
        self.telegram = await serve(self.replies.handle)
        self.aws = await serve(Aws(sent=self._sent).handle)
        self.redis = Redis()
        self.texts = questions()
        self.at = 0
        # Redis may know the numbers of an earlier run.
        self.chat = time.time_ns() // 1000
        # What the functions replied, by conversation, while somebody wants to know.
        self.said: dict[int, str] | None = None

    def _sent(self, body: str) -> None:
        reply = json.loads(body)
        chat = int(reply["conversation"]["chat"])
        if self.said is not None:
            self.said[chat] = reply["text"]
        self.replies.arrived(chat)

    def next(self, count: int) -> list[tuple[int, str]]:
        taken = []
        for _ in range(count):
            self.at += 1
            self.chat += 1
            taken.append((self.chat, self.texts[self.at % len(self.texts)]))
        return taken

    def close(self) -> None:
        self.redis.process.kill()
        self.redis.process.wait()


def batch(messages: list[tuple[int, str]]) -> bytes:
    return json.dumps({"Records": [peers.record(peers.message(text, chat), chat) for chat, text in messages]}).encode()


class Invoked:
    """A Lambda function that answers batches: ours, or the one in Python. Each of its processes is handed what has come
    meanwhile, at most `SIZE` at once, as a queue's mapping does."""

    SIZE = 10

    def __init__(self, world: World, name: str, processes: int = 1) -> None:
        self.world, self.name = world, name
        if name == "Hoopoe":
            command, variables, folder = [str(INFERENCE)], peers.variables(), None
        else:
            command, variables, folder = peers.python_function()
        variables |= {"AWS_ENDPOINT_URL": f"http://{world.aws}"}
        processors = ONE if processes == 1 else BOTH
        self.functions = [Function(command, variables, folder, processors) for _ in range(processes)]
        self.idle = list(self.functions)
        self.queue: deque = deque()

    async def start(self) -> None:
        await asyncio.gather(*(function.start() for function in self.functions))
        self.pids = [function.process.pid for function in self.functions]

    async def first(self) -> float:
        began = time.perf_counter()
        await self.start()
        await self.handle(self.world.next(1))
        return time.perf_counter() - began

    async def handle(self, messages: list[tuple[int, str]]) -> float:
        function = self.idle.pop()
        seconds, answer = await function.invoke(batch(messages))
        self.idle.append(function)
        if b'"batchItemFailures":[]' not in answer.replace(b" ", b""):
            raise SystemExit(f"{self.name} failed: {answer.decode()}")
        return seconds

    async def post(self, chat: int, text: str) -> None:
        self.queue.append((chat, text))
        while self.idle and self.queue:
            await self.handle([self.queue.popleft() for _ in range(min(self.SIZE, len(self.queue)))])

    def stop(self) -> None:
        for function in self.functions:
            function.stop()


class Worker:
    """The service's worker alone, without HTTP before it: batches are written to it."""

    name = "service's worker"

    def __init__(self, world: World) -> None:
        self.world = world

    def variables(self) -> dict[str, str]:
        return {
            "BATCH": "10",
            "DATA": str(peers.DATA),
            "MODEL": str(peers.MODEL),
            "MODEL_THREADS": "1",
            "REDIS_URL": self.world.redis.url,
            "SECRET_TOKEN": SECRET_TOKEN,
            "TELEGRAM_API": f"http://{self.world.telegram}",
            "WORKERS": "1",
        }

    async def start(self) -> None:
        command = [str(peers.PYTHON), str(peers.HERE / "service/service.py"), "worker"]
        os.sched_setaffinity(0, {MEASURED})
        try:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                env=os.environ | self.variables(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        finally:
            os.sched_setaffinity(0, {LOOP})
        self.pids = [self.process.pid]
        await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)

    async def handle(self, messages: list[tuple[int, str]]) -> float:
        began = time.perf_counter()
        self.process.stdin.write(json.dumps([text for _, text in messages]).encode() + b"\n")
        if not await asyncio.wait_for(self.process.stdout.readline(), PATIENCE):
            raise SystemExit("the service's worker ended")
        return time.perf_counter() - began

    def stop(self) -> None:
        self.process.kill()


class Service:
    """The whole service, over HTTP."""

    name = "service"

    def __init__(self, world: World, workers: int = 1) -> None:
        self.world, self.workers = world, workers
        self.port = free_port()
        self.free: list = []

    async def start(self) -> None:
        variables = Worker(self.world).variables() | {"PORT": str(self.port), "WORKERS": str(self.workers)}
        command = [str(peers.PYTHON), str(peers.HERE / "service/service.py")]
        self.process = started(command, variables, ONE if self.workers == 1 else BOTH)
        self.pids = [self.process.pid]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.free.append(await asyncio.open_connection("127.0.0.1", self.port))
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the service did not start") from None
                await asyncio.sleep(0.005)

    async def first(self) -> float:
        began = time.perf_counter()
        await self.start()
        (chat, text), = self.world.next(1)
        reply = self.world.replies.wait(chat)
        await self.post(chat, text)
        await asyncio.wait_for(reply, PATIENCE)
        return time.perf_counter() - began

    async def post(self, chat: int, text: str) -> None:
        message = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": "private"}, "text": text}
        message["from"] = {"id": chat, "is_bot": False, "first_name": "Mei"}
        body = json.dumps({"update_id": chat, "message": message}).encode()
        reader, writer = await self._connection()
        writer.write(
            b"POST /telegram/main HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
            b"X-Telegram-Bot-Api-Secret-Token: %s\r\nContent-Length: %d\r\n\r\n%s" % (SECRET_TOKEN.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or b"content-length: 0" not in head.lower():
            raise SystemExit(f"the service answers {head.decode()}")
        self.free.append((reader, writer))

    async def _connection(self):
        while self.free:
            reader, writer = self.free.pop()
            # uvicorn closes what was idle for five seconds.
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def stop(self) -> None:
        for _, writer in self.free:
            writer.close()
        self.process.kill()
        self.process.wait()


class Figures:
    """What was measured of one participant, over all rounds."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, *values: float) -> None:
        self.values.setdefault(name, []).extend(values)

    def shown(self, name: str, digits: int = 2) -> str:
        """The median, and where the middle four fifths are."""
        values = self.values[name]
        low, high = percentile(values, 0.1), percentile(values, 0.9)
        return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])


def processor(target) -> float:
    """Seconds of processor that its processes have used."""
    return sum(map(processor_seconds, target.pids))


async def handling(world: World, rounds: int, messages: int) -> dict[str, Figures]:
    """Batches of 1 and of 10, one after the other without a pause."""
    everyone = [Invoked(world, "Hoopoe"), Invoked(world, "function in Python"), Worker(world)]
    figures = {each.name: Figures() for each in everyone}
    running = []
    try:
        for each in everyone:
            await each.start()
            running.append(each)
            for size in (1, 10) * 5:
                await each.handle(world.next(size))
        for nth in range(rounds):
            print(f"batches: round {nth + 1} of {rounds}", file=sys.stderr)
            for size in (1, 10):
                # The same questions for all.
                world_at = world.at
                for each in everyone:
                    world.at = world_at
                    await batches(world, each, size, messages // size, figures[each.name])
        for each in everyone:
            figures[each.name].add("peak", sum(map(peak, each.pids)))
    finally:
        for each in running:
            each.stop()
    return figures


async def batches(world: World, each, size: int, count: int, figure: Figures) -> None:
    used, began = processor(each), time.perf_counter()
    taken = [1000 * await each.handle(world.next(size)) for _ in range(count)]
    seconds = time.perf_counter() - began
    figure.add(f"{size} rate", count * size / seconds)
    figure.add(f"{size} ms", *taken)
    figure.add(f"{size} processor", 1000 * (processor(each) - used) / (count * size))


async def one(world: World, target, messages: list[tuple[int, str]], taken: list[float]) -> None:
    (chat, text), = messages
    began = time.perf_counter()
    reply = world.replies.wait(chat)
    sending = asyncio.ensure_future(target.post(chat, text))
    taken.append(1000 * (await asyncio.wait_for(reply, PATIENCE) - began))
    await sending


async def steadily(world: World, target, rate: float, seconds: float, seed: int) -> list[float]:
    """Milliseconds to the reply, for messages that come at random, `rate` a second on average."""
    taken: list[float] = []
    chance = random.Random(seed)
    at, end = time.perf_counter(), time.perf_counter() + seconds
    tasks = []
    while at < end:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(world, target, world.next(1), taken)))
        at += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    return taken


async def saturated(world: World, target, count: int) -> tuple[float, float]:
    """Messages a second, and milliseconds of processor for each, with `IN_FLIGHT` of them always without an answer."""
    left = count
    taken: list[float] = []

    async def lane() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one(world, target, world.next(1), taken)

    used, began = processor(target), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - began
    return len(taken) / seconds, 1000 * (processor(target) - used) / len(taken)


RATES = (12, 120)


async def load(world: World, rounds: int, seconds: float, count: int, both: bool) -> dict[str, Figures]:
    """The inference function and the service in turn; on one core, or two of each on `both`."""
    figures = {name: Figures() for name in ("Hoopoe", "service")}
    copies = 2 if both else 1
    for nth in range(rounds):
        print(f"load on {copies} core{'s' * both}: round {nth + 1} of {rounds}", file=sys.stderr)
        world_at = world.at
        for make in (lambda: Invoked(world, "Hoopoe", copies), lambda: Service(world, copies)):
            target = make()
            world.at = world_at
            figure = figures[target.name]
            try:
                figure.add("start", 1000 * await target.first())
                await saturated(world, target, 100)
                for rate in RATES:
                    # Few come at a low rate; they are waited for longer.
                    taken = await steadily(world, target, rate, seconds * (3 if rate < 100 else 1), nth)
                    figure.add(f"{rate} ms", *taken)
                rate, used = await saturated(world, target, count)
                figure.add("rate", rate)
                figure.add("processor", used)
                figure.add("peak", sum(map(peak, target.pids)))
            finally:
                target.stop()
    return figures


def ratio(ours: float, theirs: float) -> str:
    return f"{theirs / ours:.1f} x"


def sections(handled: dict[str, Figures], loads: dict[int, dict[str, Figures]], rounds: int) -> list[dict]:
    ours = handled["Hoopoe"]
    rows = []
    for size in (1, 10):
        for name, figure in handled.items():
            values = figure.values[f"{size} ms"]
            rows.append([
                name, str(size), figure.shown(f"{size} rate", 1), f"{statistics.median(values):.2f}",
                f"{percentile(values, 0.99):.2f}", figure.shown(f"{size} processor"),
                ratio(ours.median(f"{size} processor"), figure.median(f"{size} processor")), f"{figure.median('peak'):.0f}",
            ])  # fmt: skip
    series = {name: [[f"batches of {size}", round(figure.median(f"{size} processor"), 3)] for size in (1, 10)]
              for name, figure in handled.items()}  # fmt: skip
    first = {
        "title": "The same batch, the same core",
        "text": f"{rounds} rounds, interleaved; in each, every participant is handed the same questions of "
        "infra/packs/shop/test.yaml, as batches of 1 and then of 10, one after the other. One thread of ONNX Runtime, one "
        "core. Equal: graph, weights, runtime version and options, vocabulary, knowledge and decision, one session read and "
        "written for each message, replies in one call for a batch. Not equal: the functions talk to AWS (a stand-in, no TLS) "
        "by HTTP, the service's worker to Redis, and it posts each reply to Telegram (a stand-in) itself. Rates and "
        "processor: medians over the rounds, 10th and 90th percentile in brackets. Memory is the peak.",
        "columns": ["what", "batch", "messages a second", "ms a batch, P50", "P99", "processor ms a message",
                    "of Hoopoe's", "peak MB"],
        "rows": rows,
        "goals": [],
        "plots": [{"file": "peers-processor", "title": "Processor time of a message", "kind": "bar", "x_label": "",
                   "y_label": "ms", "log_x": False, "log_y": False, "series": series}],
    }  # fmt: skip
    rows = []
    for cores, figures in loads.items():
        for name, figure in figures.items():
            latency = []
            for rate in RATES:
                values = figure.values[f"{rate} ms"]
                mean, middle = statistics.mean(values), statistics.median(values)
                latency.append(f"{mean:.1f} / {middle:.1f} / {percentile(values, 0.99):.1f}")
            rows.append([name, str(cores), figure.shown("start", 0), *latency, figure.shown("rate", 1),
                         figure.shown("processor"), f"{figure.median('peak'):.0f}"])  # fmt: skip
        hoopoe, service = figures["Hoopoe"], figures["service"]
        rows.append([
            "service / Hoopoe", str(cores), ratio(hoopoe.median("start"), service.median("start")),
            *(f"{ratio(hoopoe.median(f'{rate} ms'), service.median(f'{rate} ms'))} (P50)" for rate in RATES),
            f"{service.median('rate') / hoopoe.median('rate'):.2f} x",
            ratio(hoopoe.median("processor"), service.median("processor")),
            ratio(hoopoe.median("peak"), service.median("peak")),
        ])  # fmt: skip
    second = {
        "title": "The service beside the inference function, under load",
        "text": f"{rounds} rounds, interleaved, each with fresh processes: on one core, with the load and what stands in "
        "for others on the other; then on both cores, which they share with the load: two workers of the service, two "
        "processes of the function. The service is the whole of it: webhook, "
        "queue, session, model, reply posted to Telegram; its Redis runs beside the load and is not counted. Hoopoe here is "
        "the inference function alone, from the message in its queue to the reply in the next; its webhook and its deliver "
        "function and SQS are not in these figures, the path benchmark has them. Messages come at random at the given mean "
        f"rate; at saturation {IN_FLIGHT} are always unanswered. Both take up to 10 that wait at once. Latency as mean / P50 / "
        "P99. Start is from the start of the process to the first reply.",
        "columns": ["what", "cores", "start, ms", *(f"ms at {rate}/s" for rate in RATES), "messages a second, saturated",
                    "processor ms a message", "peak MB"],
        "rows": rows,
        "goals": [],
        "plots": [],
    }  # fmt: skip
    return [first, second]


def same_ids(texts: list[str]) -> int:
    """For how many texts `tokenizers` and our tokenizer give the same ids."""
    command = ["cargo", "run", "--quiet", "--release", "--locked", "--package", "hoopoe-encoder", "--example", "tokenizer"]
    command += ["--", str(peers.MODEL / "tokenizer.bin"), "--ids"]
    ours = subprocess.run(command, cwd=ROOT, input="\n".join(texts), capture_output=True, text=True, check=True)
    code = (
        "import sys\nfrom tokenizers import Tokenizer\nt = Tokenizer.from_file(sys.argv[1])\nt.no_padding()\n"
        "for text in sys.stdin: print(*t.encode('query: ' + text.rstrip('\\n')).ids)"
    )
    command = [peers.PYTHON, "-c", code, peers.DATA / "tokenizer.json"]
    theirs = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True)
    pairs = zip(ours.stdout.splitlines(), theirs.stdout.splitlines(), strict=True)
    return sum(mine == other for mine, other in pairs)


async def same_answers(world: World) -> int:
    """To how many questions Hoopoe and the function in Python reply the same."""
    replies = []
    for name in ("Hoopoe", "function in Python"):
        world.at, world.said = 0, {}
        invoked = Invoked(world, name)
        await invoked.start()
        try:
            asked = []
            while len(asked) < len(world.texts):
                messages = world.next(min(10, len(world.texts) - len(asked)))
                await invoked.handle(messages)
                asked += messages
        finally:
            invoked.stop()
        replies.append([world.said[chat] for chat, _ in asked])
    world.said = None
    return sum(ours == theirs for ours, theirs in zip(*replies, strict=True))


async def agreement(world: World) -> dict:
    """How often the peers' tokenizer and answer are the same as ours."""
    print("comparing ids and answers", file=sys.stderr)
    rows = [["token ids", str(len(world.texts)), str(same_ids(world.texts))]]
    rows.append(["reply's text", str(len(world.texts)), str(await same_answers(world))])
    return {
        "title": "That the peers do the same work",
        "text": "All questions of infra/packs/shop/test.yaml: the ids of the package tokenizers beside ours, and what the "
        "function in Python replies beside what Hoopoe does. The peers score with float32 vectors where the index has bytes.",
        "columns": ["what", "questions", "the same"],
        "rows": rows,
    }


async def measure(arguments: argparse.Namespace) -> list[dict]:
    world = World()
    await world.open()
    try:
        if arguments.quick:
            handled = await handling(world, 2, 40)
            loads = {1: await load(world, 1, 3, 100, False), 2: await load(world, 1, 3, 100, True)}
        else:
            handled = await handling(world, arguments.rounds, 300)
            loads = {
                1: await load(world, arguments.rounds, 10, 1000, False),
                2: await load(world, arguments.rounds, 10, 1000, True),
            }
        same = await agreement(world)
    finally:
        world.close()
    return [*sections(handled, loads, 2 if arguments.quick else arguments.rounds), same]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK") == "1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "target/bench/peers.json")
    arguments = parser.parse_args()
    if not INFERENCE.exists():
        raise SystemExit(f"{INFERENCE} is missing: `make binaries` builds it")
    peers.prepare()
    peers.collect_bundle()
    os.sched_setaffinity(0, {LOOP})
    # Stopped from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    made = asyncio.run(measure(arguments))
    result = {"name": "peers", "title": "Peers in Python", "command": "make bench-peers", "sections": made}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for section in made:
        print(section["title"])
        for row in [section["columns"], *section["rows"]]:
            print("  " + " | ".join(row))


if __name__ == "__main__":
    main()
