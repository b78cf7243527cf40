"""How a refused call reaches the code that made it: as `RequestCancelledError`, unretried."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from .._json import dumps
from ..core.steps import Refuse
from ..errors import RequestCancelledError

__all__ = ["REFUSAL_HEADERS", "RefusedMixin", "is_livekit", "refusal_body"]

REFUSAL_HEADERS = [("content-type", "application/json"), ("x-should-retry", "false")]


def refusal_body(error: RequestCancelledError) -> bytes:
    """A body that any vendor's SDK can read, should one look before it asks for the status."""
    inner = {"type": "permission_error", "code": "request_cancelled", "message": error.reason, "status": 403}
    return dumps({"type": "error", "error": inner, "message": error.reason})


def is_livekit() -> bool:
    """Whether LiveKit Agents makes the call that is refused here.

    LiveKit (1.8.9) tries everything again, 4 times in as many seconds, but an answer of 4xx: of what the SDK
    raises it understands `APIStatusError` alone. Its user agent is on its chat calls only, so the code that
    awaits the answer is looked at; this is asked where a call is refused.
    """
    if "livekit.agents" not in sys.modules:
        return False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if str(frame.f_globals.get("__name__")).startswith(("livekit.agents.", "livekit.plugins.")):
            return True
    return False


class RefusedMixin:
    """Mixed into a library's `Response`: a 403 that raises the refusal where SDKs judge a response.

    Stainless SDKs catch what a transport raises, and retry; what is raised while they judge an answer
    passes. httpx's own machinery reads status, headers and bytes, which answer as usual.
    """

    aden_refused: Refuse

    def _raise(self) -> NoReturn:
        raise self.aden_refused.refused()

    def raise_for_status(self) -> Any:
        self._raise()

    @property
    def is_success(self) -> bool:
        self._raise()

    @property
    def is_error(self) -> bool:
        self._raise()

    @property
    def is_client_error(self) -> bool:
        self._raise()

    @property
    def text(self) -> str:
        self._raise()

    def json(self, **_: Any) -> Any:
        self._raise()

    def iter_text(self, *_: Any, **__: Any) -> Any:
        self._raise()

    def iter_lines(self, *_: Any, **__: Any) -> Any:
        self._raise()

    def aiter_text(self, *_: Any, **__: Any) -> Any:
        self._raise()

    def aiter_lines(self, *_: Any, **__: Any) -> Any:
        self._raise()
