"""Benchmarks: sessions held under every arm, timed, and what the result says. Needs mlx-vlm."""
