"""How a refused call reaches the code that made it: as `RequestCancelledError`, unretried."""

from __future__ import annotations

from typing import Any, NoReturn

from .._json import dumps
from ..errors import RequestCancelledError

__all__ = ["RefusedMixin", "refusal_body"]

REFUSAL_HEADERS = [("content-type", "application/json"), ("x-should-retry", "false")]


def refusal_body(error: RequestCancelledError) -> bytes:
    """A body that any vendor's SDK can read, should one look before it asks for the status."""
    inner = {"type": "permission_error", "code": "request_cancelled", "message": error.reason, "status": 403}
    return dumps({"type": "error", "error": inner, "message": error.reason})


class RefusedMixin:
    """Mixed into a library's `Response`: a 403 that raises the refusal where SDKs judge a response.

    Stainless SDKs catch what a transport raises, and retry; what is raised while they judge an answer
    passes. httpx's own machinery reads status, headers and bytes, which answer as usual.
    """

    aden_error: RequestCancelledError

    def _raise(self) -> NoReturn:
        raise self.aden_error

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
