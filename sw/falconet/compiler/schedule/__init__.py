"""What streams and what stays, in which order, and where in the scratchpad."""
