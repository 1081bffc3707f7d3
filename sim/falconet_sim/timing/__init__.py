"""The fast cycle model: how long a program takes, without simulating the machine."""
