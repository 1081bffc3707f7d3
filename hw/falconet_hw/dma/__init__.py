"""LOAD and STORE, and the buses under them."""
