"""A model with its images, by name."""
