"""Serving: the address that a person is told."""

import pytest

from mingjian.service import address_of, bound
from mingjian.store.passkeys import is_possible


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 # nothing is served
def test_on_this_machine_the_console_has_a_name_with_which_passkeys_work(address: str) -> None:
    with bound(address, 0) as taken:
        told = address_of(taken)
        assert told == f"http://localhost:{taken.getsockname()[1]}"
    assert is_possible(told.partition("//")[2].partition(":")[0], is_secure=False)
