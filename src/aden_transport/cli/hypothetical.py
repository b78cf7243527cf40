"""A call that nobody makes, for `policy explain`: of so many tokens, or of a request in a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import _json
from ..attributes import normalized
from ..core.bound import READERS, upper_usage
from ..core.classify import Call as Classified
from ..core.hold import hold_nano
from ..errors import ConfigurationError
from ..events import NormalizedUsage
from ..ledger.base import Line, Totals
from ..ledger.opened import open_ledger
from ..ledger.sqlite import default_path
from ..policy import Bound
from ..pricing import PriceBook
from ..vendors import VENDORS
from ..vendors.ceilings import Ceilings

__all__ = ["ATTRIBUTES", "Hypothetical", "hypothetical", "sums_of"]

ATTRIBUTES = ("agent", "tenant", "customer", "feature")
MODEL = "gpt-4o"
SHAPES: Mapping[str, tuple[str, ...]] = {
    "messages": ("chat",),
    "contents": ("generate_content",),
    "input": ("responses", "embeddings"),
    "documents": ("rerank",),
    "prompt": ("image_generation", "text_completion"),
    "content": ("embeddings",),
    "texts": ("embeddings",),
}
"""Operations whose requests have such a member."""


class Hypothetical(NamedTuple):
    """What is known about the call."""

    attributes: Mapping[str, Any]
    provider: str
    model: str
    bounds: Callable[[str | None], Bound]
    """As `plan_call` asks for them."""
    basis: str
    """How its size is known."""


def hypothetical(arguments: argparse.Namespace, at: float) -> Hypothetical:
    """The call that the arguments describe.

    Raises: ConfigurationError where the request cannot be read, or no format has it.
    """
    given = {name: value for name in ATTRIBUTES if (value := getattr(arguments, name)) is not None}
    if arguments.tag:
        given["tags"] = arguments.tag
    if arguments.request is not None:
        return _of_request(arguments, given, at)
    usage = NormalizedUsage(arguments.input, arguments.output)

    def bounds(model: str | None) -> Bound:
        unit = PriceBook().find(arguments.provider, model or "", at=at)
        if unit is None:
            return "price"
        hold = unit.cost(usage)
        return hold, hold

    basis = f"{arguments.input} tokens in, {arguments.output} out"
    return Hypothetical(normalized(given), arguments.provider, arguments.model or MODEL, bounds, basis)


def _of_request(arguments: argparse.Namespace, given: Mapping[str, Any], at: float) -> Hypothetical:
    raw, body = _read(Path(arguments.request))
    carried = body.get("metadata")
    model = arguments.model or body.get("model")
    if not isinstance(model, str):
        raise ConfigurationError(f"{arguments.request} names no model: give --model, too.")
    call = _classified(arguments.provider, body, model)
    prices, ceilings = PriceBook(), Ceilings()
    provider = call.vendor.price_provider or call.vendor.id

    def bounds(asked: str | None) -> Bound:
        bound = upper_usage(call, body, asked, ceilings, raw=raw)
        if bound.usage is None:
            return "size"
        read = call.operation.read_request
        details = read(body) if read is not None else None
        named = [(asked or "", tier) for tier in bound.tiers] + [(other, None) for other in bound.models]
        found = [
            prices.find(provider, name, at=at, service_tier=tier, details=details) for name, tier in named
        ]
        hold = hold_nano(found, bound)
        return "price" if hold is None else (hold, hold)

    basis = upper_usage(call, body, model, ceilings, raw=raw).basis
    attributes = {**(normalized(carried) if isinstance(carried, dict) else {}), **normalized(given)}
    return Hypothetical(attributes, call.vendor.id, model, bounds, f"{call.operation.name}, {basis}")


def _read(path: Path) -> tuple[bytes, Mapping[str, Any]]:
    try:
        raw = path.read_bytes()
        body = _json.loads(raw)
    except OSError as exc:
        raise ConfigurationError(f"The request {str(path)!r} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"The request {str(path)!r} is not JSON: {str(exc)[:200]}") from exc
    if not isinstance(body, dict):
        raise ConfigurationError(f"The request {str(path)!r} is no object with members like messages.")
    # As it would be sent; a file may be indented.
    return _json.dumps(body), body


def _classified(provider: str, body: Mapping[str, Any], model: str) -> Classified:
    vendor = next((vendor for vendor in VENDORS if vendor.id == provider), None)
    if vendor is None:
        known = ", ".join(sorted(vendor.id for vendor in VENDORS))
        raise ConfigurationError(f"--provider {provider}: requests are read of {known}.")
    names = [name for member, found in SHAPES.items() if member in body for name in found]
    if "embed" in model:
        names.sort(key=lambda name: name != "embeddings")
    for name in names:
        for route in vendor.routes:
            if route.operation.name == name and name in READERS:
                return Classified(vendor, route.operation, model, True)
    raise ConfigurationError(
        f"The request is none that {vendor.id} is asked: give its size as --input and --output tokens."
    )


def sums_of(arguments: argparse.Namespace, *, lasting: bool) -> Callable[[Sequence[Line]], Sequence[Totals]]:
    """What reads the sums of lines: from the ledger that is named, else what `--spent` says of each.

    Raises: ConfigurationError where the ledger cannot be used, or is not there.
    """
    if arguments.ledger is None:
        assumed = Totals(round(arguments.spent * 1e9), 0, 0)
        return lambda lines: [assumed] * len(lines)
    address = None if arguments.ledger == "default" else arguments.ledger
    path = default_path("budgets") if address is None else _file_of(address)
    if address == "memory" or (path is not None and not path.exists()):
        where = "memory is the program's own" if address == "memory" else f"there is no ledger {path} yet"
        raise ConfigurationError(f"--ledger {arguments.ledger}: {where}; use --spent USD instead.")
    return open_ledger(address, lasting=lasting).totals


def _file_of(address: str) -> Path | None:
    kind, _, rest = address.partition(":///")
    return Path(rest) if kind == "sqlite" else None
