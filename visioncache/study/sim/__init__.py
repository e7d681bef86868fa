"""Simulations: traces under policies and capacities, optima, miss-ratio curves, sizes to choose."""
