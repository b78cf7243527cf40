"""What google-genai's clients do, the same whatever HTTP library they stand on."""

from __future__ import annotations

from typing import Any

from google.genai import types

from aden_transport.testing import Reply, ToolCall

ANSWER = Reply(text="One two three.", input_tokens=23, output_tokens=11)
TOOLS = Reply(tool_calls=[ToolCall("get_weather", {"city": "Rome"}), ToolCall("get_time", {})])


def tool_config() -> types.GenerateContentConfig:
    declared = [
        types.FunctionDeclaration(name=name, parameters_json_schema={"type": "object", "properties": {}})
        for name in ("get_weather", "get_time")
    ]
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=declared)], automatic_function_calling=off
    )


def thinking_config() -> Any:
    return types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
