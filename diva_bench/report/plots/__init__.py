"""Plots of stored runs and training records. Each states in its title what it shows, with the interval."""
