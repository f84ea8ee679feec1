"""Measurements: what GameCluster costs and how fast it is, beside its peers and beside what C reaches. See docs/performance.md."""
