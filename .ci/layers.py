#!/usr/bin/env -S python3 -B
"""Checks who includes whom against .ci/layers.txt.

Usage: layers.py [--root DIR]. Each finding is one line, FILE:LINE: what; status 1 when there is any.

The table's rows (blank lines and # comments aside; a row goes on where the next line is indented):
  set NAME: ITEM...        a name for several items
  unit FOLDER: ITEM...     what files below FOLDER may include, besides their own unit's headers
  file PATH: ITEM...       what this one file may include in addition
  private PATH: FOLDER...  a header that only its own folder and these may include
An ITEM is a system header <like/this.h>, a set's name, a folder with a final slash (all headers
below it), or the path of one header. The longest matching unit counts. The item `any` allows all.
"""
import os
import re
import sys

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]*)[>"]', re.MULTILINE)


class Table:
    def __init__(self, text):
        self.sets, self.units, self.files, self.private = {}, {}, {}, {}
        rows = {"set": self.sets, "unit": self.units, "file": self.files, "private": self.private}
        joined = re.sub(r"\n[ \t]+", " ", re.sub(r"[ \t]*#.*", "", text))
        for line in filter(str.strip, joined.split("\n")):
            head, colon, items = line.partition(":")
            kind, name = (head.split() + ["", ""])[:2]
            if not colon or kind not in rows or not name or name in rows[kind]:
                sys.exit(f"layers.txt: cannot read, or have read before: {line}")
            rows[kind][name] = self.expand(items.split())

    def expand(self, items):
        expanded = set()
        for item in items:
            if item in self.sets:
                expanded |= self.sets[item]
            elif re.fullmatch(r"<[^>]+>|any|\S+/|\S+\.h|tests/\S+", item):
                expanded.add(item)
            else:
                sys.exit(f"layers.txt: no such set: {item}")
        return expanded

    def unit_of(self, path):
        parts = path.split("/")
        for n in range(len(parts) - 1, 0, -1):
            if "/".join(parts[:n]) in self.units:
                return "/".join(parts[:n])
        return None


def allowed(items, path, include, unit):
    if "any" in items or include in items:
        return True
    if include.startswith("<"):
        return False
    folders = [item for item in items if item.endswith("/")] + [unit + "/"]
    return any(include.startswith(folder) for folder in folders)


def is_private_to_others(table, path, include):
    if include not in table.private:
        return False
    folders = table.private[include] | {os.path.dirname(include) + "/"}
    return not any(path.startswith(folder) for folder in folders)


def check_file(root, table, path, findings):
    unit = table.unit_of(path)
    if unit is None:
        findings.append(f"{path}:1: lies in no unit of .ci/layers.txt")
        return
    items = table.units[unit] | table.files.get(path, set())
    text = tree.without_comments(tree.read(root, path))
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        include = match.group(2) if match.group(1) == '"' else f"<{match.group(2)}>"
        if not allowed(items, path, include, unit):
            findings.append(f"{path}:{line}: {unit} may not include {include}")
        elif is_private_to_others(table, path, include):
            findings.append(f"{path}:{line}: {include} is private to its folder")
        elif include[0] != "<" and not include.endswith(".pb-c.h"):
            if not os.path.isfile(os.path.join(root, include)):
                findings.append(f"{path}:{line}: no such header from the root: {include}")


def main():
    root = tree.root_of_arguments()
    table = Table(tree.read(root, ".ci/layers.txt"))
    findings = []
    for path in tree.files(root, ".c", ".h", ".cu", ".cuh", ".cc"):
        check_file(root, table, path, findings)
    for path in sorted(table.files.keys() | table.private.keys()):
        if not os.path.isfile(os.path.join(root, path)):
            findings.append(f".ci/layers.txt:1: names a file that is not there: {path}")
    tree.report("layers", findings)


main()
