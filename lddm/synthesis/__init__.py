"""Video synthesis with trained models: model packages, the animator, shards and GPU leases."""
