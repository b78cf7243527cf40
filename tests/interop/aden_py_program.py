"""What users of aden-py 0.4.5 write; run by the Python of an environment that has it, and nothing of ours.

Prints JSON, a line for each thing that happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def calls(most: int) -> None:
    """Metered calls of OpenAI's client, until one is refused."""
    from aden import MeterOptions, get_control_agent, instrument, uninstrument  # pyright: ignore[reportMissingImports]
    from openai import OpenAI

    instrument(
        MeterOptions(
            emit_metric=lambda event: None,
            server_url=os.environ["SERVER"],
            api_key=os.environ["KEY"],
            agent_name="veteran",
        )
    )
    agent: Any = get_control_agent()
    policy = agent.get_policy()
    say(
        version=policy.version,
        budgets=[[one.id, one.limit_usd, one.current_spend_usd] for one in policy.budgets],
    )
    client = OpenAI(base_url=os.environ["PROVIDER"], api_key="sk-any", max_retries=0)
    for number in range(most):
        try:
            client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": "hello"}],
                store=True,
                extra_body={"metadata": {"customer_id": "acme"}},
            )
        except Exception as exc:
            say(refused=number, error=type(exc).__name__, message=str(exc))
            break
        say(answered=number)
    uninstrument()


async def polls(most: int) -> None:
    """A policy that changes while the agent polls: each version that it sees, and at the end a heartbeat."""
    from aden.control_agent import create_control_agent  # pyright: ignore[reportMissingImports]
    from aden.control_types import ControlAgentOptions  # pyright: ignore[reportMissingImports]

    options = ControlAgentOptions(
        server_url=os.environ["SERVER"],
        api_key=os.environ["KEY"],
        polling_interval_ms=100,
        heartbeat_interval_ms=200,
        agent_name="poller",
    )
    agent: Any = create_control_agent(options)
    await agent.connect()
    seen: list[str] = []
    while len(seen) < most:
        policy = agent.get_policy()
        if policy is not None and policy.version not in seen:
            seen.append(policy.version)
            say(
                version=policy.version,
                limits=[one.limit_usd for one in policy.budgets],
                connected=agent.is_connected(),
            )
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    await agent.disconnect()


if __name__ == "__main__":
    if sys.argv[1] == "calls":
        calls(int(sys.argv[2]))
    else:
        asyncio.run(polls(int(sys.argv[2])))
