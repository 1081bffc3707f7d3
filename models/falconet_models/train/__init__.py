"""Training: a recipe, a data set, and what is learned from them, resumable at any time."""
