"""The schema: one table per thing that is kept, the same on SQLite and PostgreSQL.

Money is in nano-dollars, times are seconds since the epoch, JSON is text. Every table but `teams` has a
`team_id`, and every statement names it. `migrations/` makes the tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

__all__ = [
    "agents",
    "alert_deliveries",
    "api_keys",
    "audit",
    "content",
    "counts",
    "events",
    "expired",
    "holds",
    "leases",
    "marks",
    "metadata",
    "policies",
    "prices",
    "sums",
    "teams",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = String(200)
# SQLite numbers the rows of `INTEGER PRIMARY KEY` alone.
Number = BigInteger().with_variant(Integer(), "sqlite")


def _team(*, primary: bool = False) -> Column[str]:
    return Column("team_id", Id, ForeignKey("teams.id"), primary_key=primary, nullable=False)


def _amount(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


teams = Table(
    "teams",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    _team(),
    Column("prefix", String(32), nullable=False),  # The part of the token that may be shown.
    Column("hash", String(64), nullable=False),  # SHA-256 of the token, in hex.
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # Separated by spaces.
    Column("created_at", Double, nullable=False),
    Column("created_by", Id),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    UniqueConstraint("hash"),
    UniqueConstraint("prefix"),
    Index(None, "team_id"),
)

policies = Table(
    "policies",
    metadata,
    _team(primary=True),
    Column("policy_id", Id, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("frozen", Text, nullable=False, server_default=text("'[]'")),  # Keys of budgets, a JSON list.
    Column("etag", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Id),
)
"""Only ever added to: a change is a row with the next version, also of what is frozen or reset."""

audit = Table(
    "audit",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    _team(),
    Column("at", Double, nullable=False),
    Column("actor", Id),  # The id of an API key; NULL: the server itself, or its command line.
    Column("action", String(64), nullable=False),  # "policy.put", "budget.reset", "key.revoke", …
    Column("subject", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("reason", Text),
    Index(None, "team_id", "seq"),
)
"""Only ever added to; triggers refuse all else."""

sums = Table(
    "sums",
    metadata,
    _team(primary=True),
    Column("key", Text, primary_key=True),
    Column("unit", String(8), nullable=False, server_default=text("'usd'")),
    _amount("spent"),
    _amount("held"),
    _amount("expected"),
    _amount("holds"),
    _amount("disputed"),
    Column("expires_at", Double, nullable=False, server_default=text("0")),
    Column("moved_at", Double, nullable=False, server_default=text("0")),
    Index(None, "expires_at"),
)
"""Of each key of the ledger, `window[#generation]|budget key`."""

holds = Table(
    "holds",
    metadata,
    _team(primary=True),
    Column("op_id", Id, primary_key=True),
    Column("ref", Text),
    Column("lines", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("intent", Text),  # What its call's event needs if nobody ends it, JSON.
    UniqueConstraint("team_id", "ref"),
    Index(None, "expires_at"),
)

expired = Table(
    "expired",
    metadata,
    _team(primary=True),
    Column("op_id", Id, primary_key=True),
    Column("event_id", Id, nullable=False),
    Column("parts", Text, nullable=False),  # What each key was charged, a JSON list.
    Column("at", Double, nullable=False),
    Index(None, "team_id", "event_id"),
    Index(None, "at"),
)
"""Holds that nobody has ended, whose calls may still say what they spent."""

leases = Table(
    "leases",
    metadata,
    _team(primary=True),
    Column("owner", Id, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("unit", String(8), nullable=False, server_default=text("'usd'")),
    _amount("seq"),  # Of the latest ask.
    _amount("granted"),
    _amount("used"),
    _amount("booked"),  # Of the sum `spent`.
    Column("state", String(16), nullable=False),  # "open", "disputed", "closed"
    Column("heard_at", Double, nullable=False),
    Column("disputed_at", Double, nullable=False, server_default=text("0")),
    Column("expires_at", Double, nullable=False, server_default=text("0")),  # Of the key.
    Index(None, "team_id", "key", "state"),
    Index(None, "state", "heard_at"),
)

marks = Table(
    "marks",
    metadata,
    _team(primary=True),
    Column("key", Text, primary_key=True),
    Column("mark", Text, primary_key=True),
    Column("expires_at", Double, nullable=False, server_default=text("0")),
    Index(None, "expires_at"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    _team(),
    Column("event_id", Id, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # "metric", "control", "error", …
    Column("at", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("trace_id", Id),
    Column("instance_id", Id),
    Column("agent", Text),
    Column("tenant", Text),
    Column("customer", Text),
    Column("feature", Text),
    Column("tags", Text),  # A JSON list.
    Column("context_id", Text),
    Column("provider", Text),
    Column("model", Text),
    Column("action", String(16)),
    Column("cost_nano", BigInteger),
    Column("charged_nano", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    _flag("settled"),
    Column("body", Text, nullable=False),
    UniqueConstraint("team_id", "event_id"),
    Index(None, "team_id", "seq"),
    Index(None, "team_id", "at"),
)

counts = Table(
    "counts",
    metadata,
    _team(primary=True),
    Column("name", String(64), primary_key=True),  # "events.conflicts", …
    _amount("value"),
)
"""Of what was refused or dropped, and stands in no other table."""

agents = Table(
    "agents",
    metadata,
    _team(primary=True),
    Column("instance_id", Id, primary_key=True),
    Column("name", Text),
    Column("status", String(32)),
    Column("sdk_version", String(64)),
    Column("first_seen_at", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
    _amount("requests"),
    _amount("errors"),
    _flag("connected"),  # By the push channel.
    Column("body", Text),  # Its last heartbeat.
    Index(None, "team_id", "last_seen_at"),
)

content = Table(
    "content",
    metadata,
    _team(primary=True),
    Column("content_id", Id, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("content", Text, nullable=False),
    Column("byte_size", BigInteger, nullable=False),
    Column("stored_at", Double, nullable=False),
    Index(None, "team_id", "hash"),
    Index(None, "stored_at"),
)

prices = Table(
    "prices",
    metadata,
    _team(primary=True),
    Column("model", Id, primary_key=True),
    Column("document", Text, nullable=False),  # As of `/tsdb/pricing`, JSON.
    Column("changed_at", Double, nullable=False),
    Column("changed_by", Id),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    _team(),
    Column("mark", Text, nullable=False),  # Window, budget, threshold and channel: each once.
    Column("budget_key", Text, nullable=False),
    Column("channel", String(16), nullable=False),  # "webhook", "email"
    Column("target", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False, server_default=text("'waiting'")),
    _amount("attempts"),
    Column("next_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("done_at", Double),
    Column("fault", Text),
    UniqueConstraint("team_id", "mark"),
    Index(None, "state", "next_at"),
)
