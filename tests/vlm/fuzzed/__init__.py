"""The parts of the fuzzer: images by every door, and what a step does to a model."""
