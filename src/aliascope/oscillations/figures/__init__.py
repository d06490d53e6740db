"""Figures of the experiment on oscillations."""
