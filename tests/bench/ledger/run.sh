#!/bin/sh
# run.sh BUILD [SECONDS] [RECORDS]: durable decisions per second beside the bare minimum of the same disk
# (goals: ratio >= 80 %, 64 waiting >= 20 times as many as one alone), and recovery time.
set -eu
dir=$(mktemp -d "${TMPDIR:-.}/ledger-bench-XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$1/tests/bench/ledger/ledger_bench" "$dir" "${2:-6}" "${3:-200000}"
