"""The pages, one module each: what they show, what can be done there. ``ROUTES`` is a part of the table of routes."""
