"""What differs between families of models: one table, and a file for each odd one."""
