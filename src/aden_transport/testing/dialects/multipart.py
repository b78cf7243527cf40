"""Forms with files: `multipart/form-data`, RFC 7578."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..received import ReceivedRequest

__all__ = ["Form", "read_form"]


@dataclass(frozen=True, slots=True)
class Form:
    """Fields by name, as text; files by name, as bytes (the last one of a name)."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])


def read_form(request: ReceivedRequest) -> Form:
    """The form in the body; empty where there is none."""
    form = Form()
    boundary = re.search(r'boundary="?([^";,]+)"?', request.headers.get("content-type", ""))
    if boundary is None:
        return form
    for part in request.body.split(b"--" + boundary[1].encode("latin-1"))[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is None:
            continue
        key, value = name[1].decode("utf-8", "replace"), content.removesuffix(b"\r\n")
        if b"filename=" in head:
            form.files[key] = value
        else:
            form.fields[key] = value.decode("utf-8", "replace")
    return form
