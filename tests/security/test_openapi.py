"""The API against its own document: what is generated from it never breaks it, and no answer is one it does not name.

python tests/security/test_openapi.py [examples]    a longer run: so many for each operation (1000 if not said)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS

from mingjian.console.site import Site
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from serving import TokenGate, filled, served

EXAMPLES = int(os.environ.get("MINGJIAN_OPENAPI_EXAMPLES", "6"))
"""Of each operation."""
WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
HEADERS = {"cookie": "asker=administrator@all", "sec-fetch-site": "same-origin"}
LINES, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
UNPACED = Settings(address_requests_per_minute=0, account_requests_per_minute=0)


@schemathesis.serializer(LINES, ARROW, "text/csv")
def raw(context: Any, value: Any) -> bytes:
    """A body that is no JSON, as it was generated."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def run(address: str, examples: int, asker: str = "administrator@all") -> tuple[Counter[str], list[str]]:
    """Ask every operation as somebody; give how often which status was the answer, and what was wrong."""
    schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json", wait_for_schema=60)
    known = known_ids(address)
    checks = [CHECKS.get_one(name) for name in WANTED]
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            try:
                _asking(operation, mode, examples, checks, seen, known, asker)()
            except hypothesis.errors.Unsatisfiable:
                # Nothing that an operation without parameters is asked can be wrong.
                assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label
            except (schemathesis.errors.SchemathesisError, AssertionError, BaseExceptionGroup) as error:
                wrong.append(f"{operation.label} ({mode.value}): {str(error)[:2000]}")
    return seen, wrong


def known_ids(address: str) -> dict[str, list[str]]:
    """Resource → ids of some that are there, so that not every request ends with 404."""
    found: dict[str, list[str]] = {}
    for name in ("situations", "detections", "suppressions", "quarantine", "hunts", "rules", "indicator-sets"):
        request = urllib.request.Request(f"{address}/api/v1/{name}?limit=5", headers=HEADERS)  # noqa: S310 - our own server
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
            found[name] = [item["id"] for item in json.load(answer)["items"]]
    return found


def _asking(
    operation: Any,
    mode: schemathesis.GenerationMode,
    examples: int,
    checks: list[Any],
    seen: Counter[str],
    known: dict[str, list[str]],
    asker: str,
) -> Callable[[], None]:
    """A test of one operation."""
    ids = known.get(operation.path.split("/")[3], [])
    asked = count()

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        number = next(asked)
        if ids and number % 2 and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = ids[number // 2 % len(ids)]
        answer = case.call(headers=HEADERS | {"cookie": f"asker={asker}"}, timeout=60)
        seen[str(answer.status_code)] += 1
        case.validate_response(answer, checks=checks)

    return ask


@contextmanager
def console(folder: Path) -> Generator[str]:
    with filled(folder) as workspace:
        site = Site(workspace, UNPACED, load_sources(), TokenGate(workspace))
        with served(site) as address:
            yield address


@pytest.mark.slow
def test_no_generated_request_breaks_the_api_or_its_document(tmp_path: Path) -> None:
    with console(tmp_path) as address:
        seen, wrong = run(address, EXAMPLES)
    assert wrong == []
    assert sum(seen.values()) >= EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("asker", ["reader@ours", "nobody"])
def test_who_may_do_little_gets_no_answer_that_is_not_in_the_document(tmp_path: Path, asker: str) -> None:
    with console(tmp_path) as address:
        seen, wrong = run(address, 1, asker)
    assert wrong == []
    assert seen["401" if asker == "nobody" else "403"] > 20


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, console(Path(name)) as place:
        statuses, problems = Counter[str](), list[str]()
        for asking in ("administrator@all", "reader@ours", "nobody"):
            more, found_wrong = run(place, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, asking)
            statuses += more
            problems += found_wrong
    print(sum(statuses.values()), "requests:", dict(sorted(statuses.items())))
    print("\n".join(problems) or "nothing wrong")
    sys.exit(bool(problems))
