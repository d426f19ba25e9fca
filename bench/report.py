"""The report: a table for the terminal, and a page of HTML that needs nothing else, with a
roofline."""
from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .network_suite import GROUP as NETWORKS
from .peers import PEERS
from .recurrent_suite import FORWARD, TRAINING
from .suite import COMPILED, OURS, Row, Settings

RECURRENT = (FORWARD, TRAINING)


def seconds(value: float) -> str:
    """With its unit, to three digits."""
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


@dataclass(frozen=True)
class Columns:
    """How rows of one kind are shown."""
    heads: list[str]
    cells: Callable[[Row], list[str]]        # one a head
    peers: list[str]                         # whose heads are the last ones: their cells are ratios, coloured


def layer_columns(peers: Iterable[str]) -> Columns:
    shown = [p for p in peers if p in PEERS]

    def cells(row):
        t, percent = row.ours, row.percent_of_peak()
        costs = "cost" not in row.notes
        return [f"{seconds(t.min)}", f"{seconds(t.median)}", f"{row.flops / t.min / 1e9:.1f}" if costs
                else "-", f"{row.bytes / t.min / 1e9:.1f}" if costs else "-",
                "-" if percent is None else f"{percent:.0f} %",
                f"{t.error:.0e}" + (" WRONG" if row.wrong else ""), *(ratio(row, p) for p in shown)]
    return Columns(["min", "median", "GFLOP/s", "GB/s", "of peak", "error", *shown], cells, shown)


def compiled_columns(peers: Iterable[str], ceilings) -> Columns:
    """Layers through pyops.compile."""
    shown = [p for p in peers if p in PEERS]

    def cells(row):
        t, step, best = row.timings.get(COMPILED), row.step, row.best()
        if t is None:
            return ["-"] * len(heads)
        rate = step.flops / step.seconds / 1e9
        return [seconds(t.min), seconds(t.median), f"{t.error:.0e}", step.algorithm, seconds(step.seconds),
                f"{rate:.0f}", f"{100 * rate / ceilings.gflops:.0f} %" if ceilings else "-",
                best or "-", f"{row.timings[best].min / t.min:.2f}" if best else "-",
                *(f"{row.timings[p].min / t.min:.2f}" if p in row.timings else "-" for p in shown)]
    heads = ["min", "median", "error", "algorithm", "step", "GFLOP/s", "of peak", "best peer", "best / ours",
             *shown]
    return Columns(heads, cells, [])


def network_columns(peers: list[str]) -> Columns:
    """Every library in milliseconds; the ratio is to the best of them."""
    def cells(row):
        t, best = row.ours, row.best()
        of_best = "-" if best is None or t is None else f"{row.ratio(best):.2f}"
        own = ["-"] * 3 if t is None else [milliseconds(t.min), milliseconds(t.median),
                                           f"{t.error:.0e}" + (" WRONG" if row.wrong else "")]
        return [*own, best or "-", of_best,
                *(milliseconds(row.timings[p].min) if p in row.timings else "-" for p in peers)]
    return Columns(["min", "median", "error", "best peer", "best / ours", *peers], cells, [])


def network_line(row: Row) -> str:
    """A measured network in a line, for runs that take long."""
    best = row.best()
    if row.skipped or row.ours is None:
        return f"{row.name}: {row.skipped or row.notes.get(OURS, 'not measured')}"
    beside = (f"; best peer {best} {milliseconds(row.timings[best].min)} ms, {row.ratio(best):.2f} of ours"
              if best else "")
    return f"{row.name}: {milliseconds(row.ours.min)} ms{beside}{'; WRONG' if row.wrong else ''}"


def detail_columns(what: str, peers: list[str]) -> Columns:
    """One property of every library: error, memory or set-up."""
    shows = {"error": lambda t: f"{t.error:.0e}", "peak memory, MB": lambda t: "-" if t.memory is None
             else f"{t.memory / 1e6:.0f}", "set-up, s": lambda t: f"{t.setup:.2f}"}
    runners = [OURS, *peers]
    return Columns(runners,
                   lambda row: [shows[what](row.timings[r]) if r in row.timings else "-" for r in runners],
                   [])


DETAILS = ("error", "peak memory, MB", "set-up, s")


def ratio(row: Row, peer: str) -> str:
    return "-" if row.ratio(peer) is None else f"{row.ratio(peer):.2f}"


def milliseconds(value: float) -> str:
    """To three digits."""
    return (f"{1e3 * value:.{max(0, 2 - math.floor(math.log10(1e3 * value)))}f}" if value < 0.1
            else f"{1e3 * value:.0f}")


LEGEND = (
    "min, median: time of one pyops call. of peak: the time that the measured ceilings allow (the slower of "
    "arithmetic and traffic, traffic at the rate of the nearest memory level that holds the data) over the "
    "time taken. error: largest difference from the float64 reference over its largest value. A peer's "
    "column: its shortest time over our shortest, taken in turn in the same run; above 1 we are faster.")
COMPILED_LEGEND = (
    "compiled: the call through pyops.compile with weights packed beforehand, NCHW in and out as for the "
    "peers. step: the kernel alone, without the conversions of layout around it; its GFLOP/s and share of "
    "peak count the arithmetic of a direct convolution, of which Winograd's does less.")
NETWORK_LEGEND = ("networks: milliseconds, the shortest of each; each library in a process of its own, in "
                  "turn. best / ours: the fastest peer's shortest time over ours; above 1 we are faster. "
                  "peak memory: the most the process held from loading the network on, set-up included, less "
                  "what it held with the library imported. set-up: from the files to the first answer.")


def stamp(settings: Settings, info: dict) -> list[str]:
    ours = info["pyops"]
    lines = [f"{ours['cpu']}; {ours['backend']}, {ours['threads']} "
             f"thread{'s' if ours['threads'] > 1 else ''}, float32",
             "; ".join(f"{k} {v}" for k, v in {"pyops": ours["version"], **info["packages"]}.items())]
    if settings.ceilings:
        rates = ", ".join(f"{level} {rate:.0f}" for level, _, rate in settings.ceilings.bandwidth)
        lines.append(f"measured ceilings: {settings.ceilings.gflops:.0f} GFLOP/s; GB/s {rates}")
    if ours["load"] > 0.5:
        lines.append(f"ROUGH: other programs kept {ours['load']:.1f} CPUs busy when this run began")
    return lines


def groups(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


def tables(rows: list[Row], settings: Settings) -> Iterator[tuple[str, Columns, list[Row]]]:
    """(title, columns, rows) of every table."""
    for group, members in groups(rows).items():
        if group != NETWORKS:
            yield group, layer_columns(settings.peers), members
            if settings.compiled:
                yield (f"{group}, compiled", compiled_columns(settings.peers, settings.ceilings),
                       [r for r in members if not r.skipped])
            continue
        measured = [row for row in members if not row.skipped]
        shown = [p for p in settings.peers if any(p in row.timings for row in members)]
        yield group, network_columns(shown), members
        for what in DETAILS:
            yield f"{group}: {what}", detail_columns(what, shown), measured


def print_tables(rows: list[Row], settings: Settings, info: dict, console) -> None:
    from rich import box
    from rich.table import Table
    for line in stamp(settings, info):
        console.print(line, highlight=False)
    for title, columns, members in tables(rows, settings):
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                      pad_edge=False)
        table.add_column("", no_wrap=title.startswith(NETWORKS))
        for head in columns.heads:
            head = head.replace("-", " ")   # may be broken there
            table.add_column(head, justify="right", no_wrap=" " not in head)
        for row in members:
            if row.skipped:
                table.add_row(row.name, *["-"] * len(columns.heads), style="dim")
            else:
                table.add_row(row.name, *columns.cells(row), style="red" if row.wrong else None)
        console.print(table)
    for line in [*summary(rows), *notes(rows)]:
        console.print(line, style="dim", highlight=False)
    for line in legends(rows):
        console.print(line, style="dim", highlight=False)


def legends(rows: list[Row]) -> list[str]:
    shown = {LEGEND: any(row.group != NETWORKS for row in rows),
             COMPILED_LEGEND: any(row.step for row in rows),
             NETWORK_LEGEND: any(row.group == NETWORKS for row in rows)}
    return [text for text, wanted in shown.items() if wanted]


def summary(rows: list[Row]) -> list[str]:
    """Over all networks, a line for each precision and batch size, and over all recurrent shapes:
    how often ahead of every peer, and the geometric mean."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.group == NETWORKS and row.ours and row.best():
            found.setdefault(row.name.split(", ", 1)[1], []).append(row.ratio(row.best()))
    lines = [f"{what}: ahead of every peer on {sum(r > 1 for r in ratios)} of {len(ratios)} networks; best / "
             f"ours, geometric mean: {mean(ratios):.2f}" for what, ratios in found.items()]
    for group in RECURRENT:
        ratios = [row.ratio(row.best()) for row in rows if row.group == group and row.ours and row.best()]
        if ratios:
            lines.append(f"{group}: ahead of every peer on {sum(r > 1 for r in ratios)} of {len(ratios)} "
                         f"shapes; best / ours, geometric mean: {mean(ratios):.2f}")
    return lines


def mean(ratios: list[float]) -> float:
    """Geometric."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def notes(rows: list[Row]) -> list[str]:
    lines = [f"{row.name}: {row.skipped}" for row in rows if row.skipped]
    return lines + [f"{row.name}: {who}: {why}" for row in rows for who, why in row.notes.items()]


def print_comparison(compared, console) -> None:
    from rich import box
    from rich.table import Table
    if not compared:
        console.print("compared: no row is in both")
        return
    table = Table("", "group", "old", "new", "old / new", title="compared", title_justify="left",
                  title_style="bold", box=box.SIMPLE_HEAD)
    for group, name, old, new in compared:
        table.add_row(name, group, seconds(old), seconds(new), f"{old / new:.2f}",
                      style="red" if new > 1.1 * old else None)
    console.print(table)


def roofline(rows: list[Row], settings: Settings) -> str:
    """An SVG: rate over arithmetic intensity, our rows and the peers' beneath the measured
    roofs."""
    import matplotlib
    matplotlib.use("svg")
    import numpy as np
    from matplotlib import pyplot as plt
    points = [r for r in rows if r.ours and r.flops and r.bytes and r.group != "overhead"]
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyops", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(9, 5.2))
        intensity = np.geomspace(0.05, 500, 200)
        for level, _, rate in settings.ceilings.bandwidth:
            axes.plot(intensity, np.minimum(settings.ceilings.gflops, intensity * rate), linewidth=1,
                      label=f"{level} {rate:.0f} GB/s")
        for runner, marker in zip((OURS, *settings.peers), "osv^D<>*P"):
            of = [r for r in points if runner in r.timings]
            axes.scatter([r.flops / r.bytes for r in of], [r.flops / r.timings[runner].min / 1e9 for r in of],
                         marker=marker, s=36 if runner == OURS else 16, zorder=3 if runner == OURS else 2,
                         alpha=1 if runner == OURS else 0.55, label=runner)
        axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s",
                 title=f"Roofline: {settings.ceilings.gflops:.0f} GFLOP/s, {settings.threads} thread(s)")
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(fontsize=8)
        out = io.StringIO()
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    return out.getvalue()[out.getvalue().index("<svg"):]


STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0 2em}th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}.faster{color:#07722f}.slower{color:#b00020}
.skipped{color:#888}svg{max-width:100%;height:auto}"""


def page(rows: list[Row], settings: Settings, content: dict) -> str:
    """The whole report as HTML. `content` is results.as_json's."""
    commit = content["commit_info"]
    parts = ["<h1>pyops "
             f"bench</h1><p>{'<br>'.join(map(html.escape, stamp(settings, content['machine_info'])))}<br>"
             f"commit {html.escape(str(commit['id']))}{' with changes' if commit.get('dirty') else ''}, "
             f"{content['datetime'][:16]} UTC</p>"]
    if settings.ceilings:
        parts.append(roofline(rows, settings))
    for title, columns, members in tables(rows, settings):
        head = "".join(f"<th>{html.escape(c)}</th>" for c in columns.heads)
        body = "".join(html_row(row, columns) for row in members)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr><th></th>{head}</tr>{body}</table>")
    parts += [f"<p>{html.escape(line)}</p>" for line in [*summary(rows), *legends(rows)]]
    if notes(rows):
        parts.append("<h2>Notes</h2><ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes(rows))
                     + "</ul>")
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><title>pyops '
            f'bench</title><style>{STYLE}</style>'
            f"<body>{''.join(parts)}</body></html>\n")


def html_row(row: Row, columns: Columns) -> str:
    name = f"<td>{html.escape(row.name)}</td>"
    if row.skipped:
        return (f'<tr class="skipped">{name}<td '
                f'colspan="{len(columns.heads)}">{html.escape(row.skipped)}</td></tr>')
    texts = columns.cells(row)
    own = texts[:len(texts) - len(columns.peers)]
    ratios = [f'<td class="{"faster" if (row.ratio(p) or 0) > 1 else "slower"}">{text}</td>'
              for p, text in zip(columns.peers, texts[len(own):])]
    return f"<tr>{name}{''.join(f'<td>{html.escape(c)}</td>' for c in own)}{''.join(ratios)}</tr>"
