#!/usr/bin/env -S python3 -B
"""Checks that the policy and core archives need nothing from the operating system.

Usage: purity.py POLICY.a CORE.a. Every undefined symbol of an archive must be defined in it, in
the archives before it, or be on the list below; status 1 when one is not.
"""
import re
import subprocess
import sys

# Of base: what is itself a function of its arguments (error_set formats into the caller's storage).
BASE = """check_failed error_set error_prefix err_name text_of text_equal text_is text_starts text_trim
text_find text_copy money_cost_micros money_affords_ns hash_mix sha256_equal""".split()
LIBC = "memcpy memmove memset memcmp strlen strcmp".split()
# What compilers put in by themselves: 128-bit division, stack guards, fortified copies, sanitizers.
COMPILER = re.compile(
    r"__u?(div|mod)ti3|__udivmodti4|__stack_chk_\w+|__mem(cpy|move|set)_chk|_GLOBAL_OFFSET_TABLE_"
    r"|__(asan|ubsan|tsan|msan|sanitizer|sancov|gcov|llvm)_\w+|__start___sancov\w+|__stop___sancov\w+"
)
# The core takes its memory once, in core.c.
ALLOCATION = {"core.c.o": {"malloc", "calloc", "free"}}
# What two gate rules reason with; what is recorded of it are integers.
MATH = {"gate_precedent.c.o": {"exp", "fmax", "fmin", "log"}, "gate_curve.c.o": {"erfc", "exp", "fmax", "log", "pow", "sqrt"}}


def symbols(archive):
    """(object, symbol, is undefined) for every symbol of the archive."""
    nm = subprocess.run(["nm", "-g", archive], capture_output=True, text=True, check=True)
    member = ""
    for line in nm.stdout.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        elif match := re.fullmatch(r"[0-9a-f]* +(\w) (\S+)", line):
            yield member, match.group(2), match.group(1) in "Uw"


def main():
    defined, findings = set(BASE + LIBC), []
    for archive in sys.argv[1:]:
        entries = list(symbols(archive))
        if not entries:
            sys.exit(f"purity: {archive} is empty")
        defined |= {symbol for _, symbol, undefined in entries if not undefined}
        for member, symbol, undefined in entries:
            if not undefined or symbol in defined or COMPILER.fullmatch(symbol):
                continue
            if symbol not in ALLOCATION.get(member, set()) | MATH.get(member, set()):
                findings.append(f"{member}: needs {symbol}, which is not pure")
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


if len(sys.argv) < 2:
    sys.exit(__doc__)
main()
