"""Detection heads: from a description to the machine's tables."""
