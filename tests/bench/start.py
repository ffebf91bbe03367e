#!/usr/bin/env python3
"""From the start of a function's process to its first poll of the Lambda runtime API, and its memory then.

Nothing of AWS is called: the runtime API is a socket that notes the time of the first request. Several binaries are
started in turn, so that what else the machine does falls on all of them alike.

Examples:
  tests/bench/start.py target/lambda/*/bootstrap
  tests/bench/start.py --runs 51 target/lambda/telegram/bootstrap /elsewhere/telegram/bootstrap

The inference function needs its bundle: `make build-InferenceFunction` collects it in target/bundles/inference.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import time
from pathlib import Path

QUEUE = "https://sqs.us-east-1.amazonaws.com/000000000000/queue"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_VERSION": "1",
    "AWS_LAMBDA_LOG_GROUP_NAME": "group",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "AWS_REGION": "us-east-1",
    "AWS_SECRET_ACCESS_KEY": "none",
    "CLAIMS_TABLE": "claims",
    "INBOUND_DLQ_URL": QUEUE,
    "INBOUND_QUEUE_URL": QUEUE,
    "KEYS_TABLE": "keys",
    "KMS_KEY": "key",
    "ORDER_GAP_MILLISECONDS": "2000",
    "OUTBOUND_DLQ_URL": QUEUE,
    "OUTBOUND_QUEUE_URL": QUEUE,
    "SENDS_TABLE": "sends",
    "SESSIONS_TABLE": "sessions",
    "SESSION_TTL_SECONDS": "1800",
    "TOKENS_TABLE": "tokens",
    "TRANSCRIPTS_TABLE": "transcripts",
    "USAGE_TABLE": "usage",
}
PATIENCE = 10


def start(binary: Path, bundle: Path) -> tuple[float, float]:
    """Milliseconds to the first poll, and resident megabytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        variables = VARIABLES | {"AWS_LAMBDA_RUNTIME_API": address, "LAMBDA_TASK_ROOT": str(bundle)}
        began = time.perf_counter()
        process = subprocess.Popen([binary], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            connection, _ = server.accept()
            connection.recv(1)
            taken = time.perf_counter() - began
            status = Path(f"/proc/{process.pid}/status").read_text()
            connection.close()
        except TimeoutError:
            process.kill()
            raise SystemExit(f"{binary} did not poll within {PATIENCE} s: {process.communicate()[1].decode()}")
        process.kill()
        process.wait()
        process.stderr.close()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return taken * 1000, int(resident.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", nargs="+", type=Path, metavar="BINARY")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--bundle", type=Path, default=Path("target/bundles/inference"))
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    taken: dict[Path, list[tuple[float, float]]] = {binary: [] for binary in arguments.binaries}
    for _ in range(arguments.runs):
        for binary, runs in taken.items():
            runs.append(start(Path(os.path.abspath(binary)), bundle))
    for binary, runs in taken.items():
        times, memory = zip(*runs)
        size = binary.stat().st_size / 1e6
        print(
            f"{binary}: {statistics.median(times):.1f} ms (fastest {min(times):.1f}), "
            f"{statistics.median(memory):.1f} MB resident, {size:.1f} MB file"
        )


if __name__ == "__main__":
    main()
