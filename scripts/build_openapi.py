"""Writes docs/openapi.json, the description of the control server's routes; `--check` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aden_transport.control.server.openapi import published

COMMITTED = Path(__file__).parents[1] / "docs" / "openapi.json"


def main() -> int:
    told = json.dumps(published(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        return 0 if COMMITTED.exists() and COMMITTED.read_text("utf-8") == told else 1
    COMMITTED.write_text(told, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
