"""GameCluster: real-time multiplayer games on WebSockets that survive the loss of any machine."""
