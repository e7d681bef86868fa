"""Traces: read, written, recorded live, run again, made up. Needs pandas alone."""
