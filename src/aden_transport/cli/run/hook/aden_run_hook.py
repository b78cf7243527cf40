"""The part of the start-up hook that knows how `aden-transport run` works; Python 3.11 and later.

Nothing of aden_transport is imported before the process imports an HTTP library, so that the many Pythons
that a program may start (build tools, shells, workers without calls) cost no more than this file.

The first Python of a family is its root: it makes a directory in which every process keeps its sums, hands
the directory's name down in `ADEN_RUN_TOTALS`, and prints the sums of all at its exit. The name holds the
root's process id, so that a forked child knows that it is none, and what the root executes instead of itself
that it still is one.
"""

from __future__ import annotations

import _thread
import os
import sys
from typing import Any

__all__ = ["begin"]

TOTALS, SAID = "ADEN_RUN_TOTALS", "ADEN_RUN_SAID"
LIBRARIES = frozenset({"httpx", "httpx2", "aiohttp"})
LOCK_S = 10.0
"""How long one thread's import waits for another's: longer only where the two would wait for ever."""

_lock = _thread.RLock()
_begun = False
_metered = False


def begin() -> None:
    """Take a place in the family, and wait for the first HTTP library."""
    global _begun
    if _begun:
        return
    _begun = True
    _join_family()
    if LIBRARIES.isdisjoint(sys.modules):
        sys.meta_path.insert(0, _FirstImport())
    else:
        _meter()


class _FirstImport:
    """Starts the meter when an HTTP library is looked for, then is gone."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in LIBRARIES:
            return None
        _meter()
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        # The import system goes on behind us in the list; the meter's own finder stands before.
        for finder in list(sys.meta_path):
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                return spec
        return None


def _meter() -> None:
    global _metered
    # Of two threads that import at once, the second waits until the meter is in place.
    locked = _lock.acquire(timeout=LOCK_S)
    try:
        if not _metered:
            _metered = True
            from aden_transport.cli.run.process import meter

            meter()
    except ModuleNotFoundError as exc:
        _say(
            f"not metered: {sys.executable} has no aden-transport with this command ({exc}); "
            f"{sys.executable} -m pip install --upgrade aden-transport"
        )
    except Exception as exc:  # noqa: BLE001 - the program comes first
        _say(f"not metered: {exc}")
    finally:
        if locked:
            _lock.release()


def _say(text: str) -> None:
    """Once per family, on the process's own stderr."""
    if os.environ.get(SAID) is None and sys.__stderr__ is not None:
        os.environ[SAID] = "1"
        print(f"aden-transport: {text}", file=sys.__stderr__, flush=True)


# -- the family -----------------------------------------------------------------------------------


def _join_family() -> None:
    directory = os.environ.get(TOTALS, "")
    stem, _, owner = directory.rpartition("-")
    if not stem:
        return
    first = owner == str(os.getpid())
    if not first and os.path.isdir(directory):
        return
    if not first:
        # No Python was before us (a shell script was run), or the root is gone.
        directory = f"{stem.rpartition('-')[0]}-{os.urandom(8).hex()}-{os.getpid()}"
        os.environ[TOTALS] = directory
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass  # the root has executed another Python in its place

    import atexit

    # Registered first, run last: the meter has ended its open calls by then.
    atexit.register(_end, directory, os.getpid(), first)


def _end(directory: str, root: int, first: bool) -> None:
    if os.getpid() != root:
        return  # forked: the parent's exit
    if not (first or os.listdir(directory)):
        os.rmdir(directory)
        return
    try:
        from aden_transport.cli.run.family import end_family
    except ImportError:
        os.rmdir(directory)  # nobody here can have written to it
    else:
        end_family(directory)
