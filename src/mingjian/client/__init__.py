"""A typed client of the REST API, for programs on other machines: the standard library and msgspec, nothing else.

In: the address of a server and a token. Out: values with types, iterators over lists and exports, errors of
``mingjian.errors``. Never: a connection to anything but that address; a POST that takes effect twice.
"""

from mingjian.client.calls import Client

__all__ = ["Client"]
