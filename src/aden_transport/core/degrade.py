"""Whether a call may be sent to another model: only to one that its host and wire format serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pricing import OVERRIDE, PriceBook
from ..vendors.serving import CLOSED, FREELY_NAMED, GENERATING, MAKERS, SINGLE, kind_of, maker_of
from .classify import Call

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["Degrades"]

MAX_KNOWN = 1024
OF_THE_MODEL = (":rawPredict", ":streamRawPredict", "/invoke", "/invoke-with-response-stream")
"""Ends of paths whose bodies are in the format of the model's maker."""
MESSAGES = "/messages"
FORMS = (*OF_THE_MODEL, MESSAGES)


class Degrades:
    """Why calls cannot be sent to another model, remembered by vendor, operation, format and models.

    Safe for threads: the dictionary is only added to or cleared.
    """

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._known: dict[tuple[str, str, bool, str, str, str, bool], str | None] = {}

    def hindrance(self, exchange: Exchange, model: str, *, by_policy: bool) -> str | None:
        """Why the call of `exchange` cannot be sent to `model`, None where it can, as far as is known.

        `by_policy`: nobody has looked at this very call, so that for work of one kind (embeddings, speech,
        pictures) the model has to be known for it.
        """
        wire, call, asked = exchange.wire, exchange.call, exchange.model
        if exchange.fixed is not None:
            return exchange.fixed
        if wire.signed:
            return "signed"
        if asked is None:
            return "stream body" if wire.body is None and wire.form is None else "no model in the request"
        path = wire.path
        form = next(end for end in FORMS if path.endswith(end)) if path.endswith(FORMS) else ""
        key = (call.vendor.id, call.operation.name, call.known_host, form, asked, model, by_policy)
        try:
            return self._known[key]
        except KeyError:
            pass
        reason = self._kind(call, asked, model, exchange.started_at, by_policy) or self._host(
            call, asked, model, exchange.started_at, form
        )
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = reason
        return reason

    def _kind(self, call: Call, asked: str, model: str, at: float, by_policy: bool) -> str | None:
        operation, kind = call.operation.name, kind_of(model)
        if operation in GENERATING:
            wanted = kind_of(asked)
            if kind != wanted and (by_policy or kind is not None):
                return f"{model} is for {kind or 'chat'}, {asked} for {wanted or 'chat'}"
            return None
        if operation not in SINGLE:
            return f"the model of a {operation} call is not one that answers"
        kind = kind or self._chat(call, model, at)
        if kind != operation and (by_policy or kind is not None):
            return f"{model} is not known for {operation}"
        return None

    def _chat(self, call: Call, model: str, at: float) -> str | None:
        unit = self._prices.find(call.vendor.price_provider or call.vendor.id, model, at=at)
        return "chat" if unit is not None and {"input", "output"} <= unit.rates.keys() else None

    def _host(self, call: Call, asked: str, model: str, at: float, form: str) -> str | None:
        """On hosts that nobody knows, and behind gateways, any model may be."""
        vendor, find, maker = call.vendor, self._prices.find, maker_of(model)
        if maker is not None and not _takes(vendor.id, form, maker, maker_of(asked)):
            return f"{model} does not take the format of {asked}"
        own = vendor.price_provider
        if not call.known_host or own is None or vendor.id in FREELY_NAMED or "/" in model:
            return None
        serves_others = own not in MAKERS or vendor.id == "vertex"
        listed = find(own, model, at=at)
        if listed is not None and (
            serves_others or maker == own or maker not in CLOSED or listed.source == OVERRIDE
        ):
            return None
        owner = maker or next((name for name in MAKERS if find(name, model, at=at) is not None), None)
        if owner is None or owner == own or (serves_others and owner not in CLOSED):
            return None
        return f"{vendor.id} does not serve {model}, a model of {owner}"


def _takes(vendor: str, form: str, maker: str, before: str | None) -> bool:
    """Whether a model of `maker` takes requests in the format of one of `before`, as that host has it."""
    if form in OF_THE_MODEL or vendor == "vertex":
        return before is None or maker == before
    # https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
    return vendor != "azure" or (maker == "anthropic") is (form == MESSAGES)
