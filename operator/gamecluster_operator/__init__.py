"""The operator: watches GameCluster objects and makes the cluster what they say."""
