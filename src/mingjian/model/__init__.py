"""The vocabulary: frozen values that every other room speaks in.

In: nothing. Out: types. Never: a file, a clock, a socket, a database.
"""
