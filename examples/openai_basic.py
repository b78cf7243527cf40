"""OpenAI, metered: a chat, a stream, a tool call, a response and embeddings, and what each cost.

Run: python examples/openai_basic.py          against a fake provider on this machine
     python examples/openai_basic.py --real   against OpenAI, with OPENAI_API_KEY
(needs: pip install 'aden-transport[openai]')
"""

from __future__ import annotations

import sys

from openai import OpenAI

from aden_transport import (
    MeterOptions,
    context,
    create_console_emitter,
    create_memory_emitter,
    create_multi_emitter,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def talk(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
    with context(feature="story"):
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Tell me a story."}], stream=True
        )
        print("".join(chunk.choices[0].delta.content or "" for chunk in stream))
    client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Use get_weather for Paris."}],
        tools=[WEATHER],  # type: ignore[list-item]
    )
    client.responses.create(model="gpt-4o-mini", input="Hello again!")
    client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])


def main() -> None:
    memory = create_memory_emitter()
    instrument(MeterOptions(emit_metric=create_multi_emitter([create_console_emitter(pretty=True), memory])))
    if "--real" in sys.argv:
        talk(OpenAI())
    else:
        with FakeProvider() as provider:
            talk(OpenAI(base_url=provider.openai_base_url, api_key="any"))
    uninstrument()
    total = sum(event.cost_usd or 0 for event in memory.events)
    print(f"{len(memory.events)} calls, ${total:.6f}")


if __name__ == "__main__":
    main()
