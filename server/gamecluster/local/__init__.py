"""A cluster on one machine: ``gamecluster up`` plays the kubelet, the operator and the client Service."""
