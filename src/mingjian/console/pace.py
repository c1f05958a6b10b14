"""How fast requests may come: so many a minute from one address, for one session or token, and to sign in.

Each is a bucket that holds a minute's worth and fills up steadily: a page that asks for much at once is not held up,
whoever goes on like that is. Buckets are of this process alone. With several processes a limit is therefore one of each
of them: in all it is as many times as large as there are processes, and a client that keeps its connection meets one of
them only. What guards accounts against guessing (``store.attempts``) is counted once, for all processes together.

Source: OWASP ASVS 5.0, 2.4.1 and 6.3.1; RFC 6585, section 4.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, Literal, NamedTuple, TypeAlias

from mingjian.errors import TooManyRequests
from mingjian.settings import Settings
from mingjian.store.attempts import network_of

Kind: TypeAlias = Literal["address", "account", "sign-in"]

MINUTE_S: Final = 60.0
BUCKETS_MAX: Final = 50_000
"""Of each kind. Beyond that, the one that was used longest ago is forgotten, and is full again."""
FREE: Final = ("/static/", "/-/")
"""Files, health and metrics cost little and are needed most when there is much to do."""
SIGN_IN: Final = "/sign-in"


class _Bucket(NamedTuple):
    left: float
    at_s: float


class Pace:
    """The buckets of one process."""

    def __init__(self, settings: Settings, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._limits: dict[Kind, tuple[str, int]] = {
            "address": ("address_requests_per_minute", settings.address_requests_per_minute),
            "account": ("account_requests_per_minute", settings.account_requests_per_minute),
            "sign-in": ("sign_in_requests_per_minute", settings.sign_in_requests_per_minute),
        }
        self._clock_s = clock_s
        self._buckets: dict[Kind, OrderedDict[str, _Bucket]] = {kind: OrderedDict() for kind in self._limits}
        self._lock = Lock()

    def check(self, kind: Kind, key: str) -> None:
        """Count a request. Raises: TooManyRequests: there were too many; it says when the next one is looked at."""
        name, limit = self._limits[kind]
        if not limit:
            return
        rate = limit / MINUTE_S
        now_s = self._clock_s()
        buckets = self._buckets[kind]
        with self._lock:
            bucket = buckets.pop(key, _Bucket(limit, now_s))
            left = min(float(limit), bucket.left + max(0.0, now_s - bucket.at_s) * rate)
            is_allowed = left >= 1
            buckets[key] = _Bucket(left - 1 if is_allowed else left, now_s)
            if len(buckets) > BUCKETS_MAX:
                buckets.popitem(last=False)
        if not is_allowed:
            wait_s = max(1, math.ceil((1 - left) / rate))
            raise TooManyRequests(name, limit, retry_after_s=wait_s, hint=f"try again in {wait_s} s")

    def check_request(self, path: str, address: str) -> None:
        """Count a request by where it comes from and what it is for. Raises: TooManyRequests."""
        if path.startswith(FREE):
            return
        network = network_of(address)
        self.check("address", network)
        if path.startswith(SIGN_IN):
            self.check("sign-in", network)
