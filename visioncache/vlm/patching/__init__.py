"""The only place that writes into other people's objects; all of it or nothing."""
