"""The command line: parse, call, print. Only this package prints or exits."""
