"""Where two machines part, and whether a program waits for all it must."""
