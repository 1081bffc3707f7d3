"""Queues, credits, delay lines: what pipelines are made of."""
