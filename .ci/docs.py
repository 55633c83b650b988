#!/usr/bin/env -S python3 -B
"""Checks that the documents still describe the tree.

Usage: docs.py [--root DIR]. Findings are FILE:LINE: what; status 1 when there is any.
  - docs/ARCHITECTURE.md has one entry for every source file, and no entry for a file that is gone.
    A heading that holds a folder in backquotes opens it; in list items and table rows below it,
    the names in backquotes that the line begins with are entries.
  - relative links of Markdown files resolve, in files and to headings
  - a decision record has at most 40 lines
"""
import os
import re

import tree

MAP = "docs/ARCHITECTURE.md"
SUFFIXES = (".c", ".h", ".cu", ".cuh", ".proto")
FOLDERS = ("proto/", "kernels/", "scheduler/", "worker/")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def entries(text):
    """(line, path) of every entry of the map."""
    folder, fenced = None, False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
        if fenced:
            continue
        if line.startswith("#"):
            match = re.search(r"`([\w./-]+?)/?`", line)
            folder = match.group(1) if match else None
        elif folder and re.match(r"\s*[-*|]\s*`", line):
            names = re.match(r"(`[^`]*`[,\s]*)*", line.lstrip(" -*|")).group(0)
            for name in re.findall(r"`([\w./-]+)`", names):
                if name.endswith(SUFFIXES):
                    yield number, f"{folder}/{name}"


def check_map(root):
    sources = {p for p in tree.files(root, *SUFFIXES) if p.startswith(FOLDERS)}
    seen = {}
    for line, path in entries(tree.read(root, MAP)):
        if path in seen:
            yield f"{MAP}:{line}: {path} has an entry already, in line {seen[path]}"
        elif not os.path.isfile(os.path.join(root, path)):
            yield f"{MAP}:{line}: there is no {path}"
        seen[path] = line
    for path in sorted(sources - seen.keys()):
        yield f"{MAP}:1: no entry for {path}"


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)


def anchors(text):
    """The names that headings get: lower case, blanks as dashes, other signs left out."""
    found = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", re.sub(r"```.*?```", "", text, flags=re.S), re.M):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def check_links(root, path):
    text = without_code(tree.read(root, path))
    for match in LINK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        target, _, anchor = match.group(1).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        if not os.path.exists(os.path.join(root, file)):
            yield f"{path}:{line}: no such file: {target}"
        elif anchor and file.endswith(".md") and anchor not in anchors(tree.read(root, file)):
            yield f"{path}:{line}: no such heading: {match.group(1)}"


def main():
    root = tree.root_of_arguments()
    findings = list(check_map(root)) if os.path.isfile(os.path.join(root, MAP)) else [f"no {MAP}"]
    for path in tree.files(root, ".md"):
        findings += check_links(root, path)
        lines = tree.read(root, path).count("\n")
        if path.startswith("docs/decisions/") and lines > 40:
            findings.append(f"{path}:41: a decision has at most 40 lines, this one {lines}")
    tree.report("docs", findings)


main()
