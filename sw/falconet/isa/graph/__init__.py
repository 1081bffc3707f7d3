"""The integer graph: what a network computes, in exact integers."""
