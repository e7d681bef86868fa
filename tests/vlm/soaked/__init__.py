"""The parts of the soak: conversations at random, and the world that they are held in."""
