"""Anthropic, metered: a message, a stream with thinking, and a prompt read from the cache.

Run: python examples/anthropic_basic.py          against a fake provider on this machine
     python examples/anthropic_basic.py --real   against Anthropic, with ANTHROPIC_API_KEY
(needs: pip install 'aden-transport[anthropic]')
"""

from __future__ import annotations

import sys

from anthropic import Anthropic

from aden_transport import MeterOptions, create_console_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider, Reply

MODEL = "claude-sonnet-5"


def talk(client: Anthropic) -> None:
    client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Hello!"}])
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Tell me a story."}]
    ) as stream:
        print("".join(stream.text_stream))
    answer = client.messages.create(
        model=MODEL,
        max_tokens=100,
        system=[{"type": "text", "text": "A long text. " * 500, "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": "Sum it up."}],
    )
    print(f"{answer.usage.cache_read_input_tokens} tokens were read from the cache")


def main() -> None:
    instrument(MeterOptions(emit_metric=create_console_emitter(pretty=True)))
    if "--real" in sys.argv:
        talk(Anthropic())
    else:
        with FakeProvider() as provider:
            provider.push(Reply(), Reply(thinking="A story, then."), Reply(cached_tokens=1500))
            talk(Anthropic(base_url=provider.anthropic_base_url, api_key="any"))
    uninstrument()


if __name__ == "__main__":
    main()
