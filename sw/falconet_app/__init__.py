"""The ``falconet`` command; it may import everything, and nobody imports it."""
