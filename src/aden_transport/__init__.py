"""LLM observability and cost control at the HTTP transport.

::

    from aden_transport import MeterOptions, create_console_emitter, instrument

    instrument(MeterOptions(emit_metric=create_console_emitter()))

Importing this package imports the standard library only; names are loaded at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attributes import context, track_source
    from .attributes import context as attribution
    from .control.agent.agent import AgentStatus, ControlAgent
    from .control.agent.http_emitter import create_http_emitter
    from .control.options import ControlOptions
    from .core.runs import budget
    from .emitters import (
        create_batch_emitter,
        create_console_emitter,
        create_file_emitter,
        create_filtered_emitter,
        create_jsonl_emitter,
        create_memory_emitter,
        create_multi_emitter,
        create_noop_emitter,
        create_transform_emitter,
    )
    from .errors import (
        AdenError,
        BudgetExceededError,
        ConfigurationError,
        RequestCancelledError,
        find_cancelled,
    )
    from .events import (
        AlertEvent,
        BeforeRequestContext,
        BeforeRequestResult,
        BudgetStatus,
        Decision,
        MetricEvent,
        NormalizedUsage,
        RateLimit,
        ShadowDecision,
        ToolCallMetric,
    )
    from .installation import (
        InstrumentResult,
        flush,
        flush_async,
        get_budget_status,
        get_control_agent,
        get_instrumented_sdks,
        get_options,
        instrument,
        instrument_anthropic,
        instrument_async,
        instrument_gemini,
        instrument_openai,
        is_instrumented,
        make_metered_openai,
        ready,
        register_vendor,
        uninstrument,
        uninstrument_anthropic,
        uninstrument_async,
        uninstrument_gemini,
        uninstrument_openai,
        update_options,
    )
    from .logs import configure_logging
    from .on_return import flush_on_return
    from .options import MeterOptions
    from .pricing import Price
    from .reports import Report, summarize

__version__ = "0.1.0"

_HOMES = {
    "attributes": ("context", "track_source"),
    "control.agent.agent": ("AgentStatus", "ControlAgent"),
    "control.options": ("ControlOptions",),
    "control.agent.http_emitter": ("create_http_emitter",),
    "core.runs": ("budget",),
    "emitters": (
        "create_batch_emitter",
        "create_console_emitter",
        "create_file_emitter",
        "create_filtered_emitter",
        "create_jsonl_emitter",
        "create_memory_emitter",
        "create_multi_emitter",
        "create_noop_emitter",
        "create_transform_emitter",
    ),
    "errors": (
        "AdenError",
        "BudgetExceededError",
        "ConfigurationError",
        "RequestCancelledError",
        "find_cancelled",
    ),
    "events": (
        "AlertEvent",
        "BeforeRequestContext",
        "BeforeRequestResult",
        "BudgetStatus",
        "Decision",
        "MetricEvent",
        "NormalizedUsage",
        "RateLimit",
        "ShadowDecision",
        "ToolCallMetric",
    ),
    "installation": (
        "InstrumentResult",
        "flush",
        "flush_async",
        "get_budget_status",
        "get_control_agent",
        "get_instrumented_sdks",
        "get_options",
        "instrument",
        "instrument_anthropic",
        "instrument_async",
        "instrument_gemini",
        "instrument_openai",
        "is_instrumented",
        "make_metered_openai",
        "ready",
        "register_vendor",
        "uninstrument",
        "uninstrument_anthropic",
        "uninstrument_async",
        "uninstrument_gemini",
        "uninstrument_openai",
        "update_options",
    ),
    "logs": ("configure_logging",),
    "on_return": ("flush_on_return",),
    "options": ("MeterOptions",),
    "pricing": ("Price",),
    "reports": ("Report", "summarize"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AdenError",
    "AgentStatus",
    "AlertEvent",
    "BeforeRequestContext",
    "BeforeRequestResult",
    "BudgetExceededError",
    "BudgetStatus",
    "ConfigurationError",
    "ControlAgent",
    "ControlOptions",
    "Decision",
    "InstrumentResult",
    "MeterOptions",
    "MetricEvent",
    "NormalizedUsage",
    "Price",
    "RateLimit",
    "Report",
    "RequestCancelledError",
    "ShadowDecision",
    "ToolCallMetric",
    "__version__",
    "attribution",
    "budget",
    "configure_logging",
    "context",
    "create_batch_emitter",
    "create_console_emitter",
    "create_file_emitter",
    "create_filtered_emitter",
    "create_http_emitter",
    "create_jsonl_emitter",
    "create_memory_emitter",
    "create_multi_emitter",
    "create_noop_emitter",
    "create_transform_emitter",
    "find_cancelled",
    "flush",
    "flush_async",
    "flush_on_return",
    "get_budget_status",
    "get_control_agent",
    "get_instrumented_sdks",
    "get_options",
    "instrument",
    "instrument_anthropic",
    "instrument_async",
    "instrument_gemini",
    "instrument_openai",
    "is_instrumented",
    "make_metered_openai",
    "ready",
    "register_vendor",
    "summarize",
    "track_source",
    "uninstrument",
    "uninstrument_anthropic",
    "uninstrument_async",
    "uninstrument_gemini",
    "uninstrument_openai",
    "update_options",
]


def __getattr__(name: str) -> Any:
    if name == "attribution":
        value = import_module(".attributes", __name__).context
    elif (home := _MODULE_OF.get(name)) is not None:
        value = getattr(import_module(f".{home}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
