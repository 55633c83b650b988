#!/usr/bin/env bash
# A state directory that cannot be written to: a clear error, status 2, nothing left behind.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run only --steps 5 --step-ms 5
mkdir "$work/ro"
if [ "$(id -u)" = 0 ]; then
    # Root writes anywhere, except where the file system itself says no.
    mount -t tmpfs -o size=1m tmpfs "$work/ro" 2>/dev/null || exit 77
    trap 'umount "$work/ro"; leave' EXIT
    mount -o remount,ro "$work/ro"
else
    chmod 555 "$work/ro"
fi
for state in "$work/ro" "$work/ro/state"; do
    "$penstock" run "$campaign" --dir "$state" --workers 1 >"$out" 2>&1
    got=$?
    [ "$got" -eq 2 ] || die "status $got, not 2"
    expect_text "$out" "$work/ro"
    expect_text "$out" "Read-only file system\|Permission denied"
done
