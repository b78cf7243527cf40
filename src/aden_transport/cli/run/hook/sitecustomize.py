"""What `site` runs at the start of every Python under `aden-transport run`.

Its directory stands first on PYTHONPATH. Any Python may come by, 2.7 as well, so there is no newer syntax
here; it must cost next to nothing, and nothing of ours may be raised.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
_ours = sys.modules[__name__]

if sys.version_info >= (3, 11) and os.environ.get("ADEN_RUN"):
    try:
        __import__("aden_run_hook").begin()
    except Exception:  # noqa: BLE001 - the program comes first
        pass

# The program's path is what it would be without us.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]

# The next `sitecustomize` on the path is the one that we hide: that of coverage, a vendor, the system.
del sys.modules[__name__]
try:
    __import__(__name__)
except ImportError as exc:
    if getattr(exc, "name", __name__) != __name__:
        raise
finally:
    sys.modules.setdefault(__name__, _ours)
