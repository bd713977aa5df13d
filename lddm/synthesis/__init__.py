"""From trained parts to videos: the bundle, the animator, shards and GPU leases."""
