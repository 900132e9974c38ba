"""`/v1/jobs`: submit, read, wait for, follow and cancel jobs."""
