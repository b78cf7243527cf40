"""google-genai's choice of HTTP library, moved to httpx where the application asks for it in writing."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["MODULE", "prefer_httpx"]

MODULE = "google.genai._api_client"
METHOD = "_use_aiohttp"

_original: Any = None
_ours: Any = None
_preferred = False


def prefer_httpx(wanted: bool | None = None) -> None:
    """Have async calls go through httpx, unless the client was given an aiohttp session of its own.

    None: as it was last asked for, in a module that has just been imported.
    """
    global _original, _ours, _preferred
    if wanted is not None:
        _preferred = wanted
    module = sys.modules.get(MODULE)
    client = getattr(module, "BaseApiClient", None)
    if client is None or METHOD not in client.__dict__:
        return
    current = client.__dict__[METHOD]
    if _preferred and current is not _ours:
        _original, _ours = current, _bound(current)
        setattr(client, METHOD, _ours)
    elif not _preferred and current is _ours and _ours is not None:
        setattr(client, METHOD, _original)
        _original = _ours = None


def _bound(original: Any) -> Any:
    def _use_aiohttp(self: Any) -> bool:
        options = getattr(self, "_http_options", None)
        if getattr(options, "aiohttp_client", None) is not None:
            return bool(original(self))
        return False

    return _use_aiohttp
