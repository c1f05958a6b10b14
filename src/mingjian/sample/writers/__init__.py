"""Writers: what a producer makes of a happening, byte for byte in its form.

In: values. Out: lines, in the lanes of a book. Never: a decision about what happens.
"""
