"""The guard: what may change something, how large a request may be, what is counted."""

import pytest
from starlette.datastructures import Headers

from mingjian.console.guard import exposition, is_ours


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
