"""``gamecluster chaos``: players of its own, faults under them, and the verdict of a history checker."""
