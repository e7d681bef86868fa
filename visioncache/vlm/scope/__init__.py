"""Scope: describe whole what decides features besides the image, and watch it for changes."""
