#!/usr/bin/env -S python3 -B
"""Plants bugs in core, policy and ledger and demands that the tests find each of them.

Usage: planted.py LINK [NAME...]. LINK is a file that CMake writes, see CMakeLists.txt; NAME is a
patch of planted/, without its suffix; all of them where none is given.

A patch begins with one line that says what is wrong. Behind it stands a unified diff of one .c
file below scheduler/core, scheduler/policy or scheduler/ledger. Where a hunk belongs is found by its text,
which must occur once; line numbers mean nothing. That file is compiled anew, as the build did it,
and linked before the libraries into one test after the other, until one fails. Without a patch
all tests must pass. Status 0: every bug was found; 1: one was not, or a patch does not fit.
"""
import glob
import json
import os
import shlex
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(FOLDER, "../.."))
UNITS = ("scheduler/core/", "scheduler/policy/", "scheduler/ledger/")
TIMEOUT_S = 60 # a test that is only slow has found nothing
ARGUMENTS = {  # of a test's runs, where they are not one without any
    "nonsense_test": [["1", "60000"]],
    "faults_test": [["1", "40"]],
    "transcript_test": [[path] for path in
                        sorted(glob.glob(os.path.join(ROOT, "tests/unit/core/transcripts/*.txt")))],
}


class Bad(Exception):
    pass


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_link(path):
    """What CMake wrote: lines of a word and a value; `test` lines are a name and its objects, in
    the order to try them."""
    link = {"tests": {}}
    for line in read(path).splitlines():
        word, _, value = line.partition(" ")
        if word == "test":
            test, _, files = value.partition(" ")
            link["tests"][test] = files.split(";")
        else:
            link[word] = [part for part in value.split(";") if part]
    commands = json.loads(read(os.path.join(link["build"][0], "compile_commands.json")))
    link["commands"] = {os.path.realpath(entry["file"]): shlex.split(entry["command"])
                        for entry in commands}
    return link


def read_patch(path):
    """(what, file, [(old text, new text)])"""
    lines = read(path).split("\n")
    hunks, file = [], None
    for line in lines[1:]:
        if line.startswith("+++ "):
            if file is not None:
                raise Bad("it changes more than one file")
            file = line[4:].split("\t")[0].removeprefix("b/")
        elif line.startswith("@@"):
            hunks.append(([], []))
        elif hunks and line[:1] in ("+", "-", " "):
            if line[0] != "+":
                hunks[-1][0].append(line[1:])
            if line[0] != "-":
                hunks[-1][1].append(line[1:])
    if not lines[0] or lines[0].startswith("---") or not hunks or file is None:
        raise Bad("it is not a line that says what is wrong, and a diff")
    if not file.startswith(UNITS) or not file.endswith(".c"):
        raise Bad(f"{file} is no source of {', '.join(UNITS)}")
    return lines[0], file, [("\n".join(old) + "\n", "\n".join(new) + "\n") for old, new in hunks]


def run_tool(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Bad(f"{command[0]} says\n{done.stderr[-3000:]}")


def compile_planted(link, work, file, hunks):
    """The object of the file with the hunks put in."""
    text = read(os.path.join(ROOT, file))
    for old, new in hunks:
        if text.count(old) != 1 or old == new:
            raise Bad(f"a hunk of {file} fits {text.count(old)} times")
        text = text.replace(old, new)
    source = os.path.join(work, os.path.basename(file))
    with open(source, "w", encoding="utf-8") as out:
        out.write(text)
    command = list(link["commands"][os.path.realpath(os.path.join(ROOT, file))])
    command[command.index("-o") + 1] = source[:-1] + "o"
    command[command.index("-c") + 1] = source
    run_tool([word for word in command if word != "-Werror"])
    return source[:-1] + "o"


def build(link, work, test, planted):
    """The test's program. The planted object comes first: what it has is not taken from a library."""
    program = os.path.join(work, test)
    run_tool(link["cc"] + ["-o", program, planted] + link["tests"][test]
             + ["-Wl,--start-group"] + link["libraries"] + ["-Wl,--end-group", "-lm"])
    return program


def passes(test, program):
    for arguments in ARGUMENTS.get(test, [[]]):
        try:
            done = subprocess.run([program] + arguments, cwd=ROOT, timeout=TIMEOUT_S, check=False,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Bad(f"{test} took longer than {TIMEOUT_S} s") from None
        if done.returncode != 0:
            return False
    return True


def finder(link, shared, name):
    """The test that finds the patch's bug."""
    what, file, hunks = read_patch(os.path.join(FOLDER, "planted", name + ".patch"))
    with tempfile.TemporaryDirectory(dir=shared) as work:
        planted = compile_planted(link, work, file, hunks)
        for test in link["tests"]:
            if not passes(test, build(link, work, test, planted)):
                return test, what
    raise Bad(f"nobody noticed: {what}")


def check_clean(link, shared):
    """The same way of building, and no bug."""
    file = "scheduler/core/budget.c"
    with tempfile.TemporaryDirectory(dir=shared) as work:
        planted = compile_planted(link, work, file, [])
        for test in link["tests"]:
            if not passes(test, build(link, work, test, planted)):
                raise Bad(f"{test} fails without a bug")


def run_all(link, shared, names):
    """Whether all of them were found."""
    well = True
    for name in names:
        try:
            test, what = finder(link, shared, name)
            print(f"{test} found {name}: {what}", flush=True)
        except (Bad, OSError) as problem:
            print(f"planted: {name}: {problem}", file=sys.stderr, flush=True)
            well = False
    return well


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    link, folder = read_link(sys.argv[1]), os.path.join(FOLDER, "planted")
    names = sorted(name[:-6] for name in os.listdir(folder) if name.endswith(".patch"))
    with tempfile.TemporaryDirectory(prefix="penstock-planted-") as shared:
        try:
            check_clean(link, shared)
        except Bad as problem:
            sys.exit(f"planted: {problem}")
        if not names or not run_all(link, shared, sys.argv[2:] or names):
            sys.exit(1)


main()
