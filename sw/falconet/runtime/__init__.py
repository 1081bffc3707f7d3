"""What runs a program: one Device protocol, the driver, boards."""

from falconet.runtime.simulated import find_simulated_board

find_simulated_board()
