"""WeLIP beside the queues that people use: the same jobs, the same machine, the same run, the same clock."""
