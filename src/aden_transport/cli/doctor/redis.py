"""Whether a Redis or Valkey server keeps what budgets have reserved and spent.

A fleet is called hard on one server with an append-only file. Sources:
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ and …/replication/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ...errors import AdenError
from ...ledger.redis import RedisLedger
from .findings import Finding

__all__ = ["redis_server", "verdicts"]

SECTION = "Budgets"
WAIT_S = 2.0
OLDEST = 6


def redis_server(url: str) -> Iterator[Finding]:
    """What the server says about itself. Nothing is written there."""
    name = _shown(url)
    plain = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
    try:
        RedisLedger(plain)  # says what to install, and what is wrong with the address
        import redis

        client: Any = redis.Redis.from_url(plain, socket_timeout=WAIT_S, socket_connect_timeout=WAIT_S)
    except AdenError as exc:
        yield Finding(SECTION, name, "fault", str(exc))
        return
    try:
        told: dict[str, Any] = client.info()
        told["appendfsync"] = _setting(client, "appendfsync")
    except (redis.RedisError, OSError) as exc:
        text = f'does not answer: {type(exc).__name__}; calls go as on_unknown["store"] says'
        yield Finding(SECTION, name, "fault", text)
        return
    finally:
        client.close()
    yield from verdicts(name, told)


def verdicts(name: str, told: Mapping[str, Any]) -> Iterator[Finding]:
    """What follows from the server's `INFO` and its `appendfsync`."""
    version = str(told.get("valkey_version") or told.get("redis_version") or "?")
    facts = {
        "kind": "redis",
        "shared": True,
        "version": version,
        "appendonly": bool(told.get("aof_enabled")),
        "appendfsync": told.get("appendfsync"),
        "role": told.get("role"),
        "replicas": told.get("connected_slaves", 0),
        "cluster": bool(told.get("cluster_enabled")),
        "maxmemory_policy": told.get("maxmemory_policy"),
    }
    doubts = list(_doubts(facts, bool(told.get("maxmemory"))))
    facts["hard"] = not doubts
    text = f"version {version}, shared by all that use it; "
    if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < OLDEST:
        yield Finding(SECTION, name, "fault", f"{text}version {OLDEST} or newer is needed", None, facts)
    elif facts["role"] == "slave":
        yield Finding(
            SECTION, name, "fault", f"{text}a replica takes no writes: name the primary", None, facts
        )
    elif doubts:
        said = "; ".join(doubt for doubt, _ in doubts)
        yield Finding(SECTION, name, "warning", f"{text}limits are not hard: {said}", doubts[0][1], facts)
    else:
        yield Finding(
            SECTION, name, "ok", f"{text}limits are hard: one server with {_log(facts)}", None, facts
        )


def _doubts(facts: Mapping[str, Any], bounded: bool) -> Iterator[tuple[str, str | None]]:
    """Why it may forget what is reserved or spent, each with what to type."""
    if not facts["appendonly"]:
        yield (
            "without an append-only file all since the last snapshot is forgotten when it ends",
            "redis-cli CONFIG SET appendonly yes",
        )
    if facts["replicas"] or facts["cluster"]:
        yield (
            "a failover to a replica, which is told of writes afterwards, may forget the last reserves",
            None,
        )
    policy = facts["maxmemory_policy"]
    if bounded and policy not in (None, "noeviction"):
        yield (
            f"when its memory is full it evicts sums (maxmemory-policy {policy})",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )


def _log(facts: Mapping[str, Any]) -> str:
    match facts["appendfsync"]:
        case "always":
            return "an append-only file that is on the disk before it answers"
        case "no":
            return "an append-only file (appendfsync no: a power cut may lose half a minute)"
        case _:
            return "an append-only file (a power cut may lose its last second)"


def _setting(client: Any, name: str) -> str | None:
    """Managed servers refuse CONFIG."""
    import redis

    try:
        found: Mapping[str, str] = client.config_get(name)
    except redis.ResponseError:
        return None
    return found.get(name)


def _shown(url: str) -> str:
    """Without user and password."""
    parts = urlsplit(url)
    host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    return f"{parts.scheme}://{host}{parts.path}"
