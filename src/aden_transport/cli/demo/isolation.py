"""Keeps the demo to itself: no settings of the environment come in, no connection leaves 127.0.0.1."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["TLS", "isolated", "serverless"]

PREFIXES = ("OPENAI_", "ANTHROPIC_", "CLAUDE_", "GOOGLE_", "GEMINI_", "VERTEX", "AZURE_", "HTTPX_")
NAMES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "NETRC"})
"""With the prefixes and what ends in `_PROXY`: what SDKs and HTTP libraries read by themselves."""

SERVER = ("ADEN_API_KEY", "ADEN_API_URL")
"""What would have calls of a fake provider spend the budgets of a control server."""

CHATTY = ("openai", "anthropic", "google_genai", "google", "httpx", "httpx2", "aiohttp", "asyncio")
"""Loggers that warn about matters of their own."""

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: the fakes speak plain HTTP, and reading the machine's certificates takes time."""


@contextmanager
def isolated() -> Iterator[None]:
    """In this block, the environment of SDKs is empty, other hosts are refused, and others' warnings too."""
    with ExitStack() as stack:
        stack.enter_context(_bare_environment())
        stack.enter_context(serverless())
        stack.enter_context(_loopback_only())
        stack.enter_context(_quiet_loggers())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def serverless() -> Iterator[None]:
    """In this block, the environment names no control server."""
    before = {name: os.environ.pop(name) for name in SERVER if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _bare_environment() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in list(os.environ) if _is_setting(name.upper())}
    # Proxies of the operating system's settings are passed by, too.
    os.environ["NO_PROXY"] = "*"
    try:
        yield
    finally:
        del os.environ["NO_PROXY"]
        os.environ.update(before)


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIXES) or name in NAMES or name.endswith("_PROXY")


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    # Without a handler of its own, a logger's warnings go to stderr.
    handlers = {name: logging.NullHandler() for name in CHATTY}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, handler in handlers.items():
            logging.getLogger(name).removeHandler(handler)


# -- the fence ------------------------------------------------------------------------------------

_fenced = False
_hooked = False


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Whatever library asks for it: a connection to another host raises PermissionError."""
    global _fenced, _hooked
    if not _hooked:
        # An audit hook stays until the process ends; outside of the block it does nothing.
        sys.addaudithook(_refuse_other_hosts)
        _hooked = True
    _fenced = True
    try:
        yield
    finally:
        _fenced = False


def _refuse_other_hosts(event: str, arguments: tuple[Any, ...]) -> None:
    if not _fenced or not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if host is not None and not _is_this_machine(host):
        raise PermissionError(f"the demo connects to nothing but 127.0.0.1, not to {host!r}")


def _is_this_machine(host: str | bytes) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in ("", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
