"""Blind preference studies: people see the answers of two or more systems without names, and choose one."""
