"""Handlers that measure: from dense signals to columns per sample and site."""
