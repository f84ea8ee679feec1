"""``gamecluster bench``: players of its own move at a given rate; how long answers take, and whether any move was lost or doubled."""
