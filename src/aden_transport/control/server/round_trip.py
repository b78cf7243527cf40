"""Operations of many requests in one round trip: PostgreSQL's function `work_off`.

It is given what may change as `[team, key, expires_at]`, the holds that end as `[team, op_id]` or as
`[team, ref]`, the keys that are only looked at, and the operations in their order. It locks what may change
in the order of keys, does what `page.py` does in memory, and writes it. It answers with a list of answers,
which are `[kind, candidate, totals, line, fits_expected]` or whether there was such a hold, and with
`[[team, key, spent], …]`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from ..._json import dumps
from ...ledger.base import Outcome
from ...ledger.wire import line_json, totals_of
from .page import Charged, End, Operation, Reserve
from .rows import asked_of, keys_of

__all__ = ["work_off"]


def work_off(
    db: Connection, operations: Sequence[Operation], *, now: float
) -> tuple[list[Outcome | bool], Charged]:
    """As `rows.work_out`."""
    op_ids, refs = asked_of([each for each in operations if isinstance(each, End)])
    keys, others = keys_of(operations)
    asked: dict[str, Any] = {
        "keys": [(*key, expires_at) for key, expires_at in keys.items()],
        "operations": [_json_of(each) for each in operations],
    }
    for name, told in (("op_ids", op_ids), ("refs", refs), ("others", others - keys.keys())):
        if told:
            asked[name] = list(told)
    row = db.exec_driver_sql("SELECT work_off(%s::jsonb, %s)", (dumps(asked).decode(), now)).one()
    # Sums of many keys may be more than orjson reads.
    answers, charged = json.loads(row[0])
    return [_answer(each) for each in answers], [((team, key), spent) for team, key, spent in charged]


def _json_of(operation: Operation) -> dict[str, Any]:
    """What is not given is left out."""
    told: dict[str, Any] = {"team": operation.team}
    if isinstance(operation, Reserve):
        told["op_id"] = operation.op_id
        told["candidates"] = [[line_json(line) for line in lines] for lines in operation.candidates]
        told["expires_at"] = operation.expires_at
        if operation.intent is not None:
            told["intent"] = operation.intent
        return told
    if operation.ref is None:
        told["op_id"] = operation.op_id
    else:
        told["ref"] = operation.ref
    if operation.amounts is not None:
        told["amounts"] = operation.amounts
    if operation.expired_by is not None:
        told["expired_by"] = operation.expired_by
    return told


def _answer(told: Any) -> Outcome | bool:
    if isinstance(told, bool):
        return told
    kind, candidate, totals, line, fits_expected = told
    return Outcome(kind, candidate, totals_of(totals), line, fits_expected)
