"""check_forms.py REPORT_SAMPLE - the forms of the report against each other, with nothing but the standard library.

HTML: every tag is closed where it was opened, no script, no handler, nothing loaded from outside, every chart has a
title, every table has headings, every reference in the page has its target; and its figures are those of the JSON.
JSON: strict, and its own sums hold. Markdown and text: hostile names stay text. Exits 1 with what is wrong."""

import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile

VOID = {"meta", "br", "img", "link", "input", "hr", "area", "base", "col", "embed", "source", "track", "wbr"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "nav", "a", "h1", "h2",
    "h3", "p", "span", "b", "small", "code", "pre", "br", "ul", "li", "dl", "dt", "dd", "div", "data", "table",
    "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "svg", "desc", "defs",
    "pattern", "rect", "line", "path", "circle", "text", "use",
}
problems = []


def problem(name, text):
    problems.append(f"{name}: {text}")


class Page(html.parser.HTMLParser):
    """Checks balance and safety while reading; keeps tables, figures, ids and references."""

    def __init__(self, name):
        super().__init__(convert_charrefs=True)
        self.name, self.stack = name, []
        self.ids, self.references = set(), set()
        self.tables, self.figures = {}, {}
        self.section = self.row = self.cell = self.figure = None
        self.text = []

    def handle_decl(self, decl):
        if decl.lower() != "doctype html":
            problem(self.name, f"declaration {decl!r}")

    def handle_startendtag(self, tag, attrs):
        self.open(tag, dict(attrs))
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag, attrs):
        self.open(tag, dict(attrs))

    def open(self, tag, attrs):
        if tag not in ALLOWED:
            problem(self.name, f"a <{tag}> at {self.getpos()}")
        for key, value in attrs.items():
            value = value or ""
            if key.startswith("on") or key in ("src", "srcset", "action", "background", "poster"):
                problem(self.name, f"attribute {key} of <{tag}> at {self.getpos()}")
            if key in ("href", "xlink:href"):
                if not value.startswith("#"):
                    problem(self.name, f"{key}={value!r} leads outside")
                self.references.add(value[1:])
            if key == "aria-labelledby":
                self.references.update(value.split())
            if key == "fill" and value.startswith("url(#"):
                self.references.add(value[5:-1])
            if key == "id":
                if value in self.ids:
                    problem(self.name, f"id {value!r} twice")
                self.ids.add(value)
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "section":
            self.section = attrs.get("id")
        elif tag == "tr":
            self.row = {}
            self.first = True
        elif tag in ("td", "th") and self.row is not None and self.stack[-3:-2] == ["tbody"]:
            self.cell = "" if self.first else attrs.get("data-l")
            self.first, self.text, self.value = False, [], None
        elif tag == "dt":
            self.text = []
        elif tag == "data":
            self.value = attrs.get("value")
            if self.figure is not None:
                self.figures[self.figure] = int(self.value)

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            problem(self.name, f"</{tag}> closes {self.stack[-1:]} at {self.getpos()}")
            return
        self.stack.pop()
        if tag in ("td", "th") and self.cell is not None and self.row is not None:
            self.row[self.cell] = ("".join(self.text), self.value)
            self.cell = None
        elif tag == "tr" and self.row:
            self.tables.setdefault(self.section, []).append(self.row)
            self.row = None
        elif tag == "dt":
            self.figure = "".join(self.text)
        elif tag == "dl":
            self.figure = None

    def handle_data(self, data):
        self.text.append(data)
        if self.stack and self.stack[-1] == "style":
            if "@import" in data or "url(" in data or "expression(" in data:
                problem(self.name, "the style sheet loads something")


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def refuse_constant(value):
    raise ValueError(value)


def no_twins(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError(f"a key twice: {sorted(keys)}")
    return dict(pairs)


def page_of(folder, name):
    source = read(folder, name + ".html")
    page = Page(name + ".html")
    page.feed(source)
    page.close()
    if page.stack:
        problem(page.name, f"not closed: {page.stack}")
    for reference in page.references - page.ids:
        problem(page.name, f"nothing has the id {reference!r}")
    for word in ("<script", "javascript:void", "@import"):
        if word in source.lower():
            problem(page.name, f"contains {word}")
    if re.search(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:|//)""", re.sub(r"&[a-z#0-9]+;", "", source)) and \
            name != "hostile":
        problem(page.name, "refers to something outside")
    if name != "hostile" and ("http:" in source or "https:" in source):
        problem(page.name, "names an address")
    if "Content-Security-Policy" not in source or "default-src 'none'" not in source:
        problem(page.name, "has no content security policy")
    for svg in re.findall(r'<svg[^>]*role="img"[^>]*>(?!<title)', source):
        problem(page.name, f"a chart without a title: {svg}")
    if any(ord(c) < 32 and c != "\n" or 0x7F <= ord(c) < 0xA0 for c in source):
        problem(page.name, "holds control characters")
    return page


def same(name, what, shown, told):
    if shown != told:
        problem(name, f"{what}: the page says {shown}, the JSON {told}")


def cell(row, column):
    value = row.get(column, ("", None))[1]
    return None if value is None else int(value)


def compare(name, page, report):
    """The page's figures are the JSON's."""
    money = report["money"]
    for figure in ("budget", "approved", "released", "reserved", "spent", "unspent", "lost"):
        same(name, figure, page.figures.get(figure), money[figure + "_micros"])
    rows = page.tables.get("runs", [])
    same(name, "number of runs", len(rows), len(report["runs"]))
    for row, run in zip(rows, report["runs"]):
        same(name, "run", row[""][0], run["run"])
        same(name, "state", row["state"][0], run["state"])
        same(name, "cost", cell(row, "cost"), run["spent_micros"])
        same(name, "cost per million tokens", cell(row, "per Mtok"), run["mtok_micros"])
        same(name, "held-out loss", cell(row, "held-out"), run["val_best_micro"])
        same(name, "utilization", cell(row, "util."), run["util_ppm"] if run["windows"] else None)
    rows = [row for row in page.tables.get("decisions", []) if "verdict" in row]
    same(name, "number of decisions", len(rows), len(report["decisions"]))
    for row, decision in zip(rows, report["decisions"]):
        same(name, "verdict", row["verdict"][0], decision["verdict"])
        same(name, "time", cell(row, ""), decision["at_ns"])
        same(name, "margin", cell(row, "margin"), decision["margin_micro"])
        same(name, "time to decision", cell(row, "took"), decision["took_ns"])
    rows = [row for row in page.tables.get("incidents", []) if "incident" in row]
    same(name, "number of incidents", len(rows), len(report["incidents"]))
    rows = page.tables.get("slots", [])
    same(name, "number of slots", len(rows), len(report["workers"]))
    for row, worker in zip(rows, report["workers"]):
        same(name, "busy", cell(row, "busy"), worker["busy_ns"])
        same(name, "idle", cell(row, "idle"), worker["idle_ns"])


def check_sums(name, report):
    """What must hold inside the JSON, whatever the campaign did."""
    money = report["money"]
    runs = report["runs"]
    same(name, "sum over runs", sum(run["spent_micros"] for run in runs), money["spent_micros"])
    parts = sum(money[part + "_micros"] for part in ("finished", "stopped", "failed", "open"))
    same(name, "sum over ends", parts, money["spent_micros"])
    same(name, "sum over attempts", sum(a["settled_micros"] for a in report["attempts"]), money["spent_micros"])
    same(name, "lost", sum(run["lost_micros"] for run in runs), money["lost_micros"])
    if not money["spent_micros"] + money["reserved_micros"] <= money["released_micros"] <= money["approved_micros"]:
        problem(name, "spent + reserved <= released <= approved does not hold")
    for row in report["spend"]:
        if not row["spent_micros"] + row["reserved_micros"] <= row["released_micros"] <= row["approved_micros"]:
            problem(name, f"the spend curve breaks the order of money at {row['at']}")
    names = {run["run"] for run in runs}
    for table in ("attempts", "decisions", "incidents", "guardrails", "curves", "gates"):
        for row in report[table]:
            if row["run"] is not None and row["run"] not in names:
                problem(name, f"{table} name an unknown run {row['run']!r}")
    for worker in report["workers"]:
        same(name, "busy + idle", worker["busy_ns"] + worker["idle_ns"], worker["present_for_ns"])


def check_text(folder, name):
    for ending in (".txt", ".md"):
        text = read(folder, name + ending)
        if any(ord(c) < 32 and c != "\n" or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in text):
            problem(name + ending, "holds control or direction characters")
        lines = text.split("\n")
        if ending == ".txt" and max(len(line) for line in lines) > 100 and name != "hostile":
            problem(name + ending, f"a line is {max(len(line) for line in lines)} columns wide")
        if ending == ".md" and re.search(r"(?<!\\)<(?!/?$)[a-z/!]", "\n".join(
                line for line in lines if not line.startswith("    "))):
            problem(name + ending, "holds live mark-up")
        columns = None
        for line in lines if ending == ".md" else []:
            count = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            if count is not None and columns is not None and count != columns:
                problem(name + ending, f"a table row with {count} instead of {columns} bars: {line}")
            columns = count


SUFFIXES = ("_micros", "_micro", "_ppm", "_ns")


def check_document(report):
    """docs/formats/report.md names every member and every field of the report."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/formats/report.md")
    with open(path, encoding="utf-8") as file:
        parts = re.split(r"\n(?:- (?=`)|## )", file.read().split("## The report's members")[1])
    entries = {part.split("`")[1]: part for part in parts if part.startswith("`")}
    for member, content in report.items():
        if member in ("schema", "version", "generator"):
            continue
        if member not in entries:
            problem("docs/formats/report.md", f"does not describe `{member}`")
            continue
        rows = content if isinstance(content, list) else [content]
        if member == "policy":
            continue
        for field in {key for row in rows for key in row}:
            stem = next((field[:-len(end)] for end in SUFFIXES if field.endswith(end)), field)
            if f"`{stem}`" not in entries[member]:
                problem("docs/formats/report.md", f"`{member}` lacks `{stem}`")


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in ("usual", "hostile", "empty", "many"):
            report = json.loads(read(folder, name + ".json"), parse_constant=refuse_constant,
                                object_pairs_hook=no_twins)
            same(name, "schema", (report["schema"], report["version"]), ("penstock.report", 1))
            page = page_of(folder, name)
            check_text(folder, name)
            if name == "usual":
                check_document(report)
            if name != "empty":
                compare(name, page, report)
                check_sums(name, report)
    for text in problems[:40]:
        print(text)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
