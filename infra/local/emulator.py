"""MiniStack, with what it lacks to enforce the roles of `template.yaml`.

With `AUTH=true` MiniStack checks each request against the policies of whoever signed it, and gives each function a
session of its role. As of 1.5.33 four things are missing that those policies rest on, one is in the way, and one is left
lying about:

- the condition keys `kms:EncryptionContext:*`, without which the roles may decrypt nothing;
- the condition key `dynamodb:LeadingKeys`, without which they may read every item: `ForAllValues` holds where a request
  has no such key;
- that a batch is allowed with what it repeats: `sqs:SendMessageBatch` is no action that a policy could allow;
- that each statement of a batch is allowed for itself, as `dynamodb:PartiQLInsert` and the like:
  `dynamodb:BatchExecuteStatement` is no such action either;
- WeChat's `?signature=` is taken for AWS's `?Signature=`, and refused as an incomplete one;
- the files of code that a function no longer runs stay until the emulator ends, 90 MB for each changed answer.

`tests/e2e/tests/permissions.rs` fails without any of the first four, and the tests of WeChat without the fifth.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import dynamodb, lambda_svc

# MiniStack calls each of them for every request that it checks, whatever the service.
_action = iam_actions.extract_iam_action
_condition_keys = iam_actions.request_tag_context
_transaction_checks = iam_actions.dynamodb_transaction_checks
_is_signed = iam_evaluator._signature_attempted
_sweep = lambda_svc._sweep_extract_cache


def action(service: str, *request) -> str | None:
    """The action that a policy must allow for a request."""
    found = _action(service, *request)
    return found.removesuffix("Batch") if service == "sqs" and found else found


_STATEMENT = re.compile(r'\s*(INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+"([^"]+)"', re.IGNORECASE)


def statement_checks(action: str, body: bytes, region: str, account: str) -> list[tuple[str, str]]:
    """Action and table of each statement of a batch, as MiniStack has them for the operations of a transaction.

    None where a statement cannot be read: the batch is then checked as an action of its own, which nobody may.
    """
    if action != "dynamodb:BatchExecuteStatement":
        return _transaction_checks(action, body, region, account)
    checks = []
    for statement in json.loads(body or b"{}").get("Statements") or []:
        if not (found := _STATEMENT.match(statement.get("Statement", ""))):
            return []
        verb = found[1].split()[0].capitalize()
        checks.append((f"dynamodb:PartiQL{verb}", f"arn:aws:dynamodb:{region}:{account}:table/{found[2]}"))
    return checks


def condition_keys(service: str, action: str, body: bytes, params: dict) -> dict:
    """What MiniStack finds in a request, and the two keys."""
    keys = _condition_keys(service, action, body, params)
    if service == "kms":
        context = json.loads(body or b"{}").get("EncryptionContext") or {}
        keys |= {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    elif service == "dynamodb":
        # A scan names no item and has no such key, here as on AWS.
        if leading := list(leading_keys(json.loads(body or b"{}"))):
            keys["dynamodb:LeadingKeys"] = leading
    return keys


def leading_keys(request: dict) -> Iterator[str]:
    """The partition key of each item that a request names."""
    # Those in statements are not read.
    yield from [""] * len(request.get("Statements") or [])
    for table, named in items(request):
        if (record := dynamodb._tables.get(dynamodb._normalize_table_name(table))) is None:
            continue
        name = record["pk_name"]
        if item := named.get("Key") or named.get("Item"):
            key = dynamodb._extract_key_val(item.get(name))
        elif "KeyConditionExpression" in named:
            key = dynamodb._extract_pk_from_condition(
                named["KeyConditionExpression"],
                named.get("ExpressionAttributeValues") or {},
                named.get("ExpressionAttributeNames") or {},
                name,
            )
        elif "KeyConditions" in named:
            key = dynamodb._extract_pk_from_key_conditions(named["KeyConditions"], name)
        else:
            continue
        # One that cannot be read is nobody's.
        yield key or ""


def items(request: dict) -> Iterator[tuple[str, dict]]:
    """Each part of a request that names an item, with its table."""
    if "TableName" in request:
        yield request["TableName"], request
    for table, asked in (request.get("RequestItems") or {}).items():
        if isinstance(asked, dict):
            yield from ((table, {"Key": key}) for key in asked.get("Keys") or [])
        else:
            yield from ((table, part) for write in asked for part in write.values())
    for operation in request.get("TransactItems") or []:
        yield from ((part["TableName"], part) for part in operation.values())


def is_signed(authorization: str, query: dict) -> bool:
    """Whether a request says that AWS's signature is on it."""
    return _is_signed(authorization, {name: value for name, value in query.items() if name != "signature"})


def sweep() -> None:
    """Removes the files of code that no function runs. MiniStack calls it after code was updated or a function deleted."""
    _sweep()
    functions = lambda_svc._functions._data.values()
    configs = [run["config"] for function in functions for run in (function, *function["versions"].values())]
    live = {lambda_svc._b64_sha_to_hex(config.get("CodeSha256", "")) for config in configs}
    with lambda_svc._provided_code_lock:
        for sha in set(lambda_svc._provided_code_dirs) - live:
            shutil.rmtree(lambda_svc._provided_code_dirs.pop(sha), ignore_errors=True)


if __name__ == "__main__":
    iam_actions.extract_iam_action = action
    iam_actions.dynamodb_transaction_checks = statement_checks
    iam_actions.request_tag_context = condition_keys
    iam_evaluator._signature_attempted = is_signed
    lambda_svc._sweep_extract_cache = sweep
    sys.exit(app.main())
