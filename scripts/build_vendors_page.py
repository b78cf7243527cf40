"""Write docs/vendors.md from the tables in `aden_transport/vendors/`.

python scripts/build_vendors_page.py           write the page
python scripts/build_vendors_page.py --check   exit 1 if the committed page differs
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from aden_transport.vendors import VENDORS, Operation, Route
from aden_transport.vendors.details import DETAILS

PAGE = Path(__file__).parents[1] / "docs" / "vendors.md"

HEAD = """# Vendors, operations and what is read

Written by `scripts/build_vendors_page.py` from the tables in `src/aden_transport/vendors/`; not by hand.
How to add a vendor: [adding-a-vendor.md](adding-a-vendor.md).

## Vendors

*Usage in streams*: "asked for" where the host is known to accept `stream_options.include_usage`, which is
then asked for and the extra event hidden; elsewhere what the stream says by itself, or an estimate that
says so. *Rate limits*: the dialect of `vendors/limits.py` that is read into `event.rate_limit`.
"""

OPERATIONS = """
## Operations

*Usage*: "answer" where the answer reports it, "headers" where only headers do, "request" where it follows
from what was asked (characters, images). *Counted once* marks work that goes on after its request: polls
make one event per id when it has ended. Vendors with the same operations share a table.
"""

DETAILS_HEAD = """
## Figures in `operation_details`

A closed list. Figures, never content.
"""


def page() -> str:
    columns = ["vendor", "hosts", "usage in streams", "rate limits", "prices", "source", "checked"]
    parts = [HEAD, table(columns, vendor_rows())]
    parts.append(OPERATIONS)
    for names, routes in families():
        parts.append(f"\n### {', '.join(names)}\n")
        columns = ["operation", "requests", "stream", "usage", "model"]
        parts.append(table(columns, operation_rows(routes)))
    parts.append(DETAILS_HEAD)
    rows = ([f"`{key}`", d.meaning, ", ".join(d.operations)] for key, d in sorted(DETAILS.items()))
    parts.append(table(["key", "meaning", "operations"], rows))
    return "\n".join(parts) + "\n"


def table(columns: list[str], rows: Iterator[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def vendor_rows() -> Iterator[list[str]]:
    for vendor in sorted(VENDORS, key=lambda v: v.id):
        hosts = [*vendor.hosts, *(f"\\*{suffix}" for suffix in vendor.host_suffixes)]
        usage = "asked for" if vendor.accepts_stream_options else "as it comes"
        if vendor.host_pattern is not None:
            hosts.append(f"`{plain(vendor.host_pattern.pattern)}`")
        limits = getattr(vendor.read_rate_limit, "__name__", "").removesuffix("_limits") or "none"
        prices = vendor.price_provider or "none"
        yield [vendor.id, ", ".join(hosts), usage, limits, prices, vendor.source, vendor.checked]


def families() -> list[tuple[list[str], tuple[Route, ...]]]:
    """Vendors with the same operations at the same paths, the largest tables first."""
    found: dict[tuple[tuple[str, str, str], ...], tuple[list[str], tuple[Route, ...]]] = {}
    for vendor in VENDORS:
        key = tuple((r.method, r.pattern.pattern, shape_of(r.operation)) for r in vendor.routes)
        found.setdefault(key, ([], vendor.routes))[0].append(vendor.id)
    return [(sorted(names), routes) for names, routes in found.values()]


def shape_of(operation: Operation) -> str:
    return "/".join([operation.name, stream_of(operation), usage_of(operation)])


def operation_rows(routes: tuple[Route, ...]) -> Iterator[list[str]]:
    seen: dict[tuple[str, ...], list[str]] = {}
    for route in routes:
        operation = route.operation
        name = operation.name if operation.metered else "no use of a model"
        model = "path" if route.rewrite_path else "body" if operation.metered else ""
        row = (name, stream_of(operation), usage_of(operation), model)
        seen.setdefault(row, []).append(f"{route.method} `{plain(route.pattern.pattern)}`")
    for (name, stream, usage, model), requests in seen.items():
        yield [name, "<br>".join(dict.fromkeys(requests)), stream, usage, model]


def plain(pattern: str) -> str:
    """A route's pattern as people write paths."""
    text = re.sub(r"\(\?P<(\w+)>(?:\[[^\]]*\]|\\.|[^()\[\]])*\)", r"{\1}", pattern.removesuffix("$"))
    text = re.sub(r"\[\^/[^\]]*\][+*]", "{…}", text)
    return text.replace("(?:", "(").replace("\\", "")


def stream_of(operation: Operation) -> str:
    return operation.stream.framing.replace("_", " ") if operation.metered and operation.stream else ""


def usage_of(operation: Operation) -> str:
    if not operation.metered:
        return ""
    found = [
        ("answer", operation.read_body is not None or operation.stream is not None),
        ("headers", operation.read_headers is not None),
        ("request", operation.rate_by is not None),
        ("free of charge", operation.free),
        ("counted once", operation.deferred),
    ]
    return ", ".join(name for name, true in found if true)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed page differs")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        PAGE.write_text(text, "utf-8")
        return 0
    same = PAGE.exists() and PAGE.read_text("utf-8") == text
    print(f"docs/vendors.md {'is up to date' if same else 'differs: run scripts/build_vendors_page.py'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
