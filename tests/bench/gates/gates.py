#!/usr/bin/env -S python3 -B
"""Scores gate rules on recorded training curves, by the games that README.md here describes.

Usage: gates.py BUILD CURVES [--orders N] [--seed N] [--game 1|2|3] [--fit]

BUILD holds tests/bench/gates/gates_bench, which decides by the rules that ship. CURVES is a folder
with pairs NAME_runs.csv.gz and NAME_curves.csv.gz: runs with a workload and a target_value play
games 1 and 2, with a workload alone game 2, runs with a group (repeated seeds) game 3.
--fit prints the weights of gate_precedent.c fitted without each workload, and without none.
Needs python3 and its standard library.
"""
import argparse
import collections
import csv
import gzip
import math
import pathlib
import random
import statistics
import subprocess
import sys

SLOTS = 8
POINTS = 40
REPEATS_MIN = 8

# ---- curves ---------------------------------------------------------------------------------------

Run = collections.namedtuple("Run", "length hit values full")  # best so far at each point; full: not cut


def number(text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        return math.nan
    return value


def read_pairs(folder):
    """(name, runs, points of each run) of every pair of files."""
    found = sorted(pathlib.Path(folder).glob("*_runs.csv.gz"))
    if not found:
        sys.exit(f"gates.py: {folder} holds no *_runs.csv.gz")
    for path in found:
        name = path.name[: -len("_runs.csv.gz")]
        with gzip.open(path, "rt") as file:
            runs = list(csv.DictReader(file))
        points = collections.defaultdict(list)
        with gzip.open(path.with_name(name + "_curves.csv.gz"), "rt") as file:
            for row in csv.DictReader(file):
                points[row["run_id"]].append(row)
        yield name, runs, points


def best_so_far(points, times):
    """The lowest value at or before each time; NaN before the first. `points` is sorted."""
    values, best, at = [], math.nan, 0
    for time in times:
        while at < len(points) and points[at][0] <= time + 1e-9:
            if math.isfinite(points[at][1]) and not best <= points[at][1]:
                best = points[at][1]
            at += 1
        values.append(best)
    return values


def series(rows, sign):
    """(time, value) of the points that have a value: wall time where there is one, else steps."""
    metric = "val_metric" if any(row.get("val_metric") for row in rows) else "val_loss"
    clock = "wall_s" if any(row.get("wall_s") for row in rows) else "step"
    found = [(number(row[clock]), sign * number(row[metric])) for row in rows if row[metric] != ""]
    return sorted(p for p in found if math.isfinite(p[0]))


def games_with_targets(runs, points):
    """workload -> (target or None, runs): 40 equal times up to the workload's longest run."""
    by_workload = collections.defaultdict(list)
    for run in runs:
        by_workload[run["workload"]].append(run)
    games = {}
    for workload, members in sorted(by_workload.items()):
        found, target = [], None
        curves = {}
        for run in members:
            sign = -1 if run.get("metric_goal") == "max" else 1
            curves[run["run_id"]] = series(points[run["run_id"]], sign)
            if run.get("target_value"):
                target = sign * float(run["target_value"])
        members = [run for run in members if curves[run["run_id"]]]
        # an evaluation ends with its time; the time that was paid ends with the run
        ends = {r["run_id"]: max(curves[r["run_id"]][-1][0], number(r.get("last_wall_s")) or 0) for r in members}
        step = max(ends.values()) / POINTS
        for run in members:
            curve, end = curves[run["run_id"]], ends[run["run_id"]]
            hit = target is not None and run.get("hit_target") == "1"
            cut = number(run["hit_wall_s"]) if hit else end
            length = lambda stop: min(POINTS, max(1, math.ceil(stop / step - 1e-9)))
            grid = lambda stop: best_so_far(curve, [min(i * step, stop) for i in range(1, length(stop) + 1)])
            found.append(Run(length(cut), hit, grid(cut), grid(end)))
        games[workload] = (target, found)
    return games


def games_of_repeats(runs, points):
    """configuration -> runs that differ by their seed alone, at the steps that all report."""
    groups = collections.defaultdict(list)
    for run in runs:
        if run.get("track", "track_3_optimization").startswith("track_3"):
            groups[run["group"]].append(run)
    games = {}
    for name, members in sorted(groups.items()):
        curves = []
        for run in members:
            rows = [row for row in points[run["run_id"]] if row["val_loss"] != ""]
            curves.append({int(row["step"]): float(row["val_loss"]) for row in rows if int(row["step"]) > 0})
        # a group may hold small variants: the most common schedule is the configuration
        schedule = collections.Counter(tuple(sorted(curve)) for curve in curves).most_common(1)[0][0]
        same = [curve for curve in curves if tuple(sorted(curve)) == schedule]
        if len(same) < REPEATS_MIN or not 3 <= len(schedule):
            continue
        steps = schedule[:: math.ceil(len(schedule) / 60)]
        found = []
        for curve in same:
            values = best_so_far([(s, curve[s]) for s in schedule], steps)
            found.append(Run(len(values), True, values, values))
        games[name] = (None, found)
    return games


# ---- playing --------------------------------------------------------------------------------------


def game_text(runs, order, target, full):
    micro = lambda v: "x" if not math.isfinite(v) else str(round(v * 1e6))
    lines = [f"game {len(runs)} {SLOTS} {POINTS} {'none' if target is None else micro(target)}"]
    for index in order:
        run = runs[index]
        values = run.full if full else run.values
        lines.append(" ".join([str(len(values)), str(int(run.hit))] + [micro(v) for v in values]))
    return "\n".join(lines) + "\n"


def orders_of(name, runs, count, seed):
    for k in range(count):
        order = list(range(len(runs)))
        random.Random(f"{seed} {name} {k}").shuffle(order)
        yield order


def play(bench, policy, texts):
    """The output of each game: runs as (used, stopped), new bests as (spent, value), spent."""
    command = [bench] + [f"{key}={value}" for key, value in policy.items()]
    done = subprocess.run(command, input="".join(texts), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"gates.py: {' '.join(command)}: {done.stderr.strip()}")
    games, runs, bests = [], [], []
    for line in done.stdout.splitlines():
        kind, *rest = line.split()
        if kind == "run":
            runs.append((int(rest[0]), rest[1] == "1"))
        elif kind == "best":
            bests.append((int(rest[0]), int(rest[1]) / 1e6))
        else:
            games.append((runs, bests, int(rest[0])))
            runs, bests = [], []
    return games


def interval(cells, figure, paired=None, resamples=400):
    """95 % bootstrap interval of figure(cells): workloads are drawn, and of each its orders. Two sets
    of cells are drawn together, for the difference."""
    rng, found = random.Random(1), []
    names = sorted(cells)
    for _ in range(resamples):
        drawn = [rng.choice(names) for _ in names]
        picks = [[rng.randrange(len(cells[n])) for _ in cells[n]] for n in drawn]
        take = lambda all_: [[all_[n][i] for i in p] for n, p in zip(drawn, picks)]
        value = figure(take(cells))
        found.append(value - figure(take(paired)) if paired else value)
    found.sort()
    return found[int(0.025 * resamples)], found[int(0.975 * resamples) - 1]


# ---- game 1: will it reach its target? ------------------------------------------------------------

CHANCE = {"safe": 65000, "eager": 100000}


def halving(rule, eta, divisor):
    return {"policy": rule, "eta": eta, "rung": POINTS / divisor}


def penstock(chance):
    return {"policy": "penstock", "points": 3, "chance": chance}


GAME1 = [
    ("never stop", {"policy": "never"}),
    ("Vizier median, grace 10 %, min 5", {"policy": "median", "grace": 4, "siblings": 5}),
    ("Vizier median, grace 25 %, min 5", {"policy": "median", "grace": 10, "siblings": 5}),
    ("Vizier median, grace 5 %, min 5", {"policy": "median", "grace": 2, "siblings": 5}),
    ("ASHA (Ray) eta 4, r = T/16", halving("rank, Ray", 4, 16)),
    ("ASHA (Syne Tune) eta 4, r = T/16", halving("rank, Syne Tune", 4, 16)),
    ("ASHA (Syne Tune) eta 3, r = T/27", halving("rank, Syne Tune", 3, 27)),
    ("ASHA (Syne Tune) eta 2, r = T/8", halving("rank, Syne Tune", 2, 8)),
    ("Optuna halving eta 4, r = T/16", halving("rank, Optuna", 4, 16)),
    ("winner envelope, lag 0.5, min 5", {"policy": "envelope", "lag": 0.5, "siblings": 5}),
    ("winner envelope, lag 0.8, min 5", {"policy": "envelope", "lag": 0.8, "siblings": 5}),
    ("penstock, as it ships", penstock(CHANCE["safe"])),
    ("penstock, eager", penstock(CHANCE["eager"])),
    ("oracle", {"policy": "oracle"}),
]

ANCHOR = "Vizier median, grace 10 %, min 5"

# Weights fitted without the workload they are used on: `--fit` prints them.
HELD_OUT = {
    "criteo1tb": [1.124, 1.651, -0.765, 0.483, 0.019],
    "fastmri": [0.817, 1.744, -0.845, 0.433, 0.095],
    "imagenet_resnet": [0.538, 1.765, -0.878, 0.455, 0.158],
    "imagenet_vit": [0.893, 1.449, -0.647, 0.480, 0.082],
    "librispeech_conformer": [0.890, 1.519, -0.705, 0.488, 0.079],
    "librispeech_deepspeech": [0.903, 1.522, -0.687, 0.497, 0.093],
    "ogbg": [0.836, 1.587, -0.755, 0.459, 0.081],
    "wmt": [0.994, 1.532, -0.682, 0.522, 0.084],
}


def score1(runs, order, played):
    """(saved, lost, log of the cost per success relative to no stopping)."""
    whole = sum(run.length for run in runs)
    hits = sum(run.hit for run in runs)
    used = sum(u for u, _ in played[0])
    lost = sum(runs[i].hit and stopped for i, (_, stopped) in zip(order, played[0]))
    if hits == 0:
        return 1 - used / whole, 0.0, 0.0
    # no success at all costs as much as half a success would
    return 1 - used / whole, lost / hits, math.log((used / max(hits - lost, 0.5)) / (whole / hits))


def macro(column):
    return lambda rows: statistics.fmean(statistics.fmean(cell[column] for cell in cells) for cells in rows)


def cost(rows):
    return math.exp(macro(2)(rows))


def cells_of(bench, policy, games, args, held_out=None):
    cells = {}
    for name, (target, runs) in games.items():
        orders = list(orders_of(name, runs, args.orders, args.seed))
        options = dict(policy)
        if held_out:
            options.update({f"weight{k}": w for k, w in enumerate(held_out[name])})
        played = play(bench, options, [game_text(runs, order, target, False) for order in orders])
        cells[name] = [score1(runs, order, p) for order, p in zip(orders, played)]
    return cells


def game1(bench, name, games, args):
    rows = [(label, policy, None) for label, policy in GAME1]
    if set(games) <= set(HELD_OUT):
        for kind in ("safe", "eager"):
            rows.insert(-1, (f"penstock {kind}, weights of the other workloads", penstock(CHANCE[kind]), HELD_OUT))
    print(f"game 1, will it reach its target? {name}: {sum(len(r) for _, r in games.values())} runs, "
          f"{len(games)} workloads, {args.orders} orders, {SLOTS} slots")
    print(f"{'policy':50} {'saved %':>22} {'lost %':>20} {'cost per success':>24}")
    all_cells = {}
    for label, policy, held_out in rows:
        cells = cells_of(bench, policy, games, args, held_out)
        all_cells[label] = cells
        saved, lost, dear = (figure(list(cells.values())) for figure in (macro(0), macro(1), cost))
        ranges = [interval(cells, figure) for figure in (macro(0), macro(1), cost)]
        print(f"{label:50} {100 * saved:6.1f} ({100 * ranges[0][0]:5.1f} ..{100 * ranges[0][1]:5.1f})"
              f" {100 * lost:6.1f} ({100 * ranges[1][0]:4.1f} ..{100 * ranges[1][1]:5.1f})"
              f" {dear:8.3f} ({ranges[2][0]:.3f} .. {ranges[2][1]:.3f})", flush=True)
    ours = all_cells["penstock, as it ships"]
    low, high = interval(ours, macro(0), all_cells[ANCHOR])
    print(f"paired with the median rule: {100 * (macro(0)(list(ours.values())) - macro(0)(list(all_cells[ANCHOR].values()))):+.1f} "
          f"points saved ({100 * low:+.1f} .. {100 * high:+.1f})")
    print("\nby workload, saved % / lost %:")
    labels = [label for label in all_cells if label.startswith("penstock") or label == ANCHOR]
    for workload in games:
        line = "  ".join(f"{100 * macro(0)([all_cells[l][workload]]):5.1f} /{100 * macro(1)([all_cells[l][workload]]):5.1f}"
                         for l in labels)
        print(f"  {workload:26} {line}")
    print(f"  in the order of: {'; '.join(labels)}\n")


# ---- game 2: the best of many at equal budget -----------------------------------------------------

GAME2 = [
    ("never stop", {"policy": "never"}),
    ("Vizier median, grace 1", {"policy": "median", "grace": 1, "siblings": 5}),
    ("Vizier median, grace 10 %", {"policy": "median", "grace": 4, "siblings": 5}),
    ("ASHA (Ray) eta 4, first point", {"policy": "rank, Ray", "eta": 4, "rung": 1}),
    ("ASHA (Syne Tune) eta 3, first point", {"policy": "rank, Syne Tune", "eta": 3, "rung": 1}),
    ("ASHA (Syne Tune) eta 4, r = T/13", {"policy": "rank, Syne Tune", "eta": 4, "rung": POINTS / 13}),
    ("ASHA (Syne Tune) eta 2, r = T/17", {"policy": "rank, Syne Tune", "eta": 2, "rung": POINTS / 17}),
    ("penstock without a target", {"policy": "penstock", "eta": 2, "rung": POINTS / 17, "siblings": 1}),
]


def regrets(runs, played, full_run):
    finite = [min(v for v in run.full if math.isfinite(v)) for run in runs if any(map(math.isfinite, run.full))]
    best, middle = min(finite), statistics.median(finite)
    found = []
    for budget in (10, 20, 50):
        seen = [value for spent, value in played[1] if spent <= budget * full_run]
        incumbent = min(seen) if seen else max(finite)
        found.append((incumbent - best) / (middle - best) if middle > best else 0.0)
    return found


def game2(bench, name, games, args):
    print(f"game 2, the best of many at equal budget: {name}: {len(games)} tasks, {args.orders * 3} orders; "
          "regret at 10, 20 and 50 full runs")
    print(f"{'policy':40} {'10 R':>8} {'20 R':>8} {'50 R':>8}   20 R, 95 %")
    for label, policy in GAME2:
        cells = {}
        for task, (_, runs) in games.items():
            orders = list(orders_of(task, runs, args.orders * 3, args.seed))
            played = play(bench, policy, [game_text(runs, order, None, True) for order in orders])
            full_run = max(len(run.full) for run in runs)
            cells[task] = [regrets(runs, p, full_run) for p in played]
        rows = list(cells.values())
        low, high = interval(cells, macro(1))
        print(f"{label:40} {macro(0)(rows):8.3f} {macro(1)(rows):8.3f} {macro(2)(rows):8.3f}   "
              f"({low:.3f} .. {high:.3f})", flush=True)
    print()


# ---- game 3: nothing but luck ---------------------------------------------------------------------


def game3(bench, name, games, args):
    points = statistics.median(len(runs[0].values) for _, runs in games.values())
    first = max(1, round(points / 17))
    rows = [
        ("median of values, every point", {"policy": "rank", "eta": 2, "siblings": 5}),
        ("Vizier median, no grace", {"policy": "median", "siblings": 5}),
        ("Vizier median, grace 10 %", {"policy": "median", "grace": round(points / 10), "siblings": 5}),
        ("ASHA (Syne Tune) eta 2", {"policy": "rank, Syne Tune", "eta": 2, "rung": first}),
        ("penstock, noise from repeats", {"policy": "penstock", "eta": 2, "rung": first, "siblings": 5, "noise": 1}),
        ("penstock, grace 10 %, noise from repeats",
         {"policy": "penstock", "eta": 2, "rung": first, "siblings": 5, "noise": 1, "grace": round(points / 10)}),
        ("penstock at every point, noise from repeats", {"policy": "penstock", "eta": 2, "siblings": 5, "noise": 1}),
    ]
    print(f"game 3, runs that differ by luck alone: {name}: {sum(len(r) for _, r in games.values())} runs, "
          f"{len(games)} configurations, {args.orders} orders; share that is stopped")
    for label, policy in rows:
        cells = {}
        for group, (_, runs) in games.items():
            orders = list(orders_of(group, runs, args.orders, args.seed))
            played = play(bench, policy, [game_text(runs, order, None, True) for order in orders])
            cells[group] = [(sum(stopped for _, stopped in p[0]) / len(runs),) for p in played]
        low, high = interval(cells, macro(0))
        print(f"{label:48} {100 * macro(0)(list(cells.values())):6.2f} % ({100 * low:.2f} .. {100 * high:.2f})",
              flush=True)
    print()


# ---- fitting --------------------------------------------------------------------------------------


def solve(matrix, vector):
    """Gaussian elimination with pivots."""
    n = len(vector)
    rows = [list(row) + [v] for row, v in zip(matrix, vector)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, n):
            factor = rows[r][i] / rows[i][i]
            rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i])]
    found = [0.0] * n
    for i in reversed(range(n)):
        found[i] = (rows[i][n] - sum(rows[i][k] * found[k] for k in range(i + 1, n))) / rows[i][i]
    return found


def logistic(groups):
    """Weights by Newton's method. groups: lists of (hit, features), each class of each list counting
    the same."""
    rows = []
    for group in groups:
        for hit in (0, 1):
            members = [features for h, features in group if h == hit]
            rows += [(hit, features, 1000 / max(1, len(members))) for features in members]
    size = len(rows[0][1])
    weights = [0.0] * size
    for _ in range(8):
        gradient = [-0.1 * w for w in weights]  # a faint pull to 0
        hessian = [[0.1 * (i == k) for k in range(size)] for i in range(size)]
        for hit, features, count in rows:
            p = 1 / (1 + math.exp(-sum(w * f for w, f in zip(weights, features))))
            miss, curve = count * (hit - p), count * p * (1 - p)
            for i, f in enumerate(features):
                gradient[i] += miss * f
                for k in range(size):
                    hessian[i][k] += curve * f * features[k]
        weights = [w + d for w, d in zip(weights, solve(hessian, gradient))]
    return weights


def fit(bench, games, args):
    """The decisions of games in which nothing is stopped, from the fourth point on, every 3rd."""
    groups = {}
    for name, (target, runs) in games.items():
        texts = [game_text(runs, order, target, False) for order in orders_of(name, runs, 3, args.seed + 1)]
        done = subprocess.run([bench, "policy=features"], input="".join(texts), capture_output=True, text=True)
        rows = [line.split() for line in done.stdout.splitlines()]
        groups[name] = [(int(r[0]), [1.0] + [float(x) for x in r[2:]]) for r in rows if int(r[1]) >= 4][::3]
    for name in list(games) + [None]:
        weights = logistic([group for other, group in groups.items() if other != name])
        print(f'    "{name}": [{", ".join(f"{w:.3f}" for w in weights)}],', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("curves")
    parser.add_argument("--orders", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--game", type=int, choices=(1, 2, 3))
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    bench = str(pathlib.Path(args.build) / "tests/bench/gates/gates_bench")
    for name, runs, points in read_pairs(args.curves):
        columns = set(runs[0])
        if "workload" in columns:
            games = games_with_targets(runs, points)
            if args.fit:
                fit(bench, games, args)
                continue
            if "target_value" in columns and args.game in (None, 1):
                game1(bench, name, games, args)
            if args.game in (None, 2):
                game2(bench, name, games, args)
        elif "group" in columns and not args.fit and args.game in (None, 3):
            game3(bench, name, games_of_repeats(runs, points), args)


main()
