"""How fast the machine could be: the netlist of yosys, timed. An estimate, not place and route.

Delays of cells are those of a 7-series chip, speed grade -1, slow corner (xc7-speed-1.json). A net
takes a fixed time, and a little more for each further sink, also where a placer would put a LUT
beside its flip-flop. Cascades of DSPs, carry chains, and LUTs before their carry or multiplexer
take none.
"""
