"""The peers' environment and files, and the functions' variables: what `bench.py` and `start.py` share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VENV = ROOT / "target/venv/peers"
PYTHON = VENV / "bin/python"
DATA = ROOT / "target/bench/peers"
MODEL = ROOT / "target/model/current"
INDEX = ROOT / "target/knowledge/shop/knowledge.idx"
QUEUE = "https://sqs.us-east-1.amazonaws.com/000000000000/queue"


def prepare() -> None:
    """Makes the environment under target/venv and exports vocabulary and knowledge, where that is not done."""
    wanted = (HERE / "requirements.txt").read_bytes()
    installed = VENV / "requirements.txt"
    if not (PYTHON.exists() and installed.exists() and installed.read_bytes() == wanted):
        print("Making the peers' Python environment", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        pip += ["--only-binary", ":all:", "--requirement", HERE / "requirements.txt"]
        subprocess.run(pip, check=True)
        installed.write_bytes(wanted)
    sources = [MODEL / "manifest.json", INDEX, HERE / "export.py"]
    for source in sources:
        if not source.exists():
            raise SystemExit(f"{source} is missing: `make shop` makes model and index")
    made = DATA / "knowledge.npz"
    if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        print("Exporting vocabulary and knowledge for the peers", file=sys.stderr)
        subprocess.run([ROOT / "target/venv/model/bin/python", HERE / "export.py", "--out", DATA], check=True)


def variables() -> dict[str, str]:
    """What Lambda and template.yaml set, for every function at once."""
    return {
        "ALLOWED_NETWORKS": "any",
        "AUDIT_RETENTION_DAYS": "400",
        "AUDIT_TABLE": "audit",
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
        "KEEP_DAYS": "30",
        "KEYS_TABLE": "keys",
        "KEY_CACHE_SECONDS": "300",
        "KMS_KEY": "key",
        "LAMBDA_TASK_ROOT": str(bundle()),
        "NOTICES_TOPIC": "arn:aws:sns:us-east-1:000000000000:notices",
        "NOTICE_DAYS": "75,85,90",
        "ORDER_GAP_MILLISECONDS": "2000",
        "OUTBOUND_DLQ_URL": QUEUE,
        "OUTBOUND_QUEUE_URL": QUEUE,
        "ROTATION_DAYS": "90",
        "SENDS_TABLE": "sends",
        "SESSIONS_TABLE": "sessions",
        "SESSION_TTL_SECONDS": "1800",
        "TOKENS_TABLE": "tokens",
        "TRANSCRIPTS_TABLE": "transcripts",
        "USAGE_TABLE": "usage",
        "WATCH_HOURS": "24",
    }


def bundle() -> Path:
    """What lies beside the binary of `inference`."""
    return ROOT / "target/bench/bundle"


def collect_bundle() -> None:
    """Links model, runtime and index, as the bundle of `inference` has them."""
    wanted = {f"model/{name}": MODEL / name for name in ("model.onnx", "weights.bin", "tokenizer.bin", "manifest.json")}
    wanted |= {"lib/libonnxruntime.so": MODEL / "lib/libonnxruntime.so", "knowledge.idx": INDEX}
    link(bundle(), wanted)


def link(folder: Path, files: dict[str, Path]) -> None:
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source.resolve(), target)


def python_function() -> tuple[list[str], dict[str, str], Path]:
    """Command, variables and folder of the function in Python."""
    root = ROOT / "target/bench/function"
    wanted = {f"model/{name}": MODEL / name for name in ("model.onnx", "weights.bin")}
    wanted |= {name: DATA / name for name in ("tokenizer.json", "knowledge.json", "knowledge.npz")}
    link(root, wanted)
    given = variables() | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": str(root),
        "_HANDLER": "function.handler",
    }
    return [str(PYTHON), "-m", "awslambdaric", "function.handler"], given, HERE / "function"


def python_bundle() -> dict[str, Path]:
    """The files of that function as one would deploy them: without boto3, which the runtime brings, and without what the
    packages only need elsewhere."""
    packages = next((VENV / "lib").glob("python3*/site-packages"))
    wanted = ("onnxruntime", "numpy", "numpy.libs", "tokenizers", "flatbuffers", "google", "packaging")
    files = {}
    for name in wanted:
        for path in (packages / name).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                files[str(path.relative_to(packages))] = path
    for path in (ROOT / "target/bench/function").rglob("*"):
        if path.is_file():
            files[str(path.relative_to(ROOT / "target/bench/function"))] = path
    return files | {"function.py": HERE / "function/function.py", "bot.py": HERE / "bot.py"}


def message(text: str, chat: int) -> str:
    """An inbound message as it stands in the queue, the first of its conversation."""
    return json.dumps(
        {
            "v": 1,
            "id": str(chat),
            "conversation": {"channel": "telegram", "bot": "main", "chat": str(chat)},
            "address": json.dumps({"chat": chat}),
            "number": 1,
            "received_at": time.time_ns() // 1_000_000,
            "previous_at": None,
            "content": {"text": text},
        },
        ensure_ascii=False,
    )


def reply() -> dict:
    """A reply as it stands in the queue."""
    now = time.time_ns() // 1_000_000
    place = {"channel": "telegram", "bot": "main", "chat": "1"}
    address = json.dumps({"chat": 1})
    return {"v": 1, "id": "1", "conversation": place, "address": address, "number": 1, "after": None,
            "received_at": now, "created_at": now, "text": "Hello", "suggestions": []}  # fmt: skip


def record(body: str, chat: int) -> dict:
    """A record as an SQS mapping hands it to a function."""
    return {
        "messageId": f"{chat:08d}-0000-4000-8000-000000000000",
        "receiptHandle": "none",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1700000000000",
            "SenderId": "000000000000",
            "ApproximateFirstReceiveTimestamp": "1700000000000",
            "MessageGroupId": f"telegram/main/{chat}",
        },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:inbound",
        "awsRegion": "us-east-1",
    }
