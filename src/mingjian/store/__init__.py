"""What was seen, kept: events as Parquet segments, and a database that knows about each of them.

In: blocks of records with their times, progress of inputs, detections and sightings, each with the scope of whoever
asks. Out: the same, exactly, for as long as retention says; and nothing that was acknowledged is ever lost or doubled.
Never: SQL, file names of the lake, or the question of who may see what, in any other room; a record of an organisation
outside the scope.
"""
