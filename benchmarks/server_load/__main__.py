"""What a control server takes: `python -m benchmarks.server_load reserves|events`, ten seconds a database.

Requests arrive at a steady rate, whether earlier ones are answered or not; a time is that from when a request
was due to its answer. The machine is shared by server, database and load.

    --rate N         a second: reserves, or events
    --seconds N
    --postgres       on PostgreSQL, which is started for it, with its writes on the disk (fsync=on)
    --servers N      processes, which take the requests in turn
    --no-settle      reserves only
    --batch N        events of a request
    --held           the client has charged the calls of its events under leases: the server adds nothing
    --coding NAME    of the bodies: zstd, gzip or identity
    --database URL   instead of a new one
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack

from .events import Ingested, events
from .kit import cpu_s, database, prepared, server
from .reserves import Load, reserves


def main() -> None:
    given = arguments()
    rate = given.rate or {"reserves": 500, "events": 5000}[given.part]
    with ExitStack() as stack:
        address, engines = given.database, list[int]()
        if address is None:
            address, engines = stack.enter_context(database(postgres=given.postgres))
        token = prepared(address)
        servers = [stack.enter_context(server(address)) for _ in range(given.servers)]
        pids = [pid for _, pid in servers]
        before = cpu_s(pids), cpu_s(engines)
        ports = [port for port, _ in servers]
        load: Load | Ingested
        if given.part == "reserves":
            load = asyncio.run(reserves(ports, token, rate, given.seconds, settle=not given.no_settle))
        else:
            load = asyncio.run(
                events(
                    ports,
                    token,
                    rate,
                    given.seconds,
                    batch=given.batch,
                    settled=given.held,
                    coding=given.coding,
                )
            )
        used = cpu_s(pids) - before[0], cpu_s(engines) - before[1]
    kind = "PostgreSQL" if address.startswith("postgres") else "SQLite"
    print(f"{kind}, {given.servers} server(s), {rate}/s for {given.seconds} s: {load}")
    print(f"the servers used {1000 * used[0] / load.total:.3f} ms of a core for each of the {given.part}")
    if engines:
        print(f"the database used {1000 * used[1] / load.total:.3f} ms of a core for each")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["reserves", "events"])
    parser.add_argument("--rate", type=int)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--no-settle", action="store_true")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--held", action="store_true")
    parser.add_argument("--coding", choices=["zstd", "gzip", "identity"], default="zstd")
    parser.add_argument("--database")
    return parser.parse_args()


if __name__ == "__main__":
    main()
