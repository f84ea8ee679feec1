"""The clients' wire protocol (Phoenix Channels V1 and V2), sans-I/O."""
