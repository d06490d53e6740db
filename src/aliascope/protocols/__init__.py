"""Conditions: what is done to a batch before the model sees it."""
