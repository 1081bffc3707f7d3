"""A slice of the campaign; and that it would see a fault that is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fault_tables
import inject
import numpy as np
from bad_runs import new_board
from inject import KINDS, Lost, case, error, hold

from falconet.isa import FalconetError, preset, register
from falconet_sim.rtl.board import SimBoard
from falconet_sim.rtl.faults import BusFault

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


@pytest.fixture(scope="module")
def board() -> SimBoard:
    return new_board(TINY, stall_cycles=inject.PATIENCE)


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_each_kind(board: SimBoard, number: int) -> None:
    inject.inject(board, TINY, number)


@pytest.mark.parametrize("port, channel", inject.CHANNELS)
def test_the_longest_hold_is_no_time_out(board: SimBoard, port: str, channel: str) -> None:
    """A board of less patience than that took slow answers for a dead bus."""
    c = case(board, TINY, 0)

    class Longest:
        """Draws the last burst and the longest hold."""

        def integers(self, low: int, high: int | None = None) -> int:
            return (low if high is None else high) - 1

    hold(Longest(), board, c, port, channel)  # type: ignore[arg-type]


def test_lost_faults_are_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the row of all faults too, and the command says so."""
    def inject_(board: object, arch: object, number: int) -> inject.Outcome:
        if number % 3 == 0:
            raise Lost("gone")
        return inject.Outcome("a kind", delivered=number % 3 == 1, stopped=number)

    monkeypatch.setattr(inject, "inject", inject_)
    monkeypatch.setattr(fault_tables, "new_board", lambda *_, **__: None)
    rows, lost = fault_tables.faults("tiny", 0, 0, 10)
    assert len(lost) == 5 and all("gone" in text for text in lost)
    numbers = {r["fault"]: [int(r[k]) for k in ("injected", "reached the machine", "reported",
                                                "recovered")] for r in rows}
    assert numbers == {"a kind": [9, 5, 5, 5], "lost": [5, 5, 0, 0], "all": [14, 10, 5, 5]}


def test_most_faults_reach_the_machine(board: SimBoard) -> None:
    rng, c = np.random.default_rng(0), case(board, TINY, 0)
    reached = [error(rng, board, c, port, "slverr").delivered
               for port in ("m0_read", "m1_read", "m0_write") for _ in range(4)]
    assert sum(reached) >= 10


class Deaf(SimBoard):
    """What must not happen: a machine that says DONE where it should say ERROR."""

    def read_register(self, offset: int) -> int:
        value = super().read_register(offset)
        return 2 if offset == register("STATUS").offset and value & 4 else value


class Confused(SimBoard):
    """One that names another address."""

    def read_register(self, offset: int) -> int:
        return super().read_register(offset) ^ 128 * (offset == register("ERROR_INFO").offset)


def tampered(board: SimBoard, cls: type[SimBoard], monkeypatch: pytest.MonkeyPatch) -> SimBoard:
    monkeypatch.setattr(board, "__class__", cls)
    return board


@pytest.mark.parametrize("cls, says", [(Deaf, "lost: DONE"), (Confused, "reported as")])
def test_a_lost_error_is_seen(board: SimBoard, cls: type[SimBoard], says: str,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(board, TINY, 1)
    with pytest.raises(Lost, match=says):
        error(np.random.default_rng(1), tampered(board, cls, monkeypatch), c, "m0_write", "decerr")
    board.buffers.clear()


def test_a_wrong_result_is_seen(board: SimBoard) -> None:
    c = case(board, TINY, 1)
    c.outputs["y"][0, 0, 0] ^= 1
    try:
        with pytest.raises(Lost, match="wrong after a hold"):
            hold(np.random.default_rng(1), board, c, "m0_read", "data")
    finally:
        c.outputs["y"][0, 0, 0] ^= 1
        board.buffers.clear()


def test_a_stray_write_is_seen(board: SimBoard) -> None:
    """By the comparison of memory, besides the board's own watch."""
    c = case(board, TINY, 1)
    watched = inject.Watched(board, c)
    board.ddr[-5] ^= 1
    with pytest.raises(Lost, match=f"byte {len(board.ddr) - 5} of memory"):
        watched.done()
    board.ddr[-5] ^= 1
    watched.done()


def test_an_impossible_fault_is_refused(board: SimBoard) -> None:
    with pytest.raises(FalconetError):
        board.plan(BusFault("m0_write", 0, "hold", channel="nothing"))
