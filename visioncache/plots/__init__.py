"""Plots: an `ax` in, its Axes out; `style` is shared, `curves` draws hit rates over capacity."""
