"""HTTP libraries: their versions, and whether the private names that we rely on are there.

The table is the last one of docs/architecture.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...adapters._genai import METHOD as GENAI_METHOD
from ...adapters._genai import MODULE as GENAI_MODULE
from ...adapters._seam import METHOD
from .findings import Finding, version_of

__all__ = ["libraries"]


def _seam(httpx: Any) -> bool:
    return all(
        list(inspect.signature(getattr(client, METHOD, len)).parameters)[:2] == ["self", "request"]
        for client in (httpx.Client, httpx.AsyncClient)
    )


HTTPX: Mapping[str, tuple[Callable[[Any], bool], str | None]] = {
    f"Client.{METHOD}": (_seam, None),
    "Headers._list": (lambda m: hasattr(m.Headers({"a": "b"}), "_list"), "5 µs more per call"),
    "URL._uri_reference": (lambda m: hasattr(m.URL("http://a"), "_uri_reference"), "0.5 µs more per request"),
    "Response._content": (
        lambda m: "_content" in m.Response(200, content=b"a").__dict__,
        "answers of mocks are observed as streams",
    ),
    "MultipartStream.fields": (
        lambda m: hasattr(m.Request("POST", "http://a", files={"a": b"b"}).stream, "fields"),
        "the model in a form is not read",
    ),
}
AIOHTTP: Mapping[str, tuple[Callable[[Any], bool], str | None]] = {
    "ClientSession._request": (lambda m: hasattr(m.ClientSession, "_request"), None),
    "ClientSession._build_url": (lambda m: hasattr(m.ClientSession, "_build_url"), None),
    "StreamReader._read_nowait_chunk": (lambda m: hasattr(m.StreamReader, "_read_nowait_chunk"), None),
}
"""By name: whether it is there, and what is lost without it; None: the library is not metered then."""

LIBRARIES = {"httpx": HTTPX, "httpx2": HTTPX, "aiohttp": AIOHTTP}


def libraries() -> Iterator[Finding]:
    """The libraries that can be metered; the others are named where an SDK uses one."""
    for library, names in LIBRARIES.items():
        version = version_of(library)
        if version is None:
            yield Finding("HTTP libraries", library, "note", "not installed")
            continue
        yield _library(library, version, names)
    yield from _genai()


def _library(library: str, version: str, names: Mapping[str, tuple[Any, str | None]]) -> Finding:
    module = importlib.import_module(library)
    missing = {name: lost for name, (is_there, lost) in names.items() if not _holds(is_there, module)}
    facts = {"version": version, "missing": list(missing), "alias": module.__name__ != library}
    title = f"{library} {version}"
    alias = f"; the name {library} stands for {module.__name__} here" if module.__name__ != library else ""
    if not missing:
        return Finding(
            "HTTP libraries", title, "ok", f"all names that we rely on are there{alias}", None, facts
        )
    text = f"has no {', '.join(missing)}: "
    if None in missing.values():
        text += "its traffic is not metered"
        return Finding("HTTP libraries", title, "fault", text, _upgrade(), facts)
    text += "; ".join(lost for lost in missing.values() if lost)
    return Finding("HTTP libraries", title, "warning", text, _upgrade(), facts)


def _upgrade() -> str:
    return "pip install --upgrade aden-transport"


def _holds(is_there: Callable[[Any], bool], module: Any) -> bool:
    try:
        return is_there(module)
    except Exception:  # noqa: BLE001 - whatever a later version does there, it is not what we know
        return False


def _genai() -> Iterator[Finding]:
    version = version_of("google-genai")
    if version is None:
        return
    try:
        spec = importlib.util.find_spec(GENAI_MODULE.rpartition(".")[0])
    except ImportError:
        return
    # Read, not imported, which would take a second.
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec is not None else None
    if folder is None:
        return
    try:
        with open(f"{folder}/_api_client.py", encoding="utf-8") as file:
            there = f"def {GENAI_METHOD}(" in file.read()
    except OSError:
        there = False
    if not there:
        text = f"has no BaseApiClient.{GENAI_METHOD}: prefer_httpx=('gemini',) has no effect"
        yield Finding("HTTP libraries", f"google-genai {version}", "note", text)
