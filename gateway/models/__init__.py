"""`/v1/models`: the models of the deployment."""
