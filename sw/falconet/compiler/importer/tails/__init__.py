"""A detector's tail as it was exported: recognised, described, and proved against the file."""
