"""Rooms under trouble: many small logs on many pods, and a table that says who holds which."""
