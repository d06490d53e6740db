"""The one seam: a model opened, and what is called at its sites."""
