"""Gemini, metered: sync, streamed and async, with thoughts counted as output.

Run: python examples/gemini_basic.py          against a fake provider on this machine
     python examples/gemini_basic.py --real   against the Gemini API, with GEMINI_API_KEY
(needs: pip install 'aden-transport[gemini]')
"""

from __future__ import annotations

import asyncio
import sys

from google import genai

from aden_transport import MeterOptions, create_console_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider

MODEL = "gemini-2.5-flash"


def talk(client: genai.Client) -> None:
    client.models.generate_content(model=MODEL, contents="Hello!")
    for chunk in client.models.generate_content_stream(model=MODEL, contents="Tell me a story."):
        print(chunk.text or "", end="")
    print()


async def talk_async(client: genai.Client) -> None:
    await client.aio.models.generate_content(model=MODEL, contents="Hello again!")


def main() -> None:
    instrument(MeterOptions(emit_metric=create_console_emitter(pretty=True)))
    if "--real" in sys.argv:
        talk(genai.Client())
        asyncio.run(talk_async(genai.Client()))
    else:
        with FakeProvider() as provider:
            options = genai.types.HttpOptions(base_url=provider.gemini_base_url)
            talk(genai.Client(api_key="any", http_options=options))
            asyncio.run(talk_async(genai.Client(api_key="any", http_options=options)))
    uninstrument()


if __name__ == "__main__":
    main()
