"""Records of all jobs on disk, and their view in MLflow."""
