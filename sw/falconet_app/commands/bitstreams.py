"""``falconet bitstream``: what a toolchain said of a bitstream that it built."""

from __future__ import annotations

from typing import Annotated

import typer

from falconet_app.commands.pages import Json, Page, show
from falconet_app.commands.sources import BUILD

__all__ = ["register"]


def bitstream(
    board: Annotated[str, typer.Argument(help="The board.")] = "pynq-z2",
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Show what place and route found (build/bitstream/BOARD, made by 'make bitstream').

    Example: falconet bitstream ecp5
    """
    from falconet.isa import board as described
    from falconet_hw.build.bitstream.report import Report

    found = Report.load(BUILD / "bitstream" / described(board).name / "report.json")
    rows = [{"what": what, "value": value} for what, value in found.rows()]
    show(rows, page, f"bitstream {board}",
         f"{described(board).title}, placed and routed by {found.toolchain}",
         f"make bitstream BOARD={board} TOOLCHAIN={found.toolchain}", as_json)


def register(app: typer.Typer) -> None:
    app.command("bitstream")(bitstream)
