"""A control server that commands talk to: where it is, the key, and its answers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ..control.options import server_address
from ..errors import AdenError, ConfigurationError

__all__ = ["Server", "add_server_arguments", "printable"]

TIMEOUT_S = 30.0
UNKNOWN_KEY = 401


class ServerError(AdenError):
    """The server did not do what it was asked; the message says why."""


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the server is, and who asks."""
    group = parser.add_argument_group("the control server")
    group.add_argument("--server", metavar="URL", help="its address (the environment's ADEN_API_URL)")
    group.add_argument("--api-key", metavar="KEY", help="a key of it (the environment's ADEN_API_KEY)")


class Server:
    """The server that a command's arguments name. A context manager.

    Raises: ConfigurationError, where no key is given, or the address cannot be used or would show the key.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        import httpx2

        given = arguments.server or os.environ.get("ADEN_API_URL")
        self.url = server_address(given, name="--server (or ADEN_API_URL)")
        key = (arguments.api_key or os.environ.get("ADEN_API_KEY") or "").strip()
        if not key:
            raise ConfigurationError("give a key of the control server: --api-key, or ADEN_API_KEY")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError("--api-key (or ADEN_API_KEY) has to be the key alone, without spaces")
        try:
            self._client = httpx2.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S
            )
        except httpx2.InvalidURL as exc:
            raise ConfigurationError(f"the server's address cannot be used: {exc}") from exc

    def get(self, path: str, **params: Any) -> Any:
        return self.ask("GET", path, params=params)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON.

        Raises: ConfigurationError, where what was asked cannot be done; ServerError for all else.
        """
        import httpx2

        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = self._client.request(method, path, json=body, params=given, headers=dict(headers or {}))
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise ServerError(
                f"{self.url} does not answer ({type(exc).__name__}): is it running (aden-transport serve), "
                "and is the address right (--server, or ADEN_API_URL)?"
            ) from exc
        try:
            told = answer.json()
        except ValueError as exc:
            raise ServerError(f"{self.url} answers {answer.status_code}, and no JSON") from exc
        if answer.is_success:
            return told
        if answer.status_code == UNKNOWN_KEY:
            raise ServerError(
                f"{self.url} does not know this API key, or it was revoked or is over: give one that is in "
                "force with --api-key, or ADEN_API_KEY"
            )
        message = _message(told) or f"{self.url} answers {answer.status_code}"
        if answer.status_code in (400, 404, 409, 412, 422):
            raise ConfigurationError(message)
        raise ServerError(message)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _message(told: Any) -> str:
    if not isinstance(told, Mapping):
        return ""
    faults = told.get("faults") or ()
    lines = ["the server cannot do that:" if faults else str(told.get("message") or "")]
    for fault in faults:
        path = f"{fault['path']}: " if fault.get("path") else ""
        lines.append(f"  {path}{fault.get('message')}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """What others have named, without what would move the cursor of this terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
