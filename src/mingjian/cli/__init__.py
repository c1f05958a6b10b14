"""The command line: one thin file per command group.

In: arguments. Out: text on a terminal, rows as table, JSON lines or CSV, an exit code. Never: work of its own (a
command parses its arguments, calls one function and prints), or text from outside that has not been through
``terminal``.
"""
