"""Asks a server for what is another team's, 10,000 times: every route, by every kind of key.

    python scripts/security/tenants.py [--requests 10000] [--seed 1] [--database URL]

Prints `requests=… cross_tenant=… admitted=… failed=…` and exits with 1 where one of the last three is not 0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.server.tenants import filled_server, try_all

from aden_transport.control.server import access


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="of an empty database; a file of SQLite that is deleted otherwise")
    asked = parser.parse_args()
    access.FAILURES = 10**9
    with filled_server(asked.database) as (client, storage, victim):
        tried = try_all(client, storage, victim, requests=asked.requests, seed=asked.seed)
    for line in (*tried.crossed, *tried.admitted, *tried.failed):
        print(line)
    print(
        f"requests={tried.requests} cross_tenant={len(tried.crossed)} "
        f"admitted={len(tried.admitted)} failed={len(tried.failed)}"
    )
    return 1 if tried.crossed or tried.admitted or tried.failed else 0


if __name__ == "__main__":
    sys.exit(main())
