"""Families: one table of what differs between models, and a file for each odd one."""
