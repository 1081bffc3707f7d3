"""docs/networks.md from the rows that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from falconet.isa import Arch
from falconet_sim.rtl.ddr import DdrModel

__all__ = ["page"]

_HEAD = """# Networks

Every network here is defined in PyTorch (`models/falconet_models/zoo/papers`), exported by
`torch.onnx.export` at opset 17, quantised by `falconet quantize` and compiled by `falconet compile`
as it comes, with nothing cut or described by hand; MobileNetV2 and RetinaFace are described in
`models/falconet_models/zoo`. `make networks` makes this page anew; it goes on where it was stopped.

| column | is |
|---|---|
"""
_MEANINGS = {
    "input": "height x width",
    "parameters": "all that are trained, as the paper or the authors' implementation counts them",
    "MACs": "multiply-accumulates of the definition for one image: convolutions, fully connected "
            "layers, products of matrices",
    "weights": "`trained`: a package brings them; `drawn`: at random, so that activations keep "
               "their variance, with batch norms calibrated on the sample photographs "
               "(`papers/drawn.py`)",
    "cycles": "of the RTL in Verilator, with the DDR model below, on the photograph `astronaut`; "
              "golden model, instruction-set simulator and RTL gave the same bytes",
    "share": "MACs / ({macs} * cycles): of the array's peak",
    "frames/s": "clock / cycles: simulated, not silicon",
    "SNR": "of the int8 network's outputs (a detector's: those of its heads) against the float "
           "network's, in dB, mean of the outputs, on {held} photographs that are not in the "
           "calibration",
    "onnxruntime": "the same of `onnxruntime.quantization.quantize_static`: int8 per channel, "
                   "ranges from minimum to maximum, the same {calibration} photographs to "
                   "calibrate on",
    "compile": "seconds, where the page was made",
    "commit": "at which the row was measured; a plus: with local changes",
}

_COLUMNS = ("network", *_MEANINGS)


def _cells(row: Mapping[str, Any], arch: Arch) -> list[str]:
    cycles = row["cycles"]

    def db(key: str) -> str:
        return f"{row[key]:.1f} dB" if row.get(key) is not None else "-"

    return [row["title"], " x ".join(map(str, row["size"])), f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:,.1f} M", row["weights"], f"{cycles:,}",
            f"{row['macs'] / (arch.macs_per_cycle * cycles):.1%}",
            f"{arch.clock_mhz * 1e6 / cycles:.1f}", db("snr"), db("snr_onnxruntime"),
            f"{row['seconds']['compile']:.1f}", row["commit"]]


def _table(lines: Sequence[Sequence[str]]) -> str:
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
                     for line in rows) + "\n"


def page(rows: Sequence[Mapping[str, Any]], arch: Arch, *, calibration: int, held_out: int
         ) -> str:
    """The whole page.

    Parameters
    ----------
    rows:
        As :func:`table_rows.measure` gives them, with their ``commit``; those without cycles go
        into the second table.
    calibration, held_out:
        Photographs, and those on which the quantisers are compared.
    """
    text = _HEAD + "".join(f"| {column} | {meaning} |\n" for column, meaning in _MEANINGS.items())
    text = text.format(macs=arch.macs_per_cycle, held=held_out, calibration=calibration)
    text += (f"\nPreset {arch.name} at {arch.clock_mhz:g} MHz, "
             f"{DdrModel(clock_mhz=arch.clock_mhz)}.\n")
    text += "\n## Running\n\n"
    running = [r for r in rows if "cycles" in r]
    text += _table([_COLUMNS, *(_cells(r, arch) for r in running)]) if running else "None yet.\n"
    rest = [r for r in rows if "cycles" not in r]
    if rest:
        text += "\n## Not running yet\n\nWhat is said first, and by which step.\n\n" + _table([
            ("network", "input", "parameters", "MACs", "step", "what is said", "commit"),
            *((r["title"], " x ".join(map(str, r["size"])),
               f"{r['parameters']:,}" if "parameters" in r else "-",
               f"{r['definition_macs'] / 1e6:,.1f} M" if r.get("definition_macs") else "-",
               r["step"], r["refusal"], r["commit"]) for r in rest)])
    return text
