"""Every decision of one pod, sans-I/O: events in, effects out, time as a parameter."""
