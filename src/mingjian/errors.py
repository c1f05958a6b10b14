"""Every error that Mingjian raises on purpose, as one tree.

::

    MingjianError
    ├── InputError              the outside is wrong: quarantine, count, go on
    │   ├── ParseError          bytes that are not what their format promises
    │   ├── LimitExceeded       a named bound was passed
    │   │   └── TooManyRequests a bound that is one again after a while
    │   ├── SchemaError         well-formed, but not the expected shape
    │   └── RuleError           a detection rule that cannot be used
    │       └── UnsupportedRule a valid rule that asks for what no engine of ours can do
    ├── AccessError             the caller may not do or see this
    │   ├── NotAuthenticated
    │   ├── NotPermitted
    │   ├── NotFound            also: it exists, but belongs to somebody else
    │   ├── MarkingViolation
    │   └── RefusedDestination
    ├── StateError              valid, but not now
    │   └── ChangedMeanwhile    somebody else was first: read again
    ├── StorageError            stop acknowledging
    ├── DeliveryError           retry if it says so
    └── ConfigError             do not start

A bug is an ``AssertionError`` and is never caught. Each class has a stable ``code``, which is also a heading
of ``docs/*/errors.md``.
"""

from __future__ import annotations

VALUE_SHOWN_CHARACTERS_MAX = 80
"""So much of a value from outside an error message shows, escaped."""


def shown(value: object) -> str:
    r"""Give at most 80 characters of a value from outside, with control characters escaped.

    >>> shown("a\nb")
    "'a\\nb'"
    """
    text = ascii(value) if not isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= VALUE_SHOWN_CHARACTERS_MAX else text[: VALUE_SHOWN_CHARACTERS_MAX - 1] + "…"


class MingjianError(Exception):
    """Something went wrong that Mingjian has a name for.

    ``where`` is a human-readable position (``file``, ``file:line``, ``file:line:column``); ``hint`` says what to
    do next. Neither may hold secrets or more than 80 characters of outside input (see ``shown``).
    """

    code = "mingjian-error"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class InputError(MingjianError):
    """The outside is wrong. The input goes to quarantine, is counted, and work goes on."""

    code = "input-error"


class ParseError(InputError):
    """Bytes that are not what their format promises."""

    code = "parse-error"


class LimitExceeded(InputError):
    """A named bound was passed; ``limit`` is its name, ``bound`` its value."""

    code = "limit-exceeded"

    def __init__(self, limit: str, bound: float, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"more than {limit} allows ({bound:,})", where=where, hint=hint)
        self.limit = limit
        self.bound = bound


class TooManyRequests(LimitExceeded):
    """There were too many requests; after ``retry_after_s`` the next one is looked at."""

    code = "too-many-requests"

    def __init__(self, limit: str, bound: float, *, retry_after_s: int, where: str = "", hint: str = "") -> None:
        super().__init__(limit, bound, where=where, hint=hint)
        self.retry_after_s = retry_after_s


class SchemaError(InputError):
    """Well-formed, but not of the expected shape."""

    code = "schema-error"


class RuleError(InputError):
    """A detection rule that cannot be used."""

    code = "rule-error"


class UnsupportedRule(RuleError):
    """A valid rule that asks for something we cannot do, for example a look-around in a regular expression."""

    code = "unsupported-rule"


class AccessError(MingjianError):
    """The caller may not do or see this."""

    code = "access-error"


class NotAuthenticated(AccessError):
    """Nobody is signed in, or the credentials are wrong or expired."""

    code = "not-authenticated"


class NotPermitted(AccessError):
    """Signed in, but without the right to do this."""

    code = "not-permitted"


class NotFound(AccessError):
    """There is no such thing, or it belongs to another organisation."""

    code = "not-found"


class MarkingViolation(AccessError):
    """The marking of a record forbids this way out."""

    code = "marking-violation"


class RefusedDestination(AccessError):
    """An outbound connection to an address that is not allowed."""

    code = "refused-destination"


class StateError(MingjianError):
    """A valid request at the wrong moment."""

    code = "state-error"


class ChangedMeanwhile(StateError):
    """It is not any more what whoever wants to change it has read."""

    code = "changed-meanwhile"


class StorageError(MingjianError):
    """The store cannot promise durability now: stop acknowledging."""

    code = "storage-error"


class DeliveryError(MingjianError):
    """Something could not be delivered; ``may_retry`` says whether trying again can help."""

    code = "delivery-error"

    def __init__(self, what: str, *, may_retry: bool, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.may_retry = may_retry


class ConfigError(MingjianError):
    """The configuration is wrong: do not start."""

    code = "config-error"
