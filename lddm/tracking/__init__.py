"""Records of all jobs on disk, and their display in MLflow."""
