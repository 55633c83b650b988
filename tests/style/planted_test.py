#!/usr/bin/env python3
"""The checks of .ci/ must fail on what they are there for: each case plants one violation in a small
tree of its own and expects one finding that names the place."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CI = os.path.join(os.path.dirname(os.path.dirname(HERE)), ".ci")

GUARDED = "#ifndef {0}\n#define {0}\n{1}\n#endif\n"
RULES = (
    "-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wsign-conversion -Wswitch-enum "
    "-Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wcast-qual\n"
)
LAYERS = """# a comment
set libc: <stdio.h>
  <string.h>
unit low: libc
unit low/deep: libc low/
unit high: libc low/
unit scheduler: libc
file low/clock.c: <time.h>
private low/inner.h: high/friend/
"""
CLEAN = {
    ".ci/layers.txt": LAYERS,
    "CMakeLists.txt": RULES,
    "low/low.h": GUARDED.format("LOW_LOW_H", "#include <stdio.h>"),
    "low/inner.h": GUARDED.format("LOW_INNER_H", ""),
    "low/clock.c": '#include "low/low.h"\n#include "low/inner.h"\n#include <time.h>\n',
    "low/deep/d.c": '#include "low/low.h"\n#include <string.h>\n',
    "high/high.c": '#include "low/low.h"\n// #include <unistd.h>\n/* strcpy(a, b) */\n'
    'const char *s = "gets(x) /* ";\nint own_strcpy(int);\n',
    "high/friend/f.c": '#include "low/inner.h"\n',
    "scheduler/core/a.c": '/* no float here */ const char *s = "double";\n',
    "scheduler/policy/gate.c": "double fits(double x);\n",
    "docs/ARCHITECTURE.md": "# Map\n## A `scheduler/core/`\n- `a.c` - what it does with `b.c`\n"
    "## `scheduler/policy`\n| `gate.c` | judges |\n",
    "docs/decisions/0001-x.md": "# X\n[map](../ARCHITECTURE.md#map) [self](#x) `[no](gone.md)`\n",
}

# (check, files that differ from the clean tree, what the one finding says)
CASES = [
    ("layers", {"low/a.c": '#include "high/b.h"\n'}, "low/a.c:1: low may not include high/b.h"),
    ("layers", {"low/a.c": "\n\n#  include <time.h>\n"}, "low/a.c:3: low may not include <time.h>"),
    ("layers", {"low/a.c": '#include "b.h"\n'}, "low/a.c:1: low may not include b.h"),
    ("layers", {"low/a.c": '#include "low/gone.h"\n'}, "low/a.c:1: no such header"),
    ("layers", {"high/a.c": '#include "low/inner.h"\n'}, "high/a.c:1: low/inner.h is private"),
    ("layers", {"high/a.c": "#include <sys/socket.h>\n"}, "high/a.c:1: high may not include"),
    ("layers", {"new/a.c": "\n"}, "new/a.c:1: lies in no unit"),
    ("layers", {"low/clock.c": None}, "names a file that is not there: low/clock.c"),
    ("layers", {".ci/layers.txt": LAYERS + "unit low: libc\n"}, "cannot read, or have read before"),
    ("layers", {".ci/layers.txt": LAYERS + "unit new: posix\n"}, "no such set: posix"),
    ("words", {"low/a.c": "void f(void)\n{\n    strcpy (a, b);\n}\n"}, "low/a.c:3: strcpy is not used"),
    ("words", {"low/a.c": "int n = atoi(s);\n"}, "low/a.c:1: atoi is not used"),
    ("words", {"low/a.c": "void *p = alloca(n);\n"}, "low/a.c:1: alloca is not used"),
    ("words", {"low/a.c": "int n = system(s);\n", "tests/a.c": "int n = system(s);\n"},
     "low/a.c:1: system runs a shell"),
    ("words", {"scheduler/core/a.c": "\nstatic float x;\n"}, "scheduler/core/a.c:2: no float"),
    ("words", {"scheduler/ledger/l.h": GUARDED.format("SCHEDULER_LEDGER_L_H", "double x(void);")},
     "scheduler/ledger/l.h:3: no double"),
    ("words", {"proto/base/money.c": "double x;\n"}, "proto/base/money.c:1: no double"),
    ("words", {"low/a.c": "/* TO" + "DO: later */\n"}, "low/a.c:1: TO" + "DO without an issue"),
    ("words", {"notes.md": "\nsee /ho" + "me/alice/x\n"}, "notes.md:2: /ho" + "me/alice"),
    ("words", {"low/low.h": GUARDED.format("LOW_H", "")}, "low/low.h:1: the include guard is not LOW_LOW_H"),
    ("words", {"low/low.h": "#pragma once\n"}, "low/low.h:1: the include guard"),
    ("words", {"low/low.h": GUARDED.format("LOW_LOW_H", "") + "#include <stdio.h>\n"}, "the include guard"),
    ("words", {"CMakeLists.txt": RULES.replace("-Wvla ", "")}, "CMakeLists.txt:1: -Wvla is missing"),
    ("docs", {"scheduler/core/b.c": "\n"}, "no entry for scheduler/core/b.c"),
    ("docs", {"scheduler/core/a.c": None}, "docs/ARCHITECTURE.md:3: there is no scheduler/core/a.c"),
    ("docs", {"README.md": "\n[x](docs/gone.md)\n"}, "README.md:2: no such file: docs/gone.md"),
    ("docs", {"README.md": "[x](docs/ARCHITECTURE.md#gone)\n"}, "README.md:1: no such heading"),
    ("docs", {"docs/decisions/0002-y.md": "x\n" * 41}, "has at most 40 lines, this one 41"),
    ("docs", {"docs/ARCHITECTURE.md": CLEAN["docs/ARCHITECTURE.md"] + "| `gate.c` | again |\n"},
     "docs/ARCHITECTURE.md:6: scheduler/policy/gate.c has an entry already"),
]


def run(check, changes):
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**CLEAN, **changes}.items():
            if text is None:
                continue
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        # Folders that git would not show must not hide anything: the small tree has no git.
        command = [sys.executable, "-B", os.path.join(CI, check + ".py"), "--root", root]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def pure_archives(folder, source):
    """An archive of the one C source, and purity.py's answer to it."""
    path = os.path.join(folder, "x.c")
    with open(path, "w", encoding="utf-8") as file:
        file.write(source)
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-c", "-o", path[:-1] + "o", path], check=True)
    subprocess.run(["ar", "rc", path[:-1] + "a", path[:-1] + "o"], check=True)
    command = [sys.executable, "-B", os.path.join(CI, "purity.py"), path[:-1] + "a"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check_purity(failures):
    cases = [
        ("#include <string.h>\nunsigned long f(const char *s) { return strlen(s); }\n", None),
        ("#include <time.h>\nlong f(void) { return (long)time(0); }\n", "x.o: needs time"),
        ("#include <stdlib.h>\nvoid *f(void) { return malloc(3); }\n", "x.o: needs malloc"),
        ("int printf(const char *, ...);\nint f(int n) { return printf(\"%d\", n); }\n", "needs printf"),
    ]
    for source, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            done = pure_archives(folder, source)
        if expected is None and done.returncode != 0:
            failures.append(f"purity refused a pure archive: {done.stdout}")
        if expected and (done.returncode == 0 or expected not in done.stdout):
            failures.append(f"purity did not say '{expected}': {done.stdout}{done.stderr}")


def main():
    failures = []
    for check in ("layers", "words", "docs"):
        status, text = run(check, {})
        if status != 0:
            failures.append(f"{check} fails on the clean tree: {text}")
    for check, changes, expected in CASES:
        status, text = run(check, changes)
        if status == 0 or expected not in text:
            failures.append(f"{check} on {sorted(changes)}: status {status}, not '{expected}': {text}")
    check_purity(failures)
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


main()
