"""What stands in for AWS and the platform while functions are measured: the Lambda runtime API, the AWS services that
functions call, and Telegram's `sendMessage`. All answer at once and keep nothing, in one event loop.

A started function is pinned to one processor and the event loop runs on another, so that what is measured is the
function.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
from collections import deque
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
PATIENCE = 20
# Where the event loop runs, and where what is measured runs.
LOOP, MEASURED = 0, 1
ONE, BOTH = frozenset({MEASURED}), frozenset({LOOP, MEASURED})


class Connection(asyncio.Protocol):
    """As much of HTTP/1.1 as the clients here speak: requests with a length, one after the other."""

    def __init__(self, handle) -> None:
        self.handle, self.buffer = handle, b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            answer = self.handle(head, body, self.transport)
            if answer is not None:
                self.transport.write(answer)


async def serve(handle) -> str:
    """Listens on a free port of this machine; returns host and port."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(handle), "127.0.0.1", 0)
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Aws:
    """DynamoDB, SQS and KMS. `secret` is what KMS decrypts; `sent` is told each body that is put into a queue."""

    # A live version of a key, as `shared/keyring` stores it.
    KEY = {
        "version": {"N": "1"},
        "state": {"S": "current"},
        "created_at": {"N": "1700000000"},
        "since": {"N": "1700000000"},
        "watched": {"BOOL": False},
        "noticed": {"N": "0"},
        "ciphertext": {"B": base64.b64encode(b"sealed").decode()},
    }

    def __init__(self, secret: dict | None = None, sent=None) -> None:
        plaintext = base64.b64encode(json.dumps(secret or {}).encode()).decode()
        self.sent = sent
        self.calls = 0
        fixed = {
            b"BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
            b"Query": {"Items": [self.KEY], "Count": 1, "ScannedCount": 1},
            b"Scan": {"Items": [], "Count": 0, "ScannedCount": 0},
            b"Decrypt": {"Plaintext": plaintext, "KeyId": "key", "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
            b"SendMessage": {"MessageId": "message", "MD5OfMessageBody": "none"},
        }
        self.fixed = {name: self.answer(value) for name, value in fixed.items()}
        self.empty = self.answer({})

    @staticmethod
    def answer(value: dict) -> bytes:
        body = json.dumps(value).encode()
        return OK % (len(body), body)

    def handle(self, head: bytes, body: bytes, _transport) -> bytes:
        self.calls += 1
        at = head.lower().find(b"x-amz-target:")
        operation = head[at + 13 :].split(b"\r\n", 1)[0].strip().rpartition(b".")[2] if at >= 0 else b""
        if operation == b"SendMessageBatch":
            entries = json.loads(body)["Entries"]
            if self.sent is not None:
                for entry in entries:
                    self.sent(entry["MessageBody"])
            done = [{"Id": entry["Id"], "MessageId": "message", "MD5OfMessageBody": "none"} for entry in entries]
            return self.answer({"Successful": done, "Failed": []})
        if operation == b"BatchExecuteStatement":
            # A new session or a first reply is inserted, which returns no item.
            return self.answer({"Responses": [{"TableName": "table"}] * len(json.loads(body)["Statements"])})
        if operation == b"UpdateItem" and b'"UPDATED_NEW"' in body:
            # A quota's schedule: the value that was asked for is the one that was written.
            update = json.loads(body)
            written = update["ExpressionAttributeValues"].get(":next")
            return self.answer({"Attributes": {update["ExpressionAttributeNames"]["#value"]: written}})
        return self.fixed.get(operation, self.empty)


class Function:
    """A function's process and the runtime API that it polls."""

    def __init__(
        self, command: list[str], variables: dict[str, str], folder: Path | None = None, processors: frozenset = ONE
    ) -> None:
        self.command, self.variables, self.folder, self.processors = command, variables, folder, processors
        self.waiting = None
        self.events: deque = deque()
        self.begun: dict[bytes, tuple[float, asyncio.Future]] = {}
        self.number = 0

    async def start(self) -> float:
        """Starts it; returns the seconds until it polled for its first event."""
        self.polled = asyncio.get_running_loop().create_future()
        address = await serve(self._handle)
        variables = {"PATH": os.environ["PATH"], **self.variables, "AWS_LAMBDA_RUNTIME_API": address}
        # A process begins where its parent runs.
        os.sched_setaffinity(0, self.processors)
        self.began = time.perf_counter()
        try:
            self.process = subprocess.Popen(
                self.command, env=variables, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        finally:
            os.sched_setaffinity(0, {LOOP})
        try:
            return await asyncio.wait_for(asyncio.shield(self.polled), PATIENCE) - self.began
        except TimeoutError:
            self.process.kill()
            said = self.process.communicate()[1].decode()
            raise SystemExit(f"{self.command} did not poll within {PATIENCE} s: {said}") from None

    async def invoke(self, event: bytes) -> tuple[float, bytes]:
        """Seconds from when the event was there for it until its answer, and the answer."""
        self.number += 1
        name = b"%08d-0000-4000-8000-000000000000" % self.number
        future = asyncio.get_running_loop().create_future()
        self.begun[name] = (time.perf_counter(), future)
        self.events.append((name, event))
        self._give()
        return await asyncio.wait_for(future, PATIENCE)

    def _give(self) -> None:
        if self.waiting is None or not self.events:
            return
        name, event = self.events.popleft()
        deadline = int(time.time() * 1000) + 30_000
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: %s\r\n"
            b"Lambda-Runtime-Deadline-Ms: %d\r\n"
            b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:function\r\n"
            b"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0\r\n"
            b"Content-Length: %d\r\n\r\n" % (name, deadline, len(event))
        )
        transport, self.waiting = self.waiting, None
        transport.write(head + event)

    def _handle(self, head: bytes, body: bytes, transport) -> bytes | None:
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/invocation/next"):
            if not self.polled.done():
                self.polled.set_result(time.perf_counter())
            self.waiting = transport
            self._give()
            return None
        name = path.split(b"/")[-2]
        if name in self.begun:
            began, future = self.begun.pop(name)
            if path.endswith(b"/response"):
                future.set_result((time.perf_counter() - began, body))
            else:
                future.set_exception(RuntimeError(body.decode()))
        return ACCEPTED

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def resident(pid: int) -> float:
    """Resident megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def peak(pid: int) -> float:
    """The most megabytes that were resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def processor_seconds(pid: int) -> float:
    """Seconds of processor that all threads of a process have used, to the nanosecond of the scheduler."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
