"""Every call on the console, against a local fake provider: no key, no network.

Run: python examples/console.py   (needs: pip install 'aden-transport[openai]')
"""

from __future__ import annotations

from openai import OpenAI

from aden_transport import MeterOptions, context, create_console_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider


def main() -> None:
    instrument(MeterOptions(emit_metric=create_console_emitter(pretty=True)))
    with FakeProvider() as provider:
        client = OpenAI(base_url=provider.openai_base_url, api_key="any")
        with context(agent="writer", tenant="acme"):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Tell me a story."}], stream=True
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="")
        print()
        uninstrument()


if __name__ == "__main__":
    main()
