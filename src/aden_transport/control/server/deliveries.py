"""Alerts on their way: a thread that takes what is due from the table, and sends webhooks and e-mail.

Several servers share the table. A row is taken by moving its time ahead, in a transaction that skips what
others are taking, and is sent outside of it; a server that dies leaves it to be taken again. So an alert
comes at least once, each time with the same `x-aden-delivery`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import smtplib
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, NamedTuple

import httpx
import orjson
from sqlalchemy import func, select, update

from ... import __version__
from ..._fork import draw
from .safe_url import Allowed, Lookup, Target, UnsafeUrl, addresses_of, target_of
from .storage import Storage
from .tables import alert_deliveries as table

__all__ = ["AlertSettings", "Deliverer", "Smtp", "delay_after", "signature", "subject_of"]

MAX_ATTEMPTS = 10
BASE_S = 2.0
CAP_S = 3600.0
TAKEN_S = 120.0
"""After which a row that a server has taken, and not ended, is taken again."""
TAKE = 20
TAKE_OF_TEAM = 4
"""Of `TAKE`, so that no team keeps the others waiting for long."""
LOOK_S = 1.0
TIMEOUT_S = 10.0
"""For a webhook's whole answer; for each step of an e-mail."""
log = logging.getLogger("aden.server")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """Where e-mail is handed in."""

    host: str
    port: int = 587
    sender: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    starttls: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How alerts leave the server."""

    webhook_secret: str | None = field(default=None, repr=False)
    """Webhooks are signed with it; None: they are not."""
    allow: tuple[str, ...] = ()
    """Hosts, addresses and networks inside that webhooks may reach."""
    smtp: Smtp | None = None


class Due(NamedTuple):
    """A row that this server has taken."""

    seq: int
    team_id: str
    channel: str
    target: str
    body: str
    attempts: int
    """Before this one."""


class Undeliverable(Exception):
    """What no repetition changes. Its message is shown to the team."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256 of `timestamp.body`, in hex: what a receiver compares with."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def delay_after(attempts: int, share: float) -> float:
    """Seconds until the next attempt; `share` is a random number from 0 to 1 (full jitter)."""
    return share * min(CAP_S, BASE_S * 2.0 ** min(attempts, 30))


def subject_of(alert: Mapping[str, Any]) -> str:
    """Of an e-mail, on one line."""
    text = f"[{alert.get('level', 'warning')}] {alert.get('message', 'budget alert')}"
    return _CONTROL.sub(" ", text)[:200]


class Deliverer:
    """The thread, and what it sends with. `lookup` is asked for the addresses of hosts."""

    def __init__(self, storage: Storage, settings: AlertSettings, *, lookup: Lookup | None = None) -> None:
        self._storage = storage
        self._settings = settings
        self._allowed = Allowed(settings.allow)
        self._lookup = lookup
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="aden-alerts", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to deliver."""
        self._woken.set()

    def close(self) -> None:
        """Let what is on its way arrive, for a few seconds."""
        self._ended.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                more = self.deliver_due(time.time()) > 0
            except Exception as exc:  # noqa: BLE001 - the database, for a while
                log.warning("alerts are not delivered: %s", type(exc).__name__)
                more = False
            if not more:
                self._woken.wait(LOOK_S)
                self._woken.clear()

    def deliver_due(self, now: float) -> int:
        """Deliver what is due, to several teams at a time; how many were taken."""
        due = self._storage.transact(lambda db: self._take(db, now))
        of_team: dict[str, list[Due]] = {}
        for each in due:
            of_team.setdefault(each.team_id, []).append(each)
        if of_team:
            with ThreadPoolExecutor(len(of_team), "aden-alerts") as pool:
                list(pool.map(self._deliver_all, of_team.values()))
        return len(due)

    def _deliver_all(self, due: Iterable[Due]) -> None:
        for each in due:
            if self._ended.is_set():
                break
            self._deliver(each)

    def _take(self, db: Any, now: float) -> list[Due]:
        is_due = table.c.state == "waiting", table.c.next_at <= now
        order = table.c.next_at, table.c.seq
        place = func.row_number().over(partition_by=table.c.team_id, order_by=order).label("place")
        placed = select(table.c.seq, place).where(*is_due).subquery()
        chosen = select(placed.c.seq).where(placed.c.place <= TAKE_OF_TEAM).order_by(placed.c.place)
        waiting = (
            select(table)
            .where(*is_due, table.c.seq.in_(chosen.limit(TAKE)))
            .order_by(*order)
            .with_for_update(skip_locked=True)
        )
        rows = db.execute(waiting).mappings().all()
        for row in rows:
            taken = {"attempts": row["attempts"] + 1, "next_at": now + TAKEN_S}
            db.execute(update(table).where(table.c.seq == row["seq"]).values(**taken))
        names = ("seq", "team_id", "channel", "target", "body", "attempts")
        return [Due(*[row[name] for name in names]) for row in rows]

    def _deliver(self, due: Due) -> None:
        fault: str | None
        try:
            if due.channel == "email":
                self._mail(due)
            else:
                self._post(due)
            state, fault = "delivered", None
        except (Undeliverable, UnsafeUrl) as exc:
            state, fault = "refused", str(exc)
        except (httpx.HTTPError, OSError, smtplib.SMTPException, ssl.SSLError) as exc:
            state = "waiting" if due.attempts + 1 < MAX_ATTEMPTS else "failed"
            # The text of an exception may quote what the other side said.
            fault = str(exc) if isinstance(exc, _Status) else type(exc).__name__
        now = time.time()
        values: dict[str, Any] = {"state": state, "fault": fault}
        if state == "waiting":
            values["next_at"] = now + delay_after(due.attempts + 1, draw())
        else:
            values["done_at"] = now
        ours = table.c.seq == due.seq, table.c.attempts == due.attempts + 1, table.c.state == "waiting"
        self._storage.transact(lambda db: db.execute(update(table).where(*ours).values(**values)))

    def _post(self, due: Due) -> None:
        target = target_of(due.target, self._allowed)
        addresses = addresses_of(target, self._allowed, lookup=self._lookup)
        body = due.body.encode()
        headers = {
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": f"aden-transport/{__version__}",
            "x-aden-delivery": f"{due.team_id}:{due.seq}",
        }
        if self._settings.webhook_secret is not None:
            timestamp = str(int(time.time()))
            headers["x-aden-timestamp"] = timestamp
            headers["x-aden-signature"] = signature(self._settings.webhook_secret, timestamp, body)
        for place, address in enumerate(addresses):
            try:
                # A client that waits on a thread has no time limit for an answer that comes byte by byte.
                return asyncio.run(self._send(target, address, headers, body))
            except httpx.ConnectError:
                if place == len(addresses) - 1:
                    raise

    async def _send(self, target: Target, address: str, headers: Mapping[str, str], body: bytes) -> None:
        host = f"[{address}]" if ":" in address else address
        url = f"{target.scheme}://{host}:{target.port}{target.path}"
        # The environment's proxies would resolve the name once more.
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S) as client,
            client.stream(
                "POST", url, headers=headers, content=body, extensions={"sni_hostname": target.host}
            ) as answer,
        ):
            if answer.is_redirect:
                raise Undeliverable("the receiver answers with a redirect, which is not followed")
            if not answer.is_success:
                raise _Status(f"the receiver answers {answer.status_code}")

    def _mail(self, due: Due) -> None:
        smtp = self._settings.smtp
        if smtp is None:
            raise Undeliverable("the server has no settings for e-mail")
        alert = orjson.loads(due.body)
        message = EmailMessage()
        message["From"] = smtp.sender or f"aden-transport@{smtp.host}"
        message["To"] = due.target
        message["Subject"] = subject_of(alert)
        message["Message-ID"] = f"<{due.seq}.{due.team_id}@aden-transport>"
        message.set_content("\n".join(f"{name}: {value}" for name, value in alert.items()) + "\n")
        with smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S) as server:
            if smtp.starttls:
                server.starttls(context=ssl.create_default_context())
            if smtp.user is not None:
                server.login(smtp.user, smtp.password or "")
            server.send_message(message)


class _Status(httpx.HTTPError):
    """An answer that is none of success."""
