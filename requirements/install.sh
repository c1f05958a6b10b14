# Sourced by ./run and ./check: makes the private environment .venv hold what a lock file says. POSIX sh.
#
# Before: $here is the folder of the repository. After `prepare runtime` or `prepare dev`: $python is the interpreter
# of the environment. Needed: CPython 3.11 or later and pip, nothing else. Debian packages venv and ensurepip apart
# from Python, and marks the system's own pip as not for use (PEP 668): neither is needed here.

venv=$here/.venv
python=$venv/bin/python
unfinished=$venv/mingjian-unfinished
lock=$here/.venv.lock

say() { printf 'mingjian: %s\n' "$*" >&2; }
fail() { say "$@"; exit 4; }

# What the environment was made from: the lock files, the project's metadata, what the console's bundle is made of,
# and where it stands (it cannot be moved).
key() {
    cat "$here/pyproject.toml" "$here"/requirements/*.txt "$here"/frontend/package-lock.json \
        "$here"/frontend/*.py "$here"/frontend/src/*.js | cksum
    printf '%s\n' "$here"
}

is_ready() {
    [ -x "$python" ] && [ ! -e "$unfinished" ] || return 1
    wanted=$(key)
    [ "$(cat "$venv/mingjian-$1" 2>/dev/null)" = "$wanted" ] && return
    # What is enough for checking is enough for running.
    [ "$1" = runtime ] && [ "$(cat "$venv/mingjian-dev" 2>/dev/null)" = "$wanted" ]
}

prepare() {
    ! is_ready "$1" || return 0
    [ -w "$here" ] || fail "cannot write to $here; copy the repository to a folder of your own"
    take_lock
    if ! is_ready "$1"; then
        # pip's settings for everyday use must not lead the packages elsewhere.
        unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT
        export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
        install "$1"
    fi
    rm -rf "$lock"
    trap - EXIT INT TERM HUP
}

# One at a time: two starts that write to the same environment would break it.
take_lock() {
    unclaimed=0
    told=
    until mkdir "$lock" 2>/dev/null; do
        holder=$(cat "$lock/pid" 2>/dev/null || :)
        [ -n "$holder" ] || unclaimed=$((unclaimed + 1))
        if [ "$unclaimed" -gt 5 ] || { [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; }; then
            rm -rf "$lock"
            continue
        fi
        [ -n "$told" ] || say "waiting for another ./run or ./check that is installing (process ${holder:-unknown})"
        told=yes
        sleep 1
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

install() {
    case $1 in
        runtime) say "first start or new version: installing into $venv (about 245 MB to download, 890 MB on disk, once)" ;;
        dev) say "installing the tools for checking into $venv (about 330 MB to download, 1.2 GB on disk, once)" ;;
    esac
    if [ -e "$unfinished" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
        make_environment
    fi
    : >"$unfinished"
    rm -f "$venv/mingjian-runtime" "$venv/mingjian-dev"
    say "1/2 packages at the versions of requirements/$1.txt"
    pip_install --require-hashes -r "$here/requirements/$1.txt" -r "$here/requirements/build.txt" ||
        fail "the packages could not be installed (the reason is above). This step needs a Python package index;" \
            "behind a proxy set HTTPS_PROXY, for an index of your own set PIP_INDEX_URL. Then start again."
    say "2/2 Mingjian itself"
    pip_install --no-deps --no-build-isolation --editable "$here" || fail "Mingjian could not be installed"
    key >"$venv/mingjian-$1"
    rm -f "$unfinished"
    say "done"
}

# On a terminal pip shows how far it is; elsewhere only what went wrong.
pip_install() {
    if [ -t 2 ]; then
        "$python" -m pip install "$@" >&2
    else
        "$python" -m pip install --quiet --progress-bar off "$@" >&2
    fi
}

make_environment() {
    if [ -n "${MINGJIAN_PYTHON:-}" ]; then
        set -- "$MINGJIAN_PYTHON"
    else
        set -- python3.13 python3.12 python3.11 python3 python
    fi
    found=
    for name in "$@"; do
        # A name can be a pyenv shim or a link: ask it who it is.
        base=$("$name" -c "$ask_python" 2>/dev/null) || continue
        found=$base
        make_environment_with "$base" && return
        say "$base cannot make an environment, looking for another Python"
    done
    rm -rf "$venv"
    [ -n "$found" ] || fail "no Python 3.11 or later found (looked for: $*); install one, or set MINGJIAN_PYTHON"
    fail "found $found, but no pip to start with; install pip (Debian, Ubuntu: apt install python3-pip) and start again"
}

ask_python='
import ssl, sys, sysconfig, zlib
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)
'

make_environment_with() {
    rm -rf "$venv"
    mkdir "$venv"
    : >"$unfinished"
    "$1" -m venv "$venv" >/dev/null 2>&1 && "$python" -m pip --version >/dev/null 2>&1 && return
    # No ensurepip, perhaps not even venv. An environment is a link to Python, a small file and a folder.
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    packages=$venv/lib/python$version/site-packages
    mkdir -p "$venv/bin" "$packages"
    ln -sf "$1" "$python"
    printf 'home = %s\ninclude-system-site-packages = false\nversion = %s\n' "$(dirname "$1")" "$version" \
        >"$venv/pyvenv.cfg"
    # Any pip can put a pip there; --target is not touched by PEP 668.
    for name in "$1" python3 python3.13 python3.12 python3.11 python; do
        "$name" -m pip --version >/dev/null 2>&1 || continue
        say "this Python comes without ensurepip: fetching pip into the environment"
        "$name" -m pip install --quiet --no-deps --only-binary :all: --python-version "$version" \
            --require-hashes -r "$here/requirements/pip.txt" --target "$packages" >&2 || continue
        "$python" -m pip --version >/dev/null 2>&1 && return
    done
    return 1
}
