"""Every SQL statement of WeLIP, named and explained, by the moment in a job's life that needs it."""
