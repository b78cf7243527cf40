"""Where events go. Every emitter is a callable that takes one `MetricEvent`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._reentry import in_emitter
    from .base import Emitter
    from .batch import create_batch_emitter
    from .console import create_console_emitter
    from .delivery import Delivery
    from .file import create_file_emitter, create_jsonl_emitter
    from .filtered import create_filtered_emitter
    from .memory import create_memory_emitter
    from .multi import create_multi_emitter
    from .noop import create_noop_emitter
    from .transform import create_transform_emitter

__all__ = [
    "Delivery",
    "Emitter",
    "create_batch_emitter",
    "create_console_emitter",
    "create_file_emitter",
    "create_filtered_emitter",
    "create_jsonl_emitter",
    "create_memory_emitter",
    "create_multi_emitter",
    "create_noop_emitter",
    "create_transform_emitter",
    "in_emitter",
]

_HOME = {
    "Delivery": "delivery",
    "Emitter": "base",
    "create_batch_emitter": "batch",
    "create_console_emitter": "console",
    "create_file_emitter": "file",
    "create_filtered_emitter": "filtered",
    "create_jsonl_emitter": "file",
    "create_memory_emitter": "memory",
    "create_multi_emitter": "multi",
    "create_noop_emitter": "noop",
    "create_transform_emitter": "transform",
    "in_emitter": "_reentry",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
