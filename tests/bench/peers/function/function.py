"""The peer `function`: the inference function in Python, as one writes it for Lambda's Python runtime.

A batch of SQS records in; the questions encoded in one run; the sessions read from DynamoDB, written on the condition that
nobody wrote them meanwhile; the replies into the outbound queue. Records that fail are reported one by one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bot import Bot  # noqa: E402

ROOT = Path(os.environ["LAMBDA_TASK_ROOT"])
TABLE = os.environ["SESSIONS_TABLE"]
OUTBOUND = os.environ["OUTBOUND_QUEUE_URL"]
LIFETIME = int(os.environ["SESSION_TTL_SECONDS"])
TURNS = 8
HANDLED = 32

# What is made here is made once, at the cold start.
bot = Bot(ROOT / "model", ROOT, max(1, int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) // 1769))
config = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "max_attempts": 3})
session = boto3.session.Session()
dynamodb = session.client("dynamodb", config=config)
sqs = session.client("sqs", config=config)


def handler(event: dict, _context: object) -> dict:
    failed: list[str] = []
    messages = []
    for record in event["Records"]:
        message = json.loads(record["body"])
        place = message["conversation"]
        name = f"{place['channel']}/{place['bot']}/{place['chat']}"
        messages.append((name, message, record["messageId"]))
    messages.sort(key=lambda each: (each[0], each[1]["number"]))
    answers = bot.answer([message["content"]["text"] for _, message, _ in messages])
    stored = read({name for name, _, _ in messages})
    replies, conversations = [], {}
    for (name, message, record), answer in zip(messages, answers):
        version, state = stored.get(name) or (0, {"last": 0, "handled": [], "turns": []})
        stored[name] = (version, state)
        if message["id"] in state["handled"]:
            continue
        state["last"] = max(state["last"], message["number"])
        state["handled"] = [*state["handled"], message["id"]][-HANDLED:]
        state["spoken_language"] = answer.language
        turn = {
            "id": message["id"],
            "number": message["number"],
            "question": message["content"]["text"],
            "answer": answer.text,
            "suggestions": answer.suggestions,
        }
        state["turns"] = [*state["turns"], turn][-TURNS:]
        conversations.setdefault(name, []).append(record)
        print(json.dumps(metric(answer)))
        reply = {key: message[key] for key in ("id", "conversation", "address", "number", "received_at")}
        reply |= {"v": 1, "after": None, "created_at": now_ms(), "text": answer.text, "suggestions": answer.suggestions}
        replies.append((name, record, reply))
    for name, records in conversations.items():
        try:
            write(name, *stored[name])
        except ClientError as error:
            print(f"{records}: {error}", file=sys.stderr)
            failed += records
            replies = [reply for reply in replies if reply[0] != name]
    if replies:
        entries = [
            {"Id": str(nth), "MessageGroupId": name, "MessageBody": json.dumps(reply, ensure_ascii=False)}
            for nth, (name, _, reply) in enumerate(replies)
        ]
        sent = sqs.send_message_batch(QueueUrl=OUTBOUND, Entries=entries)
        failed += [replies[int(failure["Id"])][1] for failure in sent.get("Failed", [])]
    return {"batchItemFailures": [{"itemIdentifier": record} for record in failed]}


def read(names: set[str]) -> dict[str, tuple[int, dict]]:
    keys = [{"conversation": {"S": name}} for name in names]
    output = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})
    return {
        item["conversation"]["S"]: (int(item["version"]["N"]), json.loads(item["state"]["S"]))
        for item in output["Responses"].get(TABLE, [])
        if int(item["expires_at"]["N"]) > time.time()
    }


def write(name: str, version: int, state: dict) -> None:
    now = int(time.time())
    item = {
        "conversation": {"S": name},
        "version": {"N": str(version + 1)},
        "expires_at": {"N": str(now + LIFETIME)},
        "state": {"S": json.dumps(state, ensure_ascii=False)},
    }
    names, values = {"#expires": "expires_at"}, {":now": {"N": str(now)}}
    condition = "attribute_not_exists(#expires) OR #expires <= :now"
    if version:
        condition = "#version = :version AND #expires > :now"
        names["#version"], values[":version"] = "version", {"N": str(version)}
    dynamodb.put_item(
        TableName=TABLE,
        Item=item,
        ConditionExpression=condition,
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=values,
    )


def metric(answer) -> dict:
    name = "Answered" if answer.intent else "Suggested" if answer.suggestions else "Fallbacks"
    metrics = [{"Namespace": "Hoopoe", "Dimensions": [["Intent"]], "Metrics": [{"Name": name, "Unit": "Count"}]}]
    return {
        "_aws": {"Timestamp": now_ms(), "CloudWatchMetrics": metrics},
        "Intent": answer.intent or "none",
        name: 1,
    }


def now_ms() -> int:
    return time.time_ns() // 1_000_000
