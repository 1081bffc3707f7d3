"""Registers, fetch, dispatch, start and stop."""
