"""MiniStack, with what it lacks to enforce the roles of `template.yaml`.

With `AUTH=true` MiniStack checks each request against the policies of whoever signed it, and gives each function a
session of its role. As of 1.5.33 three things are missing that those policies rest on, and one is in the way:

- the condition keys `kms:EncryptionContext:*`, without which the roles may decrypt nothing;
- the condition key `dynamodb:LeadingKeys`, without which they may read every item: `ForAllValues` holds where a request
  has no such key;
- that a batch is allowed with what it repeats: `sqs:SendMessageBatch` is no action that a policy could allow;
- WeChat's `?signature=` is taken for AWS's `?Signature=`, and refused as an incomplete one.

`tests/e2e/tests/permissions.rs` fails without any of the first three, and the tests of WeChat without the last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import dynamodb

# MiniStack calls each of them for every request that it checks, whatever the service.
_action = iam_actions.extract_iam_action
_condition_keys = iam_actions.request_tag_context
_is_signed = iam_evaluator._signature_attempted


def action(service: str, *request) -> str | None:
    """The action that a policy must allow for a request."""
    found = _action(service, *request)
    return found.removesuffix("Batch") if service == "sqs" and found else found


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


if __name__ == "__main__":
    iam_actions.extract_iam_action = action
    iam_actions.request_tag_context = condition_keys
    iam_evaluator._signature_attempted = is_signed
    sys.exit(app.main())
