"""Faster ways through mlx-vlm's own code that are no caching: the same bits, sooner."""
