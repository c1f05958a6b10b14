"""Deeds: one thing that happens, and all the lines it leaves in all the logs that could see it.

In: a scene, a moment, who and what. Out: lines in the scene's book. Never: a decision when or whether to do it.
Everyday activity and campaigns call the same functions, so that what is planted looks like everything else.
"""
