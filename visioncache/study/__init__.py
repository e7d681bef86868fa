"""Research: sessions, benchmarks, simulations and the demo model."""
