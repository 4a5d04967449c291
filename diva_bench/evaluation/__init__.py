"""The work of the commands on models, data and scorers: run, score, import, migrate, validate, check the machine.

Nothing here prints or ends the process: a mistake of the user is a UserError, and notes go to a Progress.
"""
