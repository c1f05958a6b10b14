#!/bin/bash
# Tries ./run where it is hardest to start. Needs root (it hides parts of Debian's Python) and a package index.
# Usage: tests/bootstrap.sh [PYTHON …]   further interpreters to try, for example of other versions
set -u
here=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
copy="$scratch/a copy"
mkdir "$copy" "$scratch/empty"
(cd "$here" && git ls-files -co --exclude-standard -z | tar --null -T - -cf -) | tar -xf - -C "$copy"
bare=(env -i "HOME=$HOME" PATH=/usr/bin:/bin ${PIP_CERT:+"PIP_CERT=$PIP_CERT"} ${PIP_INDEX_URL:+"PIP_INDEX_URL=$PIP_INDEX_URL"})
library=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
failed=0

expect() { # NAME CODE COMMAND…
    local name=$1 code=$2
    shift 2
    "$@" >"$scratch/out" 2>"$scratch/err"
    local got=$?
    if [ "$got" -ne "$code" ] || { [ "$code" -eq 0 ] && ! grep -q '^mingjian [0-9]' "$scratch/out"; }; then
        echo "FAILED  $name: exit $got, expected $code"
        cat "$scratch/err"
        failed=1
    else
        echo "ok      $name"
    fi
}
fresh() { rm -rf "$copy/.venv"; }
without() { # MODULE … -- COMMAND…: hides modules of the standard library
    local mounts=()
    while [ "$1" != -- ]; do
        mounts+=("mount --bind '$scratch/empty' '$library/$1' &&")
        shift
    done
    shift
    unshare -m sh -c "${mounts[*]} \"\$@\"" sh "$@"
}

expect "Debian's Python without ensurepip, marked as externally managed" 0 without ensurepip -- "${bare[@]}" "$copy/run" --version
expect "again, without a network" 0 unshare -n "${bare[@]}" "$copy/run" --version
fresh
expect "without venv too" 0 without ensurepip venv -- "${bare[@]}" "$copy/run" --version
fresh
"${bare[@]}" timeout -s INT 6 "$copy/run" --version >/dev/null 2>&1
expect "after an interrupted start" 0 "${bare[@]}" "$copy/run" --version
fresh
expect "first start without a network" 4 unshare -n "${bare[@]}" PIP_NO_CACHE_DIR=1 PIP_RETRIES=0 "$copy/run" --version
fresh
"${bare[@]}" "$copy/run" --version >/dev/null 2>&1 &
expect "two starts at once" 0 "${bare[@]}" "$copy/run" --version
wait
printf '[install]\nuser = true\n' >"$scratch/pip.conf"
fresh
expect "pip set up to install for the user" 0 "${bare[@]}" PIP_CONFIG_FILE="$scratch/pip.conf" PYTHONPATH=/nowhere "$copy/run" --version
for other in "$@"; do
    fresh
    expect "with $other" 0 "${bare[@]}" MINGJIAN_PYTHON="$other" "$copy/run" --version
done
exit $failed
