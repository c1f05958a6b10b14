"""The guard: what may change something, how large a request may be, what is counted."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from mingjian.console.answers import PROBLEM_TYPE
from mingjian.console.app import create_app
from mingjian.console.guard import BODY_BYTES_MAX, exposition, is_ours
from mingjian.store.workspace import create
from serving import site_of

FOREIGN = {"sec-fetch-site": "cross-site"}
HUGE = {"content-length": str(BODY_BYTES_MAX + 1)}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://here:1"}, False),
        ({"origin": "http://here:1", "host": "here:1"}, True),
        ({"origin": "http://here:2", "host": "here:1"}, False),
        ({"origin": "null", "host": "here:1"}, False),
        ({"cookie": "mingjian=x"}, False),
        ({}, True),
    ],
)
def test_a_request_that_changes_something_comes_from_here(headers: dict[str, str], expected: bool) -> None:
    assert is_ours("POST", Headers(headers), has_token=False) is expected
    assert is_ours("GET", Headers(headers), has_token=False)
    assert is_ours("POST", Headers(headers), has_token=True)


def test_counts_are_written_as_prometheus_reads_them() -> None:
    text = exposition([('http_requests{status="200"}', 3), ("http_seconds_microseconds_sum", 1_500_000)])
    assert text == 'mingjian_http_requests{status="200"} 3\nmingjian_http_seconds_sum 1.5\n'


@pytest.mark.parametrize(
    ("headers", "status", "code", "words"),
    [(FOREIGN, 403, "not-permitted", "其他网站"), (HUGE, 413, "limit-exceeded", "16.0 MiB")],
)
def test_what_is_refused_at_the_door_is_told_to_programs_as_a_problem_and_to_people_as_a_page(
    tmp_path: Path, headers: dict[str, str], status: int, code: str, words: str
) -> None:
    with create(tmp_path / "workspace") as workspace:
        browser = TestClient(create_app(site_of(workspace)), headers={"accept-language": "zh-CN"})
        program = browser.post("/api/v1/rules", headers=headers)
        assert program.status_code == status
        assert program.headers["content-type"].startswith(PROBLEM_TYPE)
        told = program.json()
        assert (told["status"], told["code"], told["instance"]) == (status, code, "/api/v1/rules")
        page = browser.post("/rules/x/switch-off", headers=headers)
        assert page.status_code == status
        assert page.headers["content-type"].startswith("text/html")
        assert words in page.text
