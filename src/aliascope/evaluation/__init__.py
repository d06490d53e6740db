"""The loop: conditions and batches through an opened model, into a run directory."""
