"""What a person looks at: pages that show detections and their evidence.

In: detections and the sums of a run. Out: HTML in which all text from outside is only text. Never: an address of the
outside, a font or a script from elsewhere, markup made of data.
"""
