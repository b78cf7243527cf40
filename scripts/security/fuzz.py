"""Sends a server what nobody should: requests made from its schema, and ones that break it.

    python scripts/security/fuzz.py [--examples 100] [--seed 1] [--database URL]

`--examples`: of each kind for each route. Prints `requests=… routes=… failed=…` and exits with 1 where any
was answered with 5xx.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.server.fuzzing import fuzz
from tests.server.tenants import body_for, filled_server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="of an empty database; a file of SQLite that is deleted otherwise")
    asked = parser.parse_args()
    with filled_server(asked.database) as (client, _, victim):
        client.headers["Authorization"] = f"Bearer {victim.token}"
        found = fuzz(
            client,
            lambda path, chance: body_for(path, victim, chance),
            examples=asked.examples,
            start=asked.seed,
        )
    for line in found.failed:
        print(line)
    print(f"requests={found.requests} routes={len(found.routes)} failed={len(found.failed)}")
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
