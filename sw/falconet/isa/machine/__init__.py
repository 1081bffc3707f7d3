"""The machine as software sees it: presets, instructions, registers, rounding, boards."""
