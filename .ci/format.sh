#!/bin/bash
# Checks that clang-format 14 would change nothing; `format.sh --fix` lets it change the files.
# Usage: format.sh [--fix]. Status 0: all well; 1: files differ; 77: no clang-format 14 here.
set -eu
cd "$(dirname "$0")/.."

tool=$(command -v clang-format-14 || command -v clang-format || true)
case $("${tool:-false}" --version 2>/dev/null || true) in
*"version 14."*) ;;
*)
    echo "format: clang-format 14 is not installed" >&2
    exit 77
    ;;
esac

mode="--dry-run -Werror"
[ "${1:-}" = --fix ] && mode=-i
# shellcheck disable=SC2086 # the mode is two words
git ls-files -coz --exclude-standard -- '*.c' '*.h' '*.cu' '*.cuh' '*.cc' |
    while IFS= read -r -d '' path; do [ -e "$path" ] && printf '%s\0' "$path"; done |
    xargs -0 "$tool" $mode
