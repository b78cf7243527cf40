"""Deciding about a call before it is sent, against a local fake provider: no key, no network.

Run: python examples/hook.py   (needs: pip install 'aden-transport[openai]')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai import OpenAI

from aden_transport import (
    BeforeRequestContext,
    BeforeRequestResult,
    MeterOptions,
    RequestCancelledError,
    context,
    create_memory_emitter,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider


def check(params: Mapping[str, Any], call: BeforeRequestContext) -> BeforeRequestResult:
    """Blocks one customer, and gives trial customers the smaller model."""
    if call.metadata.get("customer") == "customer-13":
        return BeforeRequestResult.cancel("customer-13 has used up its budget")
    if "trial" in call.metadata.get("tags", ()):
        return BeforeRequestResult.degrade("gpt-4o-mini", reason="trial customers get the smaller model")
    return BeforeRequestResult.proceed()


def main() -> None:
    memory = create_memory_emitter()
    instrument(MeterOptions(before_request=check, emit_metric=memory))
    with FakeProvider() as provider:
        client = OpenAI(base_url=provider.openai_base_url, api_key="any")

        def ask() -> None:
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])

        with context(customer="customer-1", tags=["trial"]):
            ask()
        try:
            with context(customer="customer-13"):
                ask()
        except RequestCancelledError as error:
            print(f"refused: {error}")
    for event in memory.events:
        print(event.decision.action, event.degraded_from, "→", event.request_model, event.cost_usd)
    uninstrument()


if __name__ == "__main__":
    main()
