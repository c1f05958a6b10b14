"""The engine over real input: files in, detections out; rule folders, their cache, and several processes.

In: paths, rules, settings. Out: detections, quarantined input, counts. Never: a page, a notice, an account.
"""
