"""Judging: what is known of an entity in one place, what speaks for it and what against, and what it did.

``asking`` answers one question (``mingjian ask``): ``facts`` gathers what the index and the detections say, ``verdict``
weighs it, ``story`` tells it, ``card`` is the answer.
"""
