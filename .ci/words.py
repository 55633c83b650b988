#!/usr/bin/env -S python3 -B
"""Checks what may not stand in the sources, whoever includes whom.

Usage: words.py [--root DIR]. Findings are FILE:LINE: what; status 1 when there is any.
  - functions without bounds or with hidden state (style: text is built with struct writer)
  - floating point where money, state and records live
  - to-do marks without an issue, and absolute paths of somebody's machine, in any text file
  - include guards that are not the path in capitals
  - warnings switched off in CMakeLists.txt: the list of the root file must stay whole
"""
import re

import tree

FORBIDDEN = re.compile(
    r"\b(strcpy|stpcpy|strcat|strncat|sprintf|vsprintf|gets|atoi|atol|atoll|atof|strtok|strtok_r"
    r"|alloca|asctime|ctime|gmtime|localtime|tmpnam|mktemp|rand|srand)\s*\("
)
SHELL = re.compile(r"\b(system|popen)\s*\(")
FLOATING = re.compile(r"\b(float|double|_Complex|long double)\b")
NO_FLOATING = re.compile(r"^(scheduler/(core|ledger)/|proto/base/money\.)")
TO_DO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")
OWN_PATH = re.compile(r"(?<![\w.$}/-])/(home|root|work|Users|workspace)/[A-Za-z0-9_.-]+")
WARNINGS = (
    "-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wsign-conversion -Wswitch-enum "
    "-Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wcast-qual"
).split()


def lines_with(pattern, text):
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(0).strip()


def check_source(path, text):
    code = tree.without_comments(text, strings=False)
    for line, word in lines_with(FORBIDDEN, code):
        yield f"{path}:{line}: {word.rstrip('( ')} is not used here: it has no bounds or hides state"
    if not path.startswith("tests/"):
        for line, word in lines_with(SHELL, code):
            yield f"{path}:{line}: {word.rstrip('( ')} runs a shell: start a process by its arguments"
    if NO_FLOATING.match(path):
        for line, word in lines_with(FLOATING, code):
            yield f"{path}:{line}: no {word} where money, state and records live"
    if path.endswith((".h", ".cuh")):
        yield from check_guard(path, text)


def check_guard(path, text):
    guard = re.sub(r"[^A-Z0-9]", "_", path.upper())
    code = tree.without_comments(text)
    directives = [" ".join(d.split()) for d in re.findall(r"^[ \t]*#.*", code, re.MULTILINE)]
    if directives[:2] != [f"#ifndef {guard}", f"#define {guard}"] or directives[-1] != "#endif":
        yield f"{path}:1: the include guard is not {guard}"


def check_text(path, text):
    for line, word in lines_with(TO_DO, text):
        yield f"{path}:{line}: {word} without an issue, as in {word}(#12)"
    for line, word in lines_with(OWN_PATH, text):
        yield f"{path}:{line}: {word} is a path of one machine"


def check_warnings(root):
    options = set(re.findall(r"-W[\w=-]+", tree.read(root, "CMakeLists.txt")))
    for warning in WARNINGS:
        if warning not in options:
            yield f"CMakeLists.txt:1: {warning} is missing from the rules of our own code"


def is_text(path):
    binary = (".png", ".gz", ".pnk", ".safetensors", ".bin", ".pdf", ".ico", ".woff2", ".u16")
    return not path.endswith(binary)


def main():
    root = tree.root_of_arguments()
    findings = list(check_warnings(root))
    for path in filter(is_text, tree.files(root)):
        text = tree.read(root, path)
        if "\0" in text:
            continue
        if path != ".ci/words.py":  # it names the words
            findings += check_text(path, text)
        if path.endswith((".c", ".h", ".cu", ".cuh", ".cc")):
            findings += check_source(path, text)
    tree.report("words", findings)


main()
