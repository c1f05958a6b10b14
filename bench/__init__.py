"""Benchmarks: each compares two things in one run and prints the ratio. Nothing here is a test."""

import os

# As the command does before Arrow is loaded (``cli.main``): what is measured in one process is to be what users get.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "1000")
