"""The MAC array and its engine."""
