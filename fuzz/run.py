"""Give hostile inputs to everything that reads bytes: ``python fuzz/run.py --inputs 1000000 [--only NAME]``.

Each target runs in a process of its own, so that even a crash of a library is found and named. An input fails if
something other than ``InputError`` comes out, if it takes longer than ``--seconds``, or if the process grows by more
than ``--megabytes``. The input is then written to ``fuzz/failures/``; ``--seed`` and ``--first`` repeat it.
"""

import argparse
import contextlib
import multiprocessing
import resource
import sys
import time
import traceback
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from fuzz.mutate import mutated  # noqa: E402  # needs the path above
from fuzz.targets import Target, targets  # noqa: E402  # needs the path above

HANG_S = 60
FAILED = 1


def input_of(target: Target, seed: int, index: int) -> tuple[bytes, Random]:
    """The input with this number, and the randomness for cutting it."""
    random = Random(f"{seed} {target.name} {index}")  # no secrets here
    if index < len(target.samples):
        return target.samples[index], random
    return mutated(random, target.samples, target.size_max), random


def work(name: str, options: argparse.Namespace, position: "Synchronized[int]") -> None:
    """Run one target. Ends the process with ``FAILED`` at the first input that fails."""
    target = targets()[name]
    started = time.perf_counter()
    slowest = 0.0
    grown_from = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(options.first, options.first + options.inputs):
        position.value = index
        data, random = input_of(target, options.seed, index)
        before = time.process_time()
        try:
            target.run(data, random)
        except BaseException:  # noqa: BLE001  # whatever it is, it is the finding
            traceback.print_exc()
            sys.exit(FAILED)
        took = time.process_time() - before
        slowest = max(slowest, took)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown_from) // 1024
        if took > options.seconds or grown > options.megabytes:
            print(f"{name}: input {index} took {took:.2f} s; {grown} MB more than at the start", flush=True)
            sys.exit(FAILED)
    spent = time.perf_counter() - started
    print(f"{name}: {options.inputs} inputs in {spent:.1f} s, slowest {slowest * 1000:.0f} ms, +{grown} MB", flush=True)


def run(name: str, options: argparse.Namespace) -> bool:
    """Run one target in its own process and say whether it survived."""
    context = multiprocessing.get_context("fork")
    position = context.Value("q", -1, lock=False)
    process = context.Process(target=work, args=(name, options, position))
    process.start()
    last, since = -1, time.monotonic()
    while process.is_alive():
        process.join(1)
        if position.value != last:
            last, since = position.value, time.monotonic()
        elif time.monotonic() - since > HANG_S:
            print(f"{name}: input {last} does not end", flush=True)
            process.kill()
    if process.exitcode == 0:
        return True
    folder = ROOT / "fuzz" / "failures"
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        data, _ = input_of(targets()[name], options.seed, position.value)
        (folder / f"{name}-{options.seed}-{position.value}").write_bytes(data)
    print(f"{name}: FAILED at input {position.value} (exit code {process.exitcode}); repeat it with "
          f"--only {name} --seed {options.seed} --first {position.value} --inputs 1", flush=True)  # fmt: skip
    return False


def main() -> int:
    """Run the targets that were asked for."""
    names = list(targets())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="for each target")
    parser.add_argument("--only", action="append", choices=names, help="may be given several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=float, default=1.0, help="that one input may take")
    parser.add_argument("--megabytes", type=int, default=256, help="that the process may grow")
    options = parser.parse_args()
    survived = [run(name, options) for name in options.only or names]
    return 0 if all(survived) else FAILED


if __name__ == "__main__":
    sys.exit(main())
