#!/usr/bin/env bash
# The disk fills while a campaign runs: runs checkpoint and wait, and go on when there is room again;
# nothing is lost.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || exit 77
mkdir "$work/small"
mount -t tmpfs -o size=12m tmpfs "$work/small" 2>/dev/null || exit 77
trap 'rm -f "$work/small/filler"; [ -n "$job" ] && kill -USR1 "$job" && until_true 10 job_over; job=; umount "$work/small"; leave' EXIT
state=$work/small/state

write_campaign
write_runs
add_run one --steps 400 --step-ms 20 --every 5
add_run two --steps 400 --step-ms 20 --every 5

start
until_true 20 has_checkpoint one || die "nothing trains"
record_pids
dd if=/dev/zero of="$work/small/filler" bs=64k 2>/dev/null
waits() { has_line "$out" "the disk is full"; }
until_true 20 waits || die "a full disk was not noticed"
expect_verified
rm "$work/small/filler"
goes_on() { has_line "$out" "there is room on the disk again"; }
until_true 20 goes_on || die "room on the disk was not noticed"
finish 0 60
expect_state one finished
expect_state two finished
expect_verified
