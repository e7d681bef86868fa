"""An image's trip through a request: identified, asked for, encoded or found, put in place."""
