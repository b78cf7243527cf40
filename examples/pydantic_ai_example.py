"""A PydanticAI agent with a tool, metered: each model request of the run is one event, attributed.

Run: python examples/pydantic_ai_example.py          against a fake provider on this machine
     python examples/pydantic_ai_example.py --real   against OpenAI, with OPENAI_API_KEY
(needs: pip install aden-transport 'pydantic-ai-slim[openai]')
"""

from __future__ import annotations

import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from aden_transport import MeterOptions, context, create_console_emitter, instrument, uninstrument
from aden_transport.testing import FakeProvider, Reply, ToolCall


def run(provider: OpenAIProvider) -> None:
    agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider), system_prompt="Be brief.")

    @agent.tool_plain
    def population(city: str) -> int:
        """How many people live in a city."""
        return {"Paris": 2_100_000}.get(city, 0)

    with context(agent="geographer", tenant="acme"):
        print(agent.run_sync("How many people live in Paris?").output)


def main() -> None:
    instrument(MeterOptions(emit_metric=create_console_emitter(pretty=True)))
    if "--real" in sys.argv:
        run(OpenAIProvider())
    else:
        with FakeProvider() as provider:
            provider.push(
                Reply(tool_calls=[ToolCall("population", {"city": "Paris"})]),
                Reply(text="About 2.1 million people live in Paris."),
            )
            run(OpenAIProvider(base_url=provider.openai_base_url, api_key="any"))
    uninstrument()


if __name__ == "__main__":
    main()
