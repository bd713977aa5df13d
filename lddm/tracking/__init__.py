"""What each job did: records on disk first, MLflow as their view."""
