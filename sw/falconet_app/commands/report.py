"""``falconet report``: a run on one page, drawn and in figures."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError, Program, output_folder
from falconet.isa.files import check_place, keep_inputs, written
from falconet_app.commands.console import results
from falconet_app.commands.figures import ModelArgument, PresetName, headline, measure
from falconet_app.commands.pages import revision

__all__ = ["page_of", "register"]

_COLUMNS = ("no.", "layer", "op", "engine", "cycles", "share", "DDR bytes", "busy", "MACs",
            "of peak", "bound")


def _table(found: dict[str, Any]) -> str:
    """All layers, by the numbers and colours that they have in the pictures."""
    from falconet_app.commands.charts import colour
    from falconet_models.judge.html import table

    rows = [(f"{i + 1}", p["name"], p["op"], p["engine"], f"{p['cycles']:,}",
             f"{p['cycles'] / found['cycles']:.1%}", f"{p['bytes']:,}", f"{p['busy']:,}",
             f"{p['macs']:,}", f"{p['utilisation']:.0%}" if p["macs"] else "", p["bound"])
            for i, p in enumerate(found["layers"])]
    made: str = table(_COLUMNS, rows, text=(1, 2, 3, 10),
                      colours=[colour(i) for i in range(len(rows))])
    return made


def page_of(found: dict[str, Any], program: Program, run: Any) -> str:
    """The page of a measured network: figures as :func:`measure` gives them, and its traced run."""
    from falconet.runtime.profile import layer_profiles, spans
    from falconet_app.commands import charts
    from falconet_models.judge.html import figures, page, section
    from falconet_sim.rtl.ddr import DdrModel

    arch, trace = program.arch, run.trace
    all_spans = spans(program, trace.start, trace.retire)
    profiles = layer_profiles(program, trace.start, trace.retire, run.cycles)
    names = [p.name for p in profiles]
    ddr = DdrModel(clock_mhz=arch.clock_mhz)
    lines = [*headline(found)[1:], f"commit {revision()}"]
    made: str = page(
        f"{found['model']} on {arch.name}",
        figures({
            "cycles": f"{found['cycles']:,}",
            f"frames/s at {arch.clock_mhz:g} MHz, simulated": f"{found['fps']:.1f}",
            f"of {found['mac_per_cycle']} MACs a cycle": f"{found['utilisation']:.1%}",
            "M MACs": f"{found['macs'] / 1e6:.1f}",
            "MB of DDR traffic": f"{found['bytes'] / 1e6:.2f}",
        }),
        "".join(f"<p>{html.escape(line)}</p>" for line in lines),
        section("Engines", "What each engine works on. Colours and numbers are those of the "
                "layers in the table below; the mouse on a block names it.",
                charts.timeline_of_engines(all_spans, names, run.cycles, arch.clock_mhz)),
        section("Layers", "When each layer is worked on, and by which engine; transfers are the "
                "thin bars.",
                charts.timeline_of_layers(all_spans, names, run.cycles, arch.clock_mhz)),
        section("Roofline", "How near each layer comes to what its engine (flat) and the DDR "
                "(slope) allow; the larger a point, the longer its engine is busy.",
                charts.roofline(profiles, arch, ddr.bytes_per_cycle)),
        section("Table", "Cycles are those that nothing before them in the list MAC, VEC, DETECT, "
                "transfer covers, so they add up to the total; busy are all those in which the "
                "engine works for the layer.", _table(found)))
    return made


def report(
    model: ModelArgument,
    preset_name: PresetName = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page (default: report/...html).")
    ] = None,
) -> None:
    """Draw a run on the RTL on one page: timelines, roofline, and all figures by layer.

    Example: falconet report retinaface --output report.html
    """
    if output is not None:
        keep_inputs([Path(model)], [output])
        check_place(output)
    found, program, run = measure(model, preset_name, 1)
    file = output or output_folder() / "report" / f"{found['model']}-{program.arch.name}.html"
    with written(file) as part:
        part.write_text(page_of(found, program, run), encoding="utf-8")
    for line in headline(found):
        results.print(line)
    results.print(f"report: {file}")
    if found["different"]:
        raise FalconetError(found["different"][0])


def register(app: typer.Typer) -> None:
    app.command("report")(report)
